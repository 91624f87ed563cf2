"""Crash-safe journal of retraining attempts.

While an attempt is unfinished, ``.mlops/retrain/before`` has copies of the tracked files that it
may change (``project.snapshots``), so that the project can be restored.
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

_MAX_SHOWN = 10

Step = Literal["running", "registered", "restoring"]


@dataclass(frozen=True)
class Attempt:
    """One retraining.

    Attributes
    ----------
    at
        Start time, ISO 8601.
    was, until
        The data clock before and after; ``was`` is None where it wasn't set.
    head
        The commit at the start.
    held
        The version in the stage at the start.
    version
        The registered version.
    outcome, detail
        The result (promoted, registered, refused, failed, abandoned, ...) and its reason.
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
    """Retraining attempts of a project; only the process that holds the retrain lock writes."""

    def __init__(self, layout: Layout) -> None:
        self._root, self._params = layout.root, layout.params
        self._folder = layout.work / "retrain"
        self._journal = self._folder / "unfinished.json"
        self._snapshot = Snapshot(layout.root, self._folder)
        self._history = self._folder / "history.jsonl"

    def unfinished(self) -> Attempt | None:
        """The attempt that a kill or Ctrl-C interrupted; None if there is none."""
        try:
            return Attempt(**read_json(self._journal))
        except NotFound:
            return None

    def history(self) -> list[Attempt]:
        """Finished attempts, the oldest first; a line that a kill cut off is skipped."""
        attempts = []
        for entry in read_json_lines(self._history):
            with suppress(TypeError):  # written by another version of the tool
                attempts.append(Attempt(**entry))
        return attempts

    def begin(self, attempt: Attempt, files: Iterable[str]) -> Attempt:
        """Start an attempt: save outputs in DVC's cache, copy files, and write the journal.

        Raises
        ------
        NotProject
            If outputs differ from `dvc.lock`: their content would be lost.
        """
        with open_repo(self._root, allow_outside=True) as repo:
            status = repo.data_status()["uncommitted"]
            unsaved = sorted({*status.get("modified", ()), *status.get("added", ())})
            if unsaved:
                raise NotProject(
                    f"outputs hold what dvc.lock doesn't know: {', '.join(unsaved[:_MAX_SHOWN])}",
                    "Bring them up to date (`mlops run`) or back (`dvc checkout`), then retrain.",
                )
            absent = keep_outputs(repo, self._root)
        self._snapshot.take({*files, *absent})
        return self.update(attempt)

    def move_clock(self, attempt: Attempt) -> None:
        """Write the attempt's data clock into ``params.yaml``."""
        self._snapshot.record_expected_text(
            self._params, replace_until(self._params, attempt.until)
        )
        set_until(self._params, attempt.until)

    @contextmanager
    def record_writes(self, paths: Iterable[str]) -> Iterator[None]:
        """Record that a stage writes these paths, which are its outputs, while the block runs."""
        names = {"dvc.lock", *paths, *(str(PurePath(path).parent / ".gitignore") for path in paths)}
        self._snapshot.record_write_start(names)
        yield
        self._snapshot.record_write_end(names)

    def update(self, attempt: Attempt, **changes: Any) -> Attempt:
        """Change fields of the attempt, and write it to the journal."""
        attempt = replace(attempt, **changes)
        write_json(self._journal, asdict(attempt))
        return attempt

    def restore(self, attempt: Attempt) -> list[str]:
        """Restore files and outputs to their state before the attempt.

        If a kill interrupts it, the next call completes it.

        Returns
        -------
        list of str
            Paths that a killed stage was writing. They may contain work of the user, so they are
            copied to ``.mlops/retrain/aside``.

        Raises
        ------
        NotProject
            If uncommitted work would be lost; nothing was restored.
        """
        self.update(attempt, step="restoring")
        plan = self._snapshot.plan(attempt.head)
        plan.refuse_uncommitted(
            f"files were edited since the retraining up to {attempt.until} began",
            "Commit it (git commit), or undo it (git checkout -- FILE), then: "
            "mlops retrain --abandon",
        )
        self._snapshot.restore(plan)
        with open_repo(self._root, allow_outside=True) as repo:
            # Only results of the attempt are overwritten: `begin` put earlier ones in the cache.
            repo.checkout(force=True, allow_missing=True)
        return plan.to_back_up

    def fail(self, attempt: Attempt, outcome: str, detail: str) -> Attempt:
        """Record the failure, restore everything, and end; all stages of the attempt have ended."""
        attempt = self.update(attempt, outcome=outcome, detail=detail)
        self._snapshot.record_write_end()
        self.restore(attempt)
        return self.end(attempt, outcome, detail)

    def end(self, attempt: Attempt, outcome: str, detail: str | None = None) -> Attempt:
        """Add the attempt with its outcome to the history; remove the journal and the copies."""
        final = replace(attempt, outcome=outcome, detail=detail)
        self.add_to_history(final)
        self._journal.unlink(missing_ok=True)
        self._snapshot.drop()
        return final

    def add_to_history(self, attempt: Attempt) -> None:
        """Append the attempt to the history, unless it is the last line already (after a kill)."""
        if self.history()[-1:] != [attempt]:
            append_json_line(self._history, asdict(attempt))


def refuse_unfinished(layout: Layout) -> None:
    """Refuse to register a version from the files of an unfinished retraining.

    Raises
    ------
    NotProject
        With the data clock of the retraining.
    """
    attempt = Attempts(layout).unfinished()
    if attempt is not None and attempt.step != "registered":
        raise NotProject(
            f"a retraining up to {attempt.until} has begun and isn't finished, so the files "
            "here are incomplete",
            "Resume it (`mlops retrain`), or undo it: mlops retrain --abandon",
        )
