"""File locks that the operating system releases when their holder dies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.data.private_files import private_parent
from mlops_cli.errors import Busy

__all__ = ["lock", "wait_for_lock"]


@contextmanager
def lock(path: Path, resource: str) -> Iterator[None]:
    """Hold a lock while the block runs; if another process holds it, raise at once.

    Raises
    ------
    Busy
        If another process holds it; the message names the process.
    """
    from filelock import FileLock, Timeout

    private_parent(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(
            f"{resource} is held by another run (process {_read_holder(path)})",
            "Wait until it has ended, then run again.",
        ) from None
    try:
        _write_holder(path)
        yield
    finally:
        lock.release()


@contextmanager
def wait_for_lock(path: Path, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock while the block runs; ``on_wait`` is called once if it has to wait for it."""
    from filelock import FileLock, Timeout

    private_parent(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait(f"waiting for process {_read_holder(path)}, which is still at work on this project")
        lock.acquire()
    try:
        _write_holder(path)
        yield
    finally:
        lock.release()


def _read_holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.with_suffix(".pid").read_text(encoding="utf-8").strip() or "unknown"
    return "unknown"


def _write_holder(path: Path) -> None:
    # Only for messages: the lock itself is the operating system's.
    with contextlib.suppress(OSError):
        path.with_suffix(".pid").write_text(str(os.getpid()), encoding="utf-8")
