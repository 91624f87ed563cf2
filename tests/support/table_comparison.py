"""Comparison of an ingested table with its file, by Python's own parsing of each value."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzzed_columns import Column, Table
    from fuzzed_files import File

__all__ = ["class_labels", "compare_table"]


def compare_table(table: Table, file: File) -> list[str]:
    """Describe each difference between the file and ``data/ingested``."""
    import polars as pl

    if "quote" in file.fault:
        return []  # its content is ambiguous
    (path,) = Path("data/ingested").glob("*.parquet")
    frame = pl.read_parquet(path)
    source = _source()
    derived = source.get("derive", {})
    faults = []
    for name, cells in file.cells.items():
        if name not in frame.columns:
            if any(c is not None for c in cells) or not file.path.name.startswith("data.jsonl"):
                faults.append(f"the column {name!r} is gone")
            continue
        markers = {*source.get("null_values", {}).get(name, ())}
        faults += _compare_column(name, cells, frame[name], markers)
        column = next((c for c in table.columns if c.name == name), None)
        if column is not None and [c.name for c in table.columns].count(name) == 1:
            faults += _check_type(column, cells, frame[name], markers)
            for derived_name, sql in derived.items():
                if (
                    f'("{name}"' in sql.replace('""', '"')
                    or f"({name}," in sql
                    or f"({name} " in sql
                ):
                    faults += _compare_derived(column, frame[derived_name], markers, derived_name)
    return faults


def class_labels(table: Table, file: File) -> tuple[list[str], list[str] | None]:
    """Classes of the target in the file and in the model; none for regression."""
    import json

    labels = json.loads(Path("models/fitted/bundle.json").read_text())["labels"]
    name = table.target.name
    if labels["type"] == "regression" or name not in file.cells:
        return [], None
    markers = {"", *_source().get("null_values", {}).get(name, ())}
    expected = {_label(c) for c in file.cells[name] if c is not None and c not in markers}
    return sorted(expected), sorted(_label(c) for c in labels["classes"])


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    try:
        number = float(value)
    except ValueError:
        return str(value).lower() if str(value).lower() in ("true", "false") else str(value)
    code = len(str(value)) > 1 and str(value)[0] == "0" and str(value)[1] != "."
    return str(int(number)) if number.is_integer() and not code else str(value)


def _source() -> dict[str, Any]:
    from ruamel.yaml import YAML

    text = Path("params.yaml").read_text(encoding="utf-8")
    (source,) = YAML(typ="safe").load(text)["ingest"]["sources"].values()
    return source


def _compare_column(name: str, cells: list[Any], series: Any, markers: set[str]) -> list[str]:
    """Compare a column with the file's values."""
    if series.dtype.is_nested() or str(series.dtype) in (
        "Binary",
        "Time",
        "Duration(time_unit='us')",
    ):
        return []
    faults = []
    for at, (cell, value) in enumerate(zip(cells, series.to_list(), strict=True)):
        cell = None if cell == "" or cell in [*markers] else cell  # noqa: PLW2901
        if value == "":
            value = None  # noqa: PLW2901
        if _is_equal(cell, value):
            continue
        if value is None and _infinite(cell):
            continue
        faults.append(f"{name!r} row {at}: {cell!r} became {value!r} ({series.dtype})")
    return [f"{faults[0]} and {len(faults) - 1} more"] if faults else []


def _is_equal(cell: Any, value: Any) -> bool:
    if cell is None or value is None:
        return cell is None and value is None
    if isinstance(value, str):
        return _text(cell, value)
    try:
        return bool(_PARSERS[type(value)](cell) == value)
    except ValueError:
        return False


def _text(cell: Any, value: str) -> bool:
    if isinstance(cell, str):
        # YAML, CSV and JSON all keep each character.
        return cell == value
    if isinstance(cell, bool):
        return value.lower() == str(cell).lower()
    try:
        return float(value) == float(cell)
    except (ValueError, OverflowError):
        return str(cell) == value


def _moment(cell: Any) -> dt.datetime | None:
    try:
        moment = cell if isinstance(cell, dt.datetime) else dt.datetime.fromisoformat(str(cell))
    except ValueError:
        return None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


_PARSERS: dict[type, Callable[[Any], Any]] = {
    bool: lambda cell: {"true": True, "false": False}.get(str(cell).lower()),
    int: lambda cell: int(cell.strip(" ")) if isinstance(cell, str) else cell,
    float: float,
    dt.datetime: _moment,
    dt.date: lambda cell: cell if isinstance(cell, dt.date) else dt.date.fromisoformat(cell),
}
"""Type of a value -> Python's parser of a cell."""


def _infinite(cell: Any) -> bool:
    """Whether a cell is infinite or NaN, which count as missing."""
    try:
        return not math.isfinite(float(cell))
    except (TypeError, ValueError, OverflowError):
        return False


def _check_type(column: Column, cells: list[Any], series: Any, markers: set[str]) -> list[str]:
    """Check the type of a column."""
    from mlops_cli.data.column_types import type_name
    from mlops_cli.data.sql.tokens import is_selectable

    texts = all(isinstance(c, str) or c is None for c in cells)
    present = [c for c in cells if c not in ("", None) and c not in markers]
    # A column of missing values only may be of any type.
    empty = all(value is None for value in column.values)
    if column.type is None or empty or not texts or not present or not is_selectable(column.name):
        return []
    if any(
        value is None and cell not in ("", None) and cell not in markers
        for cell, value in zip(cells, series, strict=True)
    ):
        return []
    is_ = type_name(series.dtype)
    wider = {"integer": ("integer", "number")}.get(column.type, (column.type,))
    if is_ in wider or column.type in ("boolean", "string"):
        return []
    return [f"{column.name!r} ({column.kind}) is {is_}, and its values are {column.type}"]


def _compare_derived(column: Column, series: Any, markers: set[str], name: str) -> list[str]:
    """Compare a column derived from texts in another notation with the intended values."""
    for at, (text, expected, value) in enumerate(
        zip(column.texts, column.values, series.to_list(), strict=True)
    ):
        if expected is None or text in markers or not isinstance(expected, float | dt.date):
            continue
        if isinstance(value, dt.datetime) or isinstance(expected, dt.date):
            right = value == expected
        else:
            right = value is not None and math.isclose(value, expected, rel_tol=1e-12)
        if not right:
            became = f"{text!r} became {value!r}, {expected!r} is meant"
            return [f"{name!r} of {column.name!r} row {at}: {became}"]
    return []
