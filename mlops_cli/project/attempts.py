"""A retraining on its way, and those that were: a journal that outlives a kill.

While an attempt is unfinished, copies of the tracked files that it may change lie in
``.mlops/retrain/before`` (``project.snapshots``), so that the project can be put back as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.data.atomic_files import append_json_line, read_json, read_json_lines, write_json
from mlops_cli.errors import NotFound, NotProject
from mlops_cli.project.dvc import keep_outputs, open_repo
from mlops_cli.project.edit_params import replace_until, set_until
from mlops_cli.project.snapshots import Snapshot

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["Attempt", "Attempts", "refuse_unfinished"]

_SHOWN = 10

Step = Literal["running", "registered", "restoring"]


@dataclass(frozen=True)
class Attempt:
    """One retraining.

    Attributes
    ----------
    at
        When it began, ISO 8601.
    was, until
        The data clock before and after; ``was`` is None where it wasn't set.
    head
        The commit that it began from.
    held
        The version that was in the stage.
    version
        What was registered.
    outcome, detail
        How it ended: promoted, registered, refused, failed, abandoned, ...; and why.
    """

    at: str
    reason: str
    was: str | None
    until: str
    head: str
    held: str | None
    step: Step = "running"
    version: str | None = None
    outcome: str | None = None
    detail: str | None = None


class Attempts:
    """The retrainings of a project; only the holder of its lock writes."""

    def __init__(self, layout: Layout) -> None:
        self._root, self._params = layout.root, layout.params
        self._folder = layout.work / "retrain"
        self._journal = self._folder / "unfinished.json"
        self._snapshot = Snapshot(layout.root, self._folder)
        self._history = self._folder / "history.jsonl"

    def unfinished(self) -> Attempt | None:
        """The attempt that a kill, or Ctrl-C, has left."""
        try:
            return Attempt(**read_json(self._journal))
        except NotFound:
            return None

    def history(self) -> list[Attempt]:
        """Finished attempts, the oldest first; a line that a kill cut off is passed over."""
        attempts = []
        for entry in read_json_lines(self._history):
            with suppress(TypeError):  # of another version of the tool
                attempts.append(Attempt(**entry))
        return attempts

    def begin(self, attempt: Attempt, files: Iterable[str]) -> Attempt:
        """Copy files, and keep outputs in DVC's cache; then the attempt has begun.

        Raises
        ------
        NotProject
            If outputs hold what `dvc.lock` doesn't know: it would be lost.
        """
        with open_repo(self._root, outside=True) as repo:
            status = repo.data_status()["uncommitted"]
            unsaved = sorted({*status.get("modified", ()), *status.get("added", ())})
            if unsaved:
                raise NotProject(
                    f"outputs hold what dvc.lock doesn't know: {', '.join(unsaved[:_SHOWN])}",
                    "Bring them up to date (`mlops run`) or back (`dvc checkout`), then retrain.",
                )
            absent = keep_outputs(repo, self._root)
        self._snapshot.take({*files, *absent})
        return self.mark(attempt)

    def move_clock(self, attempt: Attempt) -> None:
        """Write the attempt's data clock into ``params.yaml``."""
        self._snapshot.expect(self._params, replace_until(self._params, attempt.until))
        set_until(self._params, attempt.until)

    @contextmanager
    def at_work(self, paths: Iterable[str]) -> Iterator[None]:
        """State that a stage writes to these paths, which are its outputs, while the block runs."""
        names = {"dvc.lock", *paths, *(str(PurePath(path).parent / ".gitignore") for path in paths)}
        self._snapshot.working(names)
        yield
        self._snapshot.worked(names)

    def mark(self, attempt: Attempt, **changes: Any) -> Attempt:
        """Write down how far it is."""
        attempt = replace(attempt, **changes)
        write_json(self._journal, asdict(attempt))
        return attempt

    def restore(self, attempt: Attempt) -> list[str]:
        """Put files and outputs back as they were before; a kill in it is made up for later.

        Returns
        -------
        list of str
            What a killed stage was at work on, and may hold work of the user: it is copied to
            ``.mlops/retrain/aside``.

        Raises
        ------
        NotProject
            If work that no commit holds would be lost; nothing was put back.
        """
        self.mark(attempt, step="restoring")
        plan = self._snapshot.plan(attempt.head)
        plan.refuse_newer(
            f"files were edited since the retraining up to {attempt.until} began",
            "Commit it (git commit), or undo it (git checkout -- FILE), then: "
            "mlops retrain --abandon",
        )
        self._snapshot.put_back(plan)
        with open_repo(self._root, outside=True) as repo:
            # What is overwritten was made by the attempt: before it, all was in the cache.
            repo.checkout(force=True, allow_missing=True)
        return plan.aside

    def fail(self, attempt: Attempt, outcome: str, detail: str) -> Attempt:
        """Note why it ends, then put everything back; the stages that it began have ended."""
        attempt = self.mark(attempt, outcome=outcome, detail=detail)
        self._snapshot.worked()
        self.restore(attempt)
        return self.end(attempt, outcome, detail)

    def end(self, attempt: Attempt, outcome: str, detail: str | None = None) -> Attempt:
        """Note how it ended."""
        done = replace(attempt, outcome=outcome, detail=detail)
        self.note(done)
        self._journal.unlink(missing_ok=True)
        self._snapshot.drop()
        return done

    def note(self, done: Attempt) -> None:
        """Add a line to the history; the same one again, after a kill, isn't added."""
        if self.history()[-1:] != [done]:
            append_json_line(self._history, asdict(done))


def refuse_unfinished(layout: Layout) -> None:
    """Refuse to make a version of what a retraining has left, or is at work on.

    Raises
    ------
    NotProject
        Naming the data clock that it was to reach.
    """
    attempt = Attempts(layout).unfinished()
    if attempt is not None and attempt.step != "registered":
        raise NotProject(
            f"a retraining up to {attempt.until} has begun and isn't finished, so what lies here "
            "is half of it",
            "Go on with it (`mlops retrain`), or put it back: mlops retrain --abandon",
        )
