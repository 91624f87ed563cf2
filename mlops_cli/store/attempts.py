"""A retraining on its way, and those that were: a journal that outlives a kill.

While an attempt is unfinished, copies of the tracked files that it may change lie in
``.mlops/retrain/before``, so that the project can be put back as it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.errors import NotFound, NotProject
from mlops_cli.store.dvc import opened
from mlops_cli.store.files import read_json, staged, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout

__all__ = ["Attempt", "Attempts"]

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
        self._root = layout.root
        self._folder = layout.work / "retrain"
        self._journal = self._folder / "unfinished.json"
        self._before = self._folder / "before"
        self._history = self._folder / "history.jsonl"

    def unfinished(self) -> Attempt | None:
        """The attempt that a kill, or Ctrl-C, has left."""
        try:
            return Attempt(**read_json(self._journal))
        except NotFound:
            return None

    def history(self) -> list[Attempt]:
        """Finished attempts, the oldest first; a line that a kill cut off is passed over."""
        if not self._history.is_file():
            return []
        found = []
        for line in self._history.read_text(encoding="utf-8").splitlines():
            try:
                found.append(Attempt(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return found

    def begin(self, attempt: Attempt, files: Iterable[str]) -> Attempt:
        """Keep copies of files, then say that the attempt has begun.

        Raises
        ------
        NotProject
            If outputs hold what `dvc.lock` doesn't know: it would be lost.
        """
        with opened(self._root, outside=True) as repo:
            unsaved = sorted(repo.data_status()["uncommitted"].get("modified", []))
        if unsaved:
            raise NotProject(
                f"outputs hold what dvc.lock doesn't know: {', '.join(unsaved[:_SHOWN])}",
                "Bring them up to date (`mlops run`) or back (`dvc checkout`), then retrain.",
            )
        with staged(self._before) as folder:
            folder.mkdir(parents=True)
            names = sorted(set(files))
            for name in names:
                if (self._root / name).is_file():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self._root / name, folder / name)
            write_json(folder / "files.json", names)
        return self.mark(attempt)

    def mark(self, attempt: Attempt, **changes: Any) -> Attempt:
        """Write down how far it is."""
        attempt = replace(attempt, **changes)
        write_json(self._journal, asdict(attempt))
        return attempt

    def restore(self, attempt: Attempt) -> None:
        """Put files and outputs back as they were before; a kill in it is made up for later."""
        self.mark(attempt, step="restoring")
        for name in read_json(self._before / "files.json"):
            self._put_back(name)
        with opened(self._root, outside=True) as repo:
            # What is overwritten was made by the attempt: before it, all was in the cache.
            repo.checkout(force=True, allow_missing=True)

    def end(self, attempt: Attempt, outcome: str, detail: str | None = None) -> Attempt:
        """Note how it ended."""
        done = replace(attempt, outcome=outcome, detail=detail)
        self.note(done)
        self._journal.unlink(missing_ok=True)
        shutil.rmtree(self._before, ignore_errors=True)
        return done

    def note(self, done: Attempt) -> None:
        """Add a line to the history; the same one again, after a kill, isn't added."""
        line = json.dumps(asdict(done), ensure_ascii=False)
        self._folder.mkdir(parents=True, exist_ok=True)
        old = self._history.read_bytes() if self._history.is_file() else b""
        if old.decode(errors="replace").splitlines()[-1:] == [line]:
            return
        with self._history.open("ab") as file:
            if old and not old.endswith(b"\n"):
                file.write(b"\n")
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _put_back(self, name: str) -> None:
        kept: Path = self._before / name
        target = self._root / name
        if not kept.is_file():
            target.unlink(missing_ok=True)
        elif not target.is_file() or target.read_bytes() != kept.read_bytes():
            with staged(target) as temporary:
                shutil.copyfile(kept, temporary)
