"""Downloads with a size limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_cli.data.urls import mask_url
from mlops_cli.errors import DataRefused

__all__ = ["receive"]


def receive(filesystem: Any, remote_path: str, target: Path, name: str, max_bytes: int) -> None:
    """Download a file; what has arrived of one that is too large is removed.

    Parameters
    ----------
    filesystem
        The remote's file system.
    max_bytes
        The size limit.

    Raises
    ------
    DataRefused
        If it has more than ``max_bytes`` bytes.
    """
    from fsspec.callbacks import Callback

    refusals: list[DataRefused] = []

    def check(size: int | None, value: int, **_: Any) -> None:
        if max(size or 0, value) > max_bytes:
            refusals.append(
                DataRefused(
                    f"{name} is larger in the remote than the {max_bytes:,} bytes that it may "
                    f"have: {mask_url(remote_path)}",
                    "Restore it there: remove it, and run `mlops push` in a clone that has it.",
                )
            )
            raise refusals[0]

    try:
        # The hook runs as bytes arrive, and if the remote states the size.
        filesystem.get_file(remote_path, str(target), callback=Callback(hooks={"check": check}))
        # Not every file system calls the hook.
        check(None, target.stat().st_size)
    except Exception:
        if refusals:
            target.unlink(missing_ok=True)
            raise refusals[0] from None
        raise
