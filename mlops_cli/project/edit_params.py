"""Changing one value of ``params.yaml`` and leaving every other character as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import BadParams

__all__ = ["replace_until", "set_until"]

_SCALAR = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s,#}]+""")


def set_until(path: Path, until: str) -> None:
    """Write ``ingest.until``; comments, order and quotes of all else stay, and so does a link.

    Raises
    ------
    BadParams
        If the file is written in a way in which the value cannot be replaced safely.
    """
    text = replace_until(path, until)
    with (
        atomic_write(path.resolve()) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        file.write(text)


def replace_until(path: Path, until: str) -> str:
    """What ``set_until`` would write.

    Raises
    ------
    BadParams
        If the value cannot be replaced safely.
    """
    from mlops_cli.params.reading import read_yaml

    # Line ends are kept too.
    with path.open(encoding="utf-8", newline="") as file:
        old = file.read()
    new = _with_until(old, until)
    wanted = read_yaml(old, path.name)
    wanted["ingest"] = {**wanted["ingest"], "until": until}
    if new is None or not _says(new, wanted):
        raise BadParams(
            f"ingest.until stands in {path.name} in a way that isn't safely replaced",
            f'Set it by hand: until: "{until}"',
        )
    return new


def _says(text: str, wanted: Any) -> bool:
    from mlops_cli.params.reading import read_yaml

    try:
        return bool(read_yaml(text, "") == wanted)
    except BadParams:
        return False


def _with_until(text: str, until: str) -> str | None:
    """The text with the value in its place; None where no plain value stands there."""
    from ruamel.yaml import YAML

    ingest: Any = YAML(typ="rt").load(text)["ingest"]
    lines = text.split("\n")
    if "until" not in ingest:
        line, column = ingest.lc.key(next(iter(ingest)))
        between = ", " if ingest.fa.flow_style() else "\n" + " " * column
        lines[line] = f'{lines[line][:column]}until: "{until}"{between}{lines[line][column:]}'
        return "\n".join(lines)
    line, column = ingest.lc.key("until")
    colon = re.compile(r"""["']?until["']?\s*:[ \t]*""").match(lines[line], column)
    if colon is None:
        return None
    value = _SCALAR.match(lines[line], colon.end())
    rest = lines[line][value.end() if value else colon.end() :]
    lines[line] = f'{lines[line][: colon.end()].rstrip()} "{until}"{rest}'
    return "\n".join(lines)
