"""Erase events from the files of a spill: segments and damaged lines."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from mlops_cli.data.private_files import private_file
from mlops_cli.events.base import Prediction
from mlops_cli.events.spill import event_of, lock_segment, sync_folder

if TYPE_CHECKING:
    from mlops_cli.events.erasure import Selection

__all__ = ["Lines", "erase_lines"]


class Lines(NamedTuple):
    """Numbers of erased lines, and of files that a service had locked.

    Attributes
    ----------
    ids
        Ids of the erased predictions, if an entity was erased.
    """

    spilled: int = 0
    damaged: int = 0
    locked_files: int = 0
    ids: tuple[str, ...] = ()


def erase_lines(
    folder: Path, selection: Selection, ids: Collection[str] = (), *, dry_run: bool = False
) -> Lines:
    """Erase events from all files, except those that a service is writing or importing.

    Parameters
    ----------
    ids
        Predictions that were erased from the database, whose labels are erased too.
    dry_run
        Whether to only count.
    """
    counts = {".events": 0, ".damaged": 0}
    locked_files, erased_ids = 0, list[str]()
    for path in sorted([*folder.glob("*.events"), *folder.glob("*.damaged")]):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # a service has imported it
        with file:
            if not lock_segment(file):
                locked_files += 1
                continue
            lines = file.readlines()
            hits = [i for i, line in enumerate(lines) if _is_selected(line, path, selection, ids)]
            counts[path.suffix] += len(hits)
            for event in map(event_of, [lines[i] for i in hits] if selection.entities else ()):
                if isinstance(event, Prediction):
                    erased_ids.append(event.id)
            if hits and not dry_run:
                _rewrite(path, [line for i, line in enumerate(lines) if i not in set(hits)])
    return Lines(counts[".events"], counts[".damaged"], locked_files, tuple(erased_ids))


def _is_selected(line: bytes, path: Path, selection: Selection, ids: Collection[str]) -> bool:
    """Whether a line's event has to be erased."""
    event = event_of(line)
    if event is None:
        return _may_be_selected(line, path, selection)
    if selection.before is not None:
        return event.at < selection.before
    if event.entity in selection.entities:
        return True
    return (event.id if isinstance(event, Prediction) else event.prediction) in ids


def _may_be_selected(line: bytes, path: Path, selection: Selection) -> bool:
    """Whether a damaged line may have to be erased, by its file's creation time or its bytes."""
    if selection.before is not None:
        nanoseconds = path.name.partition("-")[0]
        return nanoseconds.isdecimal() and int(nanoseconds) < selection.before * 1e9
    return any(json.dumps(entity)[1:-1].encode() in line for entity in selection.entities)


def _rewrite(path: Path, lines: list[bytes]) -> None:
    """Replace a file's lines atomically; without lines, remove it."""
    if not lines:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_name(f".{path.name}.part")
    file: IO[bytes]
    with private_file(temporary, "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
