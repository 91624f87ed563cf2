"""Who is at work on a project now, asked without taking any lock: a run must not notice it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["RunningWork", "holder_alive", "mark_running"]


@dataclass(frozen=True)
class RunningWork:
    """A run that is at work.

    Attributes
    ----------
    process
        Its number.
    stage
        The stage that it runs at the moment; None: between two of them.
    """

    process: int
    stage: str | None


def mark_running(layout: Layout) -> RunningWork | None:
    """The run that is at work on a project, of `mlops` or of DVC by itself."""
    written = _written(layout.root)
    process = holder_alive(layout.work / "run.lock") or next(iter(written.values()), None)
    return None if process is None else RunningWork(process, _stage(layout.root, written))


def holder_alive(lock: Path) -> int | None:
    """The process that holds a lock of ``project.locks``, by the number that it left; or None."""
    try:
        number = int(lock.with_suffix(".pid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return number if _alive(number) and _locks(number) else None


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _locks(process: int) -> bool:
    """Whether a process holds a file's lock, where the system has a list: numbers come again."""
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    return any({"FLOCK", str(process)} <= set(line.split()) for line in lines)


def _written(root: Path) -> dict[str, int]:
    """Path -> process that writes to it, by DVC's own record of who reads and writes what."""
    try:
        record: Any = json.loads((root / ".dvc" / "tmp" / "rwlock").read_text(encoding="utf-8"))
        writes = {str(path): int(who["pid"]) for path, who in record.get("write", {}).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {path: pid for path, pid in writes.items() if _alive(pid)}


def _stage(root: Path, written: dict[str, int]) -> str | None:
    from mlops_cli.errors import BadParams
    from mlops_cli.params.reading import read_yaml

    if not written:
        return None
    try:
        tree = read_yaml((root / "dvc.yaml").read_text(encoding="utf-8"), "dvc.yaml")
        for name, stage in tree["stages"].items():
            outs = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, ())]
            paths = (out if isinstance(out, str) else next(iter(out)) for out in outs)
            if any(str(root.resolve() / path) in written for path in paths):
                return str(name)
    except (OSError, BadParams, KeyError, TypeError, AttributeError):
        pass
    return None
