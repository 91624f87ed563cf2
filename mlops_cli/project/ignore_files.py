"""Files of patterns (``.dvcignore``), bounded before DVC makes regular expressions of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlops_cli.errors import BadParams, DataRefused

__all__ = ["refuse_ignores"]

_NAME = ".dvcignore"
_BYTES = 1 << 16
_PATTERNS = 1_000
"""In all files of a project."""
_LONGEST = 500
_RUNS = 3
"""Wildcards of one pattern. Each multiplies the time of a match by the length of a name."""
_WEIGHT = 20_000
"""Of all patterns, ten for each with one wildcard, a thousand for each with three."""
_DEEP = 100
"""Folders of a path from which on ``**`` takes too long."""
_STARS = re.compile(r"\*+")
_HINT = "Shorten it, or don't trust this repository."


def refuse_ignores(root: Path, names: Iterable[str]) -> None:
    """Refuse patterns that would take DVC long, or that it can't read.

    Parameters
    ----------
    names
        Paths of all tracked files, relative to the project.

    Raises
    ------
    DataRefused
        If a file is too large, or its patterns are too many, too long, or take too long.
    BadParams
        If a pattern is none.
    """
    count = weight = deepest = 0
    files = {_NAME}
    for name in names:
        deepest = max(deepest, name.count("/"))
        if name.rpartition("/")[2].casefold() == _NAME:
            files.add(name)
    for name in sorted(files):
        for place, pattern in _patterns(root / name, name):
            runs = _refuse_pattern(pattern, place, deepest)
            count, weight = count + 1, weight + (10**runs if runs else 1)
            if count > _PATTERNS or weight > _WEIGHT:
                kind = "patterns" if count > _PATTERNS else "patterns with wildcards"
                raise DataRefused(f"there are too many {kind} up to {place}", _HINT)


def _patterns(path: Path, name: str) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES + 1)
    except OSError:  # gone, or no file
        return
    if len(content) > _BYTES:
        raise DataRefused(f"{name} has more than {_BYTES:,} bytes", _HINT)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadParams(f"{name} is not in UTF-8", "Correct it.") from None
    for number, line in enumerate(text.splitlines(), 1):
        if (pattern := line.strip()) and not pattern.startswith("#"):
            yield f"{name}:{number}", pattern


def _refuse_pattern(pattern: str, place: str, deepest: int) -> int:
    """Refuse one pattern; give how many wildcards count."""
    if len(pattern) > _LONGEST:
        raise DataRefused(f"the pattern of {place} has more than {_LONGEST} characters", _HINT)
    inner = pattern.removeprefix("!").removeprefix("/").removesuffix("/").removesuffix("/**")
    # Within a path, ** begins anew at each folder.
    runs = sum(1 + ("/**/" in inner[max(0, m.start() - 1) : m.end() + 1])
               for m in _STARS.finditer(inner))  # fmt: skip
    if runs > _RUNS:
        raise DataRefused(
            f"the pattern {ascii(pattern)[:80]} of {place} has too many wildcards", _HINT
        )
    if "**" in inner and deepest > _DEEP:
        raise DataRefused(
            f"the pattern {ascii(pattern)[:80]} of {place} takes too long on paths of more than "
            f"{_DEEP} folders",
            _HINT,
        )
    _refuse_unreadable(pattern, place)
    return runs


def _refuse_unreadable(pattern: str, place: str) -> None:
    import warnings

    from dvc.ignore import DvcIgnorePatterns

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            DvcIgnorePatterns([pattern], "/", "/")
    except (ValueError, re.error) as error:
        said = " ".join(str(error).split())[:80]
        raise BadParams(
            f"the pattern {ascii(pattern)[:80]} of {place} is none: {said}", "Correct it."
        ) from None
