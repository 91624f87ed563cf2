"""Tables that Python code gives: ``python:module:attribute``.

The attribute is a pandas or Polars frame, anything that speaks Arrow (a table, a stream of
record batches, a query's result), or a callable without arguments that gives one.
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
    """Import the module, and give its table.

    Raises
    ------
    BadParams
        If the URI isn't ``python:module:attribute``.
    SourceUnreadable
        If the module or attribute isn't there, fails, or is no table.
    """
    uri = request.source.uri
    _, _, rest = uri.partition(":")
    module_name, colon, path = rest.partition(":")
    if not (module_name and colon and path):
        raise BadParams(
            f"{request.place}.uri is {uri!r}, which is not python:module:attribute",
            "Such as python:loaders.sales:load, for the function `load` of loaders/sales.py.",
        )
    with _importable(request.root), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _attribute(_module(module_name, request), path, request)
            if callable(found) and not _is_table(found):
                found = found()
        except SourceUnreadable:
            raise
        except Exception as error:
            raise SourceUnreadable(
                f"{uri} of source {request.name!r} fails: {type(error).__name__}: {error}",
                "Run it in Python by itself to see where.",
            ) from error
    return OpenedSource(_frame(found, request), lambda error: _explained(error, request))


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Let modules of the project be imported, for as long as the block runs."""
    importlib.invalidate_caches()
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def _module(name: str, request: SourceRequest) -> Any:
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


def _attribute(module: Any, path: str, request: SourceRequest) -> Any:
    found = module
    for part in path.split("."):
        if not hasattr(found, part):
            known = [n for n in dir(found) if not n.startswith("_")]
            raise SourceUnreadable(
                f"{request.source.uri} of source {request.name!r} is not there: no {part!r}",
                nearest(part, known),
            )
        found = getattr(found, part)
    return found


def _is_table(thing: Any) -> bool:
    return isinstance(thing, (pl.DataFrame, pl.LazyFrame)) or hasattr(thing, "__arrow_c_stream__")


def _frame(thing: Any, request: SourceRequest) -> pl.LazyFrame:
    if isinstance(thing, (pl.DataFrame, pl.LazyFrame)):
        return thing.lazy()
    if not _is_table(thing):
        raise SourceUnreadable(
            f"{request.source.uri} of source {request.name!r} gives a {type(thing).__name__}, "
            "not a table",
            "Give a pandas or Polars DataFrame, or anything with an Arrow stream.",
        )
    names = [str(c) for c in getattr(thing, "columns", ()) if not callable(c)]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None and type(thing).__module__.startswith("pandas"):
        raise SourceUnreadable(
            f"{request.source.uri} of source {request.name!r} has two columns named {twice!r}",
            "Give each column a name of its own.",
        )
    try:
        if type(thing).__module__.startswith("pandas"):
            frame: pl.DataFrame = pl.from_pandas(thing.set_axis(names, axis=1), nan_to_null=True)
            return frame.lazy()
        return _arrow(thing)
    except Exception as error:
        # pandas holds anything in a column, and Arrow has an error class for each way it can't.
        raise _explained(error, request) from error


def _arrow(thing: Any) -> pl.LazyFrame:
    import pyarrow as pa
    from polars.io.plugins import register_io_source

    if isinstance(thing, pa.Table):
        table = pl.DataFrame(thing)
        table.columns = thing.column_names  # as Polars names a column that has no name
        return table.lazy()
    stream = pa.RecordBatchReader.from_stream(thing)
    schema = pl.Schema(stream.schema)

    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        del batch_size  # the stream has batches of its own
        left = n_rows
        for batch in stream:
            frame = pl.DataFrame(batch)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            frame = frame.select(with_columns) if with_columns is not None else frame
            yield frame.filter(predicate) if predicate is not None else frame
            if left == 0:
                return

    lazy: pl.LazyFrame = register_io_source(batches, schema=schema)
    return lazy


def _explained(error: Exception, request: SourceRequest) -> SourceUnreadable:
    first = str(error).strip().split("\n")[0][:200]
    return SourceUnreadable(
        f"{request.source.uri} of source {request.name!r} cannot be made a table: {first}",
        "Give each column values of one type.",
    )
