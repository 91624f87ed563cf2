"""The data clock: cuts a table to what was known before a given moment.

Rows are dropped by their event time or the time at which they became known. Single values are
masked if they became known only later.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data.column_types import DTYPES
from mlops_cli.errors import BadParams, nearest
from mlops_cli.layout import PENDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_cli.params.ingest import Source

__all__ = ["Clock", "Tally", "in_utc"]


def in_utc(moment: dt.date | dt.datetime) -> dt.datetime:
    """Convert to an aware moment in UTC: UTC is assumed without a zone, midnight for a date."""
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day, tzinfo=dt.UTC)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


@dataclass
class Tally:
    """Counts of a table that is cut in batches; the tallies of batches can be added."""

    input_rows: int = 0
    rows: int = 0
    undated: int = 0
    pending: Counter[str] = field(default_factory=Counter)
    """Column -> number of values masked because they were not known yet."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Column -> number of values masked because the time at which they became known is missing."""
    infinite: Counter[str] = field(default_factory=Counter)
    """Column -> number of infinite values, which were read as missing."""
    span: tuple[dt.datetime, dt.datetime] | None = None
    """First and last time of the rows kept."""
    input_span: tuple[dt.datetime, dt.datetime] | None = None
    """First and last time of all rows."""

    @property
    def dropped(self) -> int:
        """Number of rows at or after the clock."""
        return self.input_rows - self.rows - self.undated

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.input_rows + other.input_rows,
            self.rows + other.rows,
            self.undated + other.undated,
            self.pending + other.pending,
            self.unknown + other.unknown,
            self.infinite + other.infinite,
            _merge_spans(self.span, other.span),
            _merge_spans(self.input_span, other.input_span),
        )


Span = tuple[dt.datetime, dt.datetime] | None


def _merge_spans(one: Span, other: Span) -> Span:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


@dataclass(frozen=True)
class Clock:
    """The data clock for one table; create it with ``Clock.for_source``."""

    until: dt.datetime | None
    time: str | None
    row_known_at: str | None
    known_at_columns: Mapping[str, tuple[str, ...]]
    """Column -> time columns, all of which must be before the clock for its value to be known."""

    @classmethod
    def for_source(
        cls, source: Source, until: dt.datetime | None, schema: pl.Schema, setting: str
    ) -> Clock:
        """Check a source's ``time`` and ``known_at`` against its columns.

        Raises
        ------
        BadParams
            If they name a column that doesn't exist or holds no times, or form a circle.
        """
        late = {c: k for c, k in source.known_at.items() if c != "*"}
        for column in late:
            _check_column(column, schema, f"{setting}.known_at")
        times = {f"{setting}.known_at.{c}": k for c, k in source.known_at.items()}
        if source.time is not None:
            times[f"{setting}.time"] = source.time
        for where, column in times.items():
            _check_column(column, schema, where)
            if not isinstance(schema[column], (pl.Date, pl.Datetime)):
                raise BadParams(
                    f"{where} names {column!r}, which holds {str(schema[column]).lower()} values, "
                    "not times",
                    f"State its type: `types: {{{column}: datetime}}`, or derive a time from it.",
                )
        row_known = source.known_at.get("*")
        # The time at which a value becomes known would itself leak the future.
        time_columns = {k: k for k in late.values() if k not in {source.time, row_known}}
        late = {**time_columns, **late}
        return cls(until, source.time, row_known, {c: _time_chain(c, late, setting) for c in late})

    @property
    def masks_values(self) -> bool:
        """Whether single values are masked, which adds the column ``_pending``."""
        return bool(self.known_at_columns)

    def output_schema(self, input_schema: pl.Schema) -> pl.Schema:
        """The schema of what ``cut`` returns."""
        return (
            pl.Schema({**input_schema, PENDING: pl.Boolean()})
            if self.masks_values
            else input_schema
        )

    def cut(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Tally]:
        """Drop or mask what was not known before the clock, and count it.

        Rows without a time are dropped. If ``until`` is None, everything is known.
        """
        tally = Tally(input_rows=frame.height)
        if self.time is not None:
            tally.input_span = _time_span(frame, self.time)
        has_time = [
            pl.col(c).is_not_null() for c in (self.time, self.row_known_at) if c is not None
        ]
        if has_time:
            frame = frame.filter(has_time)
            tally.undated = tally.input_rows - frame.height
        if self.until is not None:
            row_times = [c for c in (self.time, self.row_known_at) if c is not None]
            frame = (
                frame.filter([self._is_before_clock(c) for c in row_times]) if row_times else frame
            )
        if self.masks_values:
            frame = self._mask_values(frame, tally)
        tally.rows = frame.height
        if self.time is not None:
            tally.span = _time_span(frame, self.time)
        return frame, tally

    def _is_before_clock(self, column: str) -> pl.Expr:
        return pl.col(column).cast(DTYPES["datetime"]) < pl.lit(self.until, DTYPES["datetime"])

    def _mask_values(self, frame: pl.DataFrame, tally: Tally) -> pl.DataFrame:
        if self.until is None:
            return frame.with_columns(pl.lit(value=False).alias(PENDING))
        pending_values = frame.select(self._is_pending(c).alias(c) for c in self.known_at_columns)
        unknown_values = frame.select(self._is_unknown(c).alias(c) for c in self.known_at_columns)
        tally.pending.update({c: int(pending_values[c].sum()) for c in self.known_at_columns})
        tally.unknown.update(
            {c: int((unknown_values[c] & ~pending_values[c]).sum()) for c in self.known_at_columns}
        )
        pending = pending_values.select(pl.any_horizontal(pl.all())).to_series()
        return frame.with_columns(
            pl.when(~(pending_values[c] | unknown_values[c])).then(pl.col(c)).alias(c)
            for c in self.known_at_columns
        ).with_columns(pending.alias(PENDING))

    def _is_pending(self, column: str) -> pl.Expr:
        time_columns = self.known_at_columns[column]
        return pl.any_horizontal([~self._is_before_clock(k) for k in time_columns]).fill_null(
            value=False
        )

    def _is_unknown(self, column: str) -> pl.Expr:
        no_time = pl.any_horizontal([pl.col(k).is_null() for k in self.known_at_columns[column]])
        return no_time & pl.col(column).is_not_null()


def _check_column(column: str, schema: pl.Schema, where: str) -> None:
    if column not in schema:
        raise BadParams(
            f"{where} names the column {column!r}, which is not there", nearest(column, schema)
        )


def _time_chain(column: str, late: Mapping[str, str], setting: str) -> tuple[str, ...]:
    """The time columns on which a value depends: its own, the one of that column, and so on."""
    chain: list[str] = []
    time_column = late[column]
    while time_column not in chain:
        chain.append(time_column)
        if time_column not in late or late[time_column] == time_column:
            return tuple(chain)
        time_column = late[time_column]
    raise BadParams(
        f"{setting}.known_at goes in a ring: {' -> '.join([column, *chain, time_column])}",
        "One of these columns must be known at a time that depends on no other.",
    )


def _time_span(frame: pl.DataFrame, time: str) -> Span:
    times = frame[time].cast(DTYPES["datetime"]).drop_nulls()
    if times.is_empty():
        return None
    return times.min(), times.max()  # type: ignore[return-value]  # polars types any scalar
