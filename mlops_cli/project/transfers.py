"""Downloads with a size limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_cli.data.urls import mask_url
from mlops_cli.errors import DataRefused

__all__ = ["receive"]


def receive(files: Any, place: str, target: Path, name: str, most: int) -> None:
    """Download a file; what has arrived of one that is too large is removed.

    Parameters
    ----------
    files
        The remote's file system.
    most
        The most bytes.

    Raises
    ------
    DataRefused
        If it has more than ``most`` bytes.
    """
    from fsspec.callbacks import Callback

    refusals: list[DataRefused] = []

    def check(size: int | None, value: int, **_: Any) -> None:
        if max(size or 0, value) > most:
            refusals.append(
                DataRefused(
                    f"{name} is larger in the remote than the {most:,} bytes that it may have: "
                    f"{mask_url(place)}",
                    "Restore it there: remove it, and run `mlops push` in a clone that has it.",
                )
            )
            raise refusals[0]

    try:
        # The hook runs as bytes arrive, and if the remote states the size.
        files.get_file(place, str(target), callback=Callback(hooks={"check": check}))
        # Not every file system calls the hook.
        check(None, target.stat().st_size)
    except Exception:
        if refusals:
            target.unlink(missing_ok=True)
            raise refusals[0] from None
        raise
