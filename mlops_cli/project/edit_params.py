"""Replaces one value of ``params.yaml`` and leaves every other character as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import BadParams

__all__ = ["replace_until", "set_until"]

_SCALAR = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s,#}]+""")


def set_until(path: Path, until: str) -> None:
    """Write ``ingest.until``; comments, order, quotes and a symbolic link are preserved.

    Raises
    ------
    BadParams
        If the value can't be replaced safely, because of the way in which the file is written.
    """
    text = replace_until(path, until)
    with (
        atomic_write(path.resolve()) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write(text)


def replace_until(path: Path, until: str) -> str:
    """The text that ``set_until`` would write.

    Raises
    ------
    BadParams
        If the value can't be replaced safely.
    """
    from mlops_cli.params.reading import read_yaml

    # With newline='' line ends are preserved too.
    with path.open(encoding="utf-8", newline="") as file:
        old = file.read()
    new = _put_until(old, until)
    expected = read_yaml(old, path.name)
    expected["ingest"] = {**expected["ingest"], "until": until}
    if new is None or not _parses_to(new, expected):
        raise BadParams(
            f"ingest.until is written in {path.name} in a way that isn't safely replaced",
            f'Set it by hand: until: "{until}"',
        )
    return new


def _parses_to(text: str, expected: Any) -> bool:
    from mlops_cli.params.reading import read_yaml

    try:
        return bool(read_yaml(text, "") == expected)
    except BadParams:
        return False


def _put_until(text: str, until: str) -> str | None:
    """The text with the new value; None if there is no plain value to replace."""
    from ruamel.yaml import YAML

    ingest: Any = YAML(typ="rt").load(text)["ingest"]
    lines = text.split("\n")
    if "until" not in ingest:
        line, column = ingest.lc.key(next(iter(ingest)))
        separator = ", " if ingest.fa.flow_style() else "\n" + " " * column
        lines[line] = f'{lines[line][:column]}until: "{until}"{separator}{lines[line][column:]}'
        return "\n".join(lines)
    line, column = ingest.lc.key("until")
    colon = re.compile(r"""["']?until["']?\s*:[ \t]*""").match(lines[line], column)
    if colon is None:
        return None
    value = _SCALAR.match(lines[line], colon.end())
    rest = lines[line][value.end() if value else colon.end() :]
    lines[line] = f'{lines[line][: colon.end()].rstrip()} "{until}"{rest}'
    return "\n".join(lines)
