"""Finds the fault in a JSON Lines file that Polars can't read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.files import check_utf8, plain_copy

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import SourceRequest

__all__ = ["diagnose"]

_KINDS = {
    bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object",
}  # fmt: skip
"""Kinds of values that can't be mixed in one column; text isn't one, as all can become text."""


def diagnose(path: Path, display_name: str, request: SourceRequest) -> SourceUnreadable | None:
    """Find the first line that isn't a JSON object, or has a value of another kind than before."""
    plain = plain_copy(path, display_name, request)
    problem = check_utf8(plain, display_name, request)
    if problem is not None:
        return problem
    kinds: dict[str, tuple[str, int]] = {}
    with plain.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            reason = _line_problem(line)
            if reason:
                return SourceUnreadable(
                    f"line {number} of {display_name} of source {request.name!r} is not a JSON "
                    f"object: {line.strip()[:40]!r} ({reason})",
                    "Each line is one JSON object; repair or remove the line.",
                )
            for key, value in json.loads(line).items():
                kind = _KINDS.get(type(value))
                first_kind, first_line = (
                    kinds.setdefault(key, (kind, number)) if kind else (kind, number)
                )
                if kind != first_kind:
                    return SourceUnreadable(
                        f"{key!r} is {kind} in line {number} of {display_name} of source "
                        f"{request.name!r}, and {first_kind} in line {first_line}",
                        f"Give it one kind of values, or set `types: {{{key}: string}}` under "
                        f"{request.setting}.",
                    )
    return None


def _line_problem(line: str) -> str:
    """Why a line isn't one JSON object that Polars reads; empty if it is."""
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return f"{error.msg}, column {error.colno}"
    except ValueError as error:
        return str(error)
    if not isinstance(value, dict):
        return "it is no object"
    try:
        pl.read_ndjson(line.encode())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeError) as error:
        text = " ".join(str(error).split())
        return "a number is out of range" if "InvalidNumber" in text else text[:100]
    return ""


def _refuse_constant(word: str) -> None:
    msg = f"{word} is no number of JSON: write null"
    raise ValueError(msg)
