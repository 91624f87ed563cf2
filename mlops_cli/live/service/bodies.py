"""Rows out of a request's body: JSON, CSV, Arrow, Parquet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.live.service.http import Problem

if TYPE_CHECKING:
    import polars as pl

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["ARROW", "KINDS", "json_of", "rows_of"]

ARROW = "application/vnd.apache.arrow.stream"
KINDS = {
    "application/json": "rows as objects, one object, or columns as lists",
    "text/csv": "with a header",
    ARROW: "an Arrow IPC stream",
    "application/vnd.apache.arrow.file": "an Arrow IPC file",
    "application/vnd.apache.parquet": "a Parquet file",
}


def json_of(body: bytes) -> Any:
    """A JSON document.

    Raises
    ------
    Problem
        400 if it isn't one.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def rows_of(body: bytes, kind: str, most: int) -> Rows | pl.DataFrame:
    """Rows of a body of a content type: a table, or objects where it is JSON.

    Raises
    ------
    Problem
        400 if the body isn't what its type says, 413 if it has more than ``most`` rows, 415 if
        the type is not known.
    """
    if kind == "application/json":
        rows: Rows | pl.DataFrame = _from_json(json_of(body))
    else:
        rows = _table(body, kind)
    if len(rows) > most:
        raise Problem(413, f"there are {len(rows)} rows, and at most {most} are taken at once")
    if not len(rows):
        raise Problem(422, "there are no rows to predict")
    return rows


def _from_json(content: Any) -> Rows:
    if isinstance(content, dict):
        if "rows" in content and isinstance(content["rows"], list):
            content = content["rows"]
        elif "columns" in content and isinstance(content["columns"], dict):
            return _turned(content["columns"])
        elif "rows" in content or "columns" in content:
            raise Problem(422, "`rows` is a list of objects, and `columns` an object of lists")
        else:
            content = [content]
    if not isinstance(content, list):
        raise Problem(422, "the rows are neither a list nor an object")
    if set(map(type, content)) - {dict}:
        raise Problem(422, "a row is not an object of column and value")
    return content


def _turned(columns: Mapping[str, Any]) -> Rows:
    """Rows of columns."""
    if not all(isinstance(values, list) for values in columns.values()):
        raise Problem(422, "a column is not a list")
    if len({len(values) for values in columns.values()}) > 1:
        raise Problem(422, "the columns are not of the same length")
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _table(body: bytes, kind: str) -> pl.DataFrame:
    import polars as pl

    readers = {
        # As text: the types are the model's business.
        "text/csv": lambda f: pl.read_csv(f, infer_schema=False, null_values=[""]),
        ARROW: pl.read_ipc_stream,
        "application/vnd.apache.arrow.file": pl.read_ipc,
        "application/vnd.apache.parquet": pl.read_parquet,
    }
    if kind not in readers:
        known = ", ".join(KINDS)
        raise Problem(415, f"the content type {kind!r} is not known; there are {known}")
    try:
        return readers[kind](io.BytesIO(body))
    # Readers of foreign formats raise errors of many kinds, and panic.
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise Problem(400, f"the body is not {kind}: {said[0][:200]}") from None
