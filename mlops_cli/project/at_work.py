"""Detects a running pipeline without taking a lock, so that the run isn't disturbed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["RunningWork", "find_running", "holder_alive"]


@dataclass(frozen=True)
class RunningWork:
    """A running pipeline.

    Attributes
    ----------
    process
        The process id.
    stage
        The stage that runs now; None between two stages.
    """

    process: int
    stage: str | None


def find_running(layout: Layout) -> RunningWork | None:
    """The running pipeline of a project, started by `mlops` or by DVC itself; None if none runs."""
    writers = _read_writers(layout.root)
    process = holder_alive(layout.work / "run.lock") or next(iter(writers.values()), None)
    return None if process is None else RunningWork(process, _find_stage(layout.root, writers))


def holder_alive(lock: Path) -> int | None:
    """Process id of the live holder of a ``project.locks`` lock, from its pid file; else None."""
    try:
        process = int(lock.with_suffix(".pid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return process if _is_alive(process) and _holds_file_lock(process) else None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _holds_file_lock(process: int) -> bool:
    """Whether a process holds a file lock, if the system lists them: process ids are reused."""
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    return any({"FLOCK", str(process)} <= set(line.split()) for line in lines)


def _read_writers(root: Path) -> dict[str, int]:
    """Path -> process id that writes to it, from DVC's own record of readers and writers."""
    try:
        record: Any = json.loads((root / ".dvc" / "tmp" / "rwlock").read_text(encoding="utf-8"))
        writers = {
            str(path): int(holder["pid"]) for path, holder in record.get("write", {}).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {path: pid for path, pid in writers.items() if _is_alive(pid)}


def _find_stage(root: Path, writers: dict[str, int]) -> str | None:
    """The stage one of whose outputs is being written; None if there is none."""
    from mlops_cli.errors import BadParams
    from mlops_cli.params.reading import read_yaml

    if not writers:
        return None
    try:
        tree = read_yaml((root / "dvc.yaml").read_text(encoding="utf-8"), "dvc.yaml")
        for name, stage in tree["stages"].items():
            outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, ())]
            paths = (out if isinstance(out, str) else next(iter(out)) for out in outs)
            if any(str(root.resolve() / path) in writers for path in paths):
                return str(name)
    except (OSError, BadParams, KeyError, TypeError, AttributeError):
        pass
    return None
