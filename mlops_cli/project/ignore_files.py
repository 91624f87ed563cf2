"""Limits on ``.dvcignore`` patterns, checked before DVC makes regular expressions of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlops_cli.errors import BadParams, DataRefused

__all__ = ["refuse_ignores"]

_FILE_NAME = ".dvcignore"
_MAX_BYTES = 1 << 16
_MAX_PATTERNS = 1_000
"""In all files of a project."""
_MAX_LENGTH = 500
_MAX_WILDCARDS = 3
"""Wildcards of one pattern. Each multiplies the time of a match by the length of a name."""
_MAX_WEIGHT = 20_000
"""Of all patterns: ten for each with one wildcard, a thousand for each with three."""
_MAX_DEPTH = 100
"""Folders in a path above which ``**`` takes too long."""
_STARS = re.compile(r"\*+")
_HINT = "Shorten it, or don't trust this repository."


def refuse_ignores(root: Path, names: Iterable[str]) -> None:
    """Refuse patterns that DVC can't read, or that would take it too long.

    Parameters
    ----------
    names
        Paths of all tracked files, relative to the project.

    Raises
    ------
    DataRefused
        If a file is too large, or its patterns are too many, too long, or too slow.
    BadParams
        If a pattern is invalid.
    """
    count = weight = deepest = 0
    files = {_FILE_NAME}
    for name in names:
        deepest = max(deepest, name.count("/"))
        if name.rpartition("/")[2].casefold() == _FILE_NAME:
            files.add(name)
    for name in sorted(files):
        for place, pattern in _read_patterns(root / name, name):
            wildcards = _refuse_pattern(pattern, place, deepest)
            count, weight = count + 1, weight + (10**wildcards if wildcards else 1)
            if count > _MAX_PATTERNS or weight > _MAX_WEIGHT:
                kind = "patterns" if count > _MAX_PATTERNS else "patterns with wildcards"
                raise DataRefused(f"there are too many {kind} up to {place}", _HINT)


def _read_patterns(path: Path, name: str) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError:  # gone, or no file
        return
    if len(content) > _MAX_BYTES:
        raise DataRefused(f"{name} has more than {_MAX_BYTES:,} bytes", _HINT)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadParams(f"{name} is not in UTF-8", "Correct it.") from None
    for number, line in enumerate(text.splitlines(), 1):
        if (pattern := line.strip()) and not pattern.startswith("#"):
            yield f"{name}:{number}", pattern


def _refuse_pattern(pattern: str, place: str, deepest: int) -> int:
    """Refuse one pattern; return how many wildcards count."""
    if len(pattern) > _MAX_LENGTH:
        raise DataRefused(f"the pattern of {place} has more than {_MAX_LENGTH} characters", _HINT)
    inner = pattern.removeprefix("!").removeprefix("/").removesuffix("/").removesuffix("/**")
    # Inside a path, ** counts twice: it starts again at each folder.
    wildcards = sum(1 + ("/**/" in inner[max(0, m.start() - 1) : m.end() + 1])
               for m in _STARS.finditer(inner))  # fmt: skip
    if wildcards > _MAX_WILDCARDS:
        raise DataRefused(
            f"the pattern {ascii(pattern)[:80]} of {place} has too many wildcards", _HINT
        )
    if "**" in inner and deepest > _MAX_DEPTH:
        raise DataRefused(
            f"the pattern {ascii(pattern)[:80]} of {place} takes too long on paths of more than "
            f"{_MAX_DEPTH} folders",
            _HINT,
        )
    _refuse_invalid(pattern, place)
    return wildcards


def _refuse_invalid(pattern: str, place: str) -> None:
    import warnings

    from dvc.ignore import DvcIgnorePatterns

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            DvcIgnorePatterns([pattern], "/", "/")
    except (ValueError, re.error) as error:
        message = " ".join(str(error).split())[:80]
        raise BadParams(
            f"the pattern {ascii(pattern)[:80]} of {place} is invalid: {message}", "Correct it."
        ) from None
