"""Ingestion of one source as a stream: types, derived columns and the data clock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import is_full
from mlops_cli.data.column_types import DTYPES, TypeMismatch, convert, finite, ingested_type
from mlops_cli.data.data_clock import Clock, Tally
from mlops_cli.data.masking import describe_misfit as refused_value
from mlops_cli.data.sql.expressions import Expression
from mlops_cli.errors import BadParams, SourceUnreadable, nearest
from mlops_cli.ingestion.sources import OpenedSource, SourceRequest, open_table
from mlops_cli.layout import PENDING, REASON, ROW, TARGET, TIME

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["SourceTable"]

_RESERVED = (PENDING, REASON, ROW, TARGET, TIME)


@dataclass
class SourceTable:
    """An opened and checked source, ready to be written; create it with ``SourceTable.open``.

    Batches of the stream pass through Python on several threads at once, so a lock guards the
    counts, which don't depend on the order of batches.
    """

    request: SourceRequest
    opened_source: OpenedSource
    clock: Clock
    conversions: dict[str, pl.DataType]
    """Column -> type, for the columns whose values are converted."""
    columns: pl.Schema
    """Schema of the table after types and derived columns."""
    tally: Tally = field(default_factory=Tally)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, request: SourceRequest, until: dt.datetime | None) -> SourceTable:
        """Open a source, and check its settings against its columns.

        Raises
        ------
        SourceUnreadable
            If it can't be opened.
        BadParams
            If `types`, `derive`, `time` or `known_at` don't fit its columns.
        """
        opened = open_table(request)
        schema = opened.frame.collect_schema()
        reserved = next((c for c in _RESERVED if c in schema), None)
        if reserved is not None:
            raise SourceUnreadable(
                f"source {request.name!r} has a column {reserved!r}, a name that the pipeline uses",
                "Rename the column where the table is made.",
            )
        _check_names(request, "types", request.source.types, schema)
        if isinstance(request.source.null_values, dict):
            _check_names(request, "null_values", request.source.null_values, schema)
        stated_types = {c: DTYPES[t] for c, t in request.source.types.items()}
        target = pl.Schema({c: stated_types.get(c, ingested_type(t)) for c, t in schema.items()})
        # Floats are always converted: NaN becomes null.
        conversions = {c: t for c, t in target.items() if schema[c] != t or t.is_float()}
        columns = _add_derived(request, target)
        clock = Clock.for_source(request.source, until, columns, request.setting)
        return cls(request, opened, clock, conversions, columns)

    def write(self, path: Path) -> Tally:
        """Stream the table to a Parquet file, and return the counts.

        Raises
        ------
        SourceUnreadable
            If a value doesn't fit its column's type, or the source can't be read completely.
        """
        try:
            parquet.sink(self._lazy_table(), path)
        except TypeMismatch as misfit:
            raise self._misfit_error(misfit) from misfit
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            # Arrow streams raise errors that are ValueErrors.
            if is_full(error):
                raise
            raise self.opened_source.explain(error) from error
        self._compare_counts()
        return self.tally

    def _compare_counts(self) -> None:
        """Refuse a table if rows were lost or added while it was read."""
        counted = self.opened_source.rows
        if counted is not None and counted != self.tally.input_rows:
            raise SourceUnreadable(
                f"source {self.request.name!r} has {counted} rows by its lines, and "
                f"{self.tally.input_rows} were read",
                "Look for line ends or quotes inside of values, or write the file again.",
            )

    def _lazy_table(self) -> pl.LazyFrame:
        typed = pl.Schema({**self.opened_source.frame.collect_schema(), **self.conversions})
        table = self.opened_source.frame
        if self.conversions:
            table = table.map_batches(self._convert, streamable=True, schema=typed)
        for name, expression in _expressions(self.request).items():
            table = table.with_columns(expression.as_column(name, self.columns[name]))
        return table.map_batches(
            self._cut, streamable=True, schema=self.clock.output_schema(self.columns)
        )

    def _convert(self, frame: pl.DataFrame) -> pl.DataFrame:
        columns = [convert(frame[c], t) for c, t in self.conversions.items()]
        finite_columns = [finite(column) for column in columns]
        infinite = {
            column.name: lost
            for column, finite_column in zip(columns, finite_columns, strict=True)
            if (lost := finite_column.null_count() - column.null_count())
        }
        if infinite:
            with self.lock:
                self.tally.infinite.update(infinite)
        return frame.with_columns(finite_columns)

    def _cut(self, frame: pl.DataFrame) -> pl.DataFrame:
        known_rows, tally = self.clock.cut(frame)
        with self.lock:
            self.tally += tally
        return known_rows

    def _misfit_error(self, misfit: TypeMismatch) -> SourceUnreadable:
        """The error for a misfit, with its first row, which takes a second scan of the source."""
        request, column = self.request, misfit.column
        row = ""
        if not request.source.uri.startswith("python:"):
            has_value = pl.col(column).eq(pl.lit(misfit.value, self._source_type(column)))
            misfits = (
                self.opened_source.frame.select(column).with_row_index("row").filter(has_value)
            )
            first = misfits.head(1).collect(engine="streaming")
            row = f", row {first['row'][0] + 1}" if first.height else ""
        hint = {
            "integer": "number" if column in request.source.types else "string",
            "datetime": "string",
            "date": "string",
        }.get(misfit.expected_type, "string")
        # Errors appear in CI's logs, which must not show personal data.
        shown = refused_value(misfit.value)
        why = (
            f"is not of type {misfit.expected_type}, which `types` states"
            if column in request.source.types
            else "does not fit into 64 bits, as whole numbers have to"
        )
        return SourceUnreadable(
            f"{shown} in column {column!r} of source {request.name!r}{row} {why}",
            f"Correct the value, or `types: {{{column}: {hint}}}` under {request.setting}.",
        )

    def _source_type(self, column: str) -> pl.DataType:
        return self.opened_source.frame.collect_schema()[column]


def _check_names(request: SourceRequest, key: str, names: Iterable[str], schema: pl.Schema) -> None:
    for column in names:
        if column not in schema:
            raise BadParams(
                f"{request.setting}.{key} names the column {column!r}, which is not there",
                nearest(column, schema),
            )


def _expressions(request: SourceRequest) -> dict[str, Expression]:
    place = f"{request.setting}.derive"
    return {name: Expression(sql, f"{place}.{name}") for name, sql in request.source.derive.items()}


def _add_derived(request: SourceRequest, schema: pl.Schema) -> pl.Schema:
    for name, expression in _expressions(request).items():
        schema = pl.Schema({**schema, name: ingested_type(expression.result_type(schema))})
    return schema
