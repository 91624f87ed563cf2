"""Tables from Python code: ``python:module:attribute``.

The attribute is a pandas or Polars frame, an object with an Arrow stream (a table, a stream of
record batches, a query's result), or a callable without arguments that returns one of these.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.errors import BadParams, SourceUnreadable, nearest
from mlops_cli.ingestion.sources.request import OpenedSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import SourceRequest

__all__ = ["open_table"]


def open_table(request: SourceRequest) -> OpenedSource:
    """Import the module, and open its table.

    Raises
    ------
    BadParams
        If the URI isn't ``python:module:attribute``.
    SourceUnreadable
        If the module or attribute doesn't exist, fails, or is no table.
    """
    uri = request.source.uri
    _, _, rest = uri.partition(":")
    module_name, colon, path = rest.partition(":")
    if not (module_name and colon and path):
        raise BadParams(
            f"{request.setting}.uri is {uri!r}, which is not python:module:attribute",
            "Such as python:loaders.sales:load, for the function `load` of loaders/sales.py.",
        )
    with _importable(request.root), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = _get_attribute(_import_module(module_name, request), path, request)
            if callable(value) and not _is_table(value):
                value = value()
        except SourceUnreadable:
            raise
        except Exception as error:
            raise SourceUnreadable(
                f"{uri} of source {request.name!r} fails: {type(error).__name__}: {error}",
                "Run it in Python by itself to see where.",
            ) from error
    return OpenedSource(_to_frame(value, request), lambda error: _conversion_error(error, request))


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Allow imports of the project's modules inside the block."""
    importlib.invalidate_caches()
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def _import_module(name: str, request: SourceRequest) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        needs = (
            "" if error.name in {name, name.partition(".")[0]} else f" (it needs {error.name!r})"
        )
        raise SourceUnreadable(
            f"there is no Python module {name!r} for source {request.name!r}{needs}",
            "Put it in the project's folder, or install the package that you know it comes with.",
        ) from None


def _get_attribute(module: Any, path: str, request: SourceRequest) -> Any:
    value = module
    for part in path.split("."):
        if not hasattr(value, part):
            names = [n for n in dir(value) if not n.startswith("_")]
            raise SourceUnreadable(
                f"{request.source.uri} of source {request.name!r} is not there: no {part!r}",
                nearest(part, names),
            )
        value = getattr(value, part)
    return value


def _is_table(value: Any) -> bool:
    return isinstance(value, (pl.DataFrame, pl.LazyFrame)) or hasattr(value, "__arrow_c_stream__")


def _to_frame(value: Any, request: SourceRequest) -> pl.LazyFrame:
    if isinstance(value, (pl.DataFrame, pl.LazyFrame)):
        return value.lazy()
    if not _is_table(value):
        raise SourceUnreadable(
            f"{request.source.uri} of source {request.name!r} gives a {type(value).__name__}, "
            "not a table",
            "Give a pandas or Polars DataFrame, or anything with an Arrow stream.",
        )
    names = [str(c) for c in getattr(value, "columns", ()) if not callable(c)]
    duplicate = next((n for n in names if names.count(n) > 1), None)
    if duplicate is not None and type(value).__module__.startswith("pandas"):
        raise SourceUnreadable(
            f"{request.source.uri} of source {request.name!r} has two columns named {duplicate!r}",
            "Give each column a name of its own.",
        )
    try:
        if type(value).__module__.startswith("pandas"):
            frame: pl.DataFrame = pl.from_pandas(value.set_axis(names, axis=1), nan_to_null=True)
            return frame.lazy()
        return _scan_arrow(value)
    except Exception as error:
        # A pandas column can hold anything, and Arrow has many error classes for what it can't.
        raise _conversion_error(error, request) from error


def _scan_arrow(value: Any) -> pl.LazyFrame:
    import pyarrow as pa
    from polars.io.plugins import register_io_source

    if isinstance(value, pa.Table):
        table = pl.DataFrame(value)
        table.columns = value.column_names  # because Polars renames a column without a name
        return table.lazy()
    stream = pa.RecordBatchReader.from_stream(value)
    schema = pl.Schema(stream.schema)

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        del batch_size  # the stream has batches of its own
        remaining = n_rows
        for batch in stream:
            frame = pl.DataFrame(batch)
            if remaining is not None:
                frame = frame.head(remaining)
                remaining -= frame.height
            frame = frame.select(with_columns) if with_columns is not None else frame
            yield frame.filter(predicate) if predicate is not None else frame
            if remaining == 0:
                return

    lazy: pl.LazyFrame = register_io_source(batches, schema=schema)
    return lazy


def _conversion_error(error: Exception, request: SourceRequest) -> SourceUnreadable:
    reason = str(error).strip().split("\n")[0][:200]
    return SourceUnreadable(
        f"{request.source.uri} of source {request.name!r} cannot be made a table: {reason}",
        "Give each column values of one type.",
    )
