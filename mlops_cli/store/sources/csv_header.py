"""The names in a CSV file's header; of files, batches and requests alike."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["complete"]


def complete(names: Sequence[str]) -> list[str]:
    """The names, where a column without one (an index that pandas or R wrote) gets its place's.

    Examples
    --------
    >>> complete(["", "a", " "])
    ['unnamed_1', 'a', 'unnamed_3']
    """
    found: list[str] = []
    for at, name in enumerate(names, 1):
        chosen = name if name.strip() else f"unnamed_{at}"
        while chosen != name and chosen in {*names, *found}:
            chosen += "_"
        found.append(chosen)
    return found
