"""The data clock: what of a table was known before a given moment.

Rows are cut by the time that they are about; single values are masked where the time at which
they became known has not come yet.
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

    from mlops_cli.params.data import Source

__all__ = ["Clock", "Tally", "in_utc"]


def in_utc(moment: dt.date | dt.datetime) -> dt.datetime:
    """Make a moment of the parameters aware: without a zone it is UTC, a date is its midnight."""
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day, tzinfo=dt.UTC)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


@dataclass
class Tally:
    """What was counted while a table went by; adding two gives the tally of both."""

    rows_in: int = 0
    rows: int = 0
    undated: int = 0
    pending: Counter[str] = field(default_factory=Counter)
    """Column -> values masked as not known yet."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Column -> values masked as nobody knows when they became known."""
    infinite: Counter[str] = field(default_factory=Counter)
    """Column -> infinite values, which were taken as missing."""
    span: tuple[dt.datetime, dt.datetime] | None = None
    """First and last time of the rows kept."""
    span_in: tuple[dt.datetime, dt.datetime] | None = None
    """First and last time of all rows."""

    @property
    def dropped(self) -> int:
        """Rows at or after the clock."""
        return self.rows_in - self.rows - self.undated

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows_in + other.rows_in,
            self.rows + other.rows,
            self.undated + other.undated,
            self.pending + other.pending,
            self.unknown + other.unknown,
            self.infinite + other.infinite,
            _hull(self.span, other.span),
            _hull(self.span_in, other.span_in),
        )


Span = tuple[dt.datetime, dt.datetime] | None


def _hull(one: Span, other: Span) -> Span:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


@dataclass(frozen=True)
class Clock:
    """The clock for one table; make it with ``Clock.of``."""

    until: dt.datetime | None
    time: str | None
    row_known: str | None
    hidden: Mapping[str, tuple[str, ...]]
    """Column -> the time columns that must all have come before its value is known."""

    @classmethod
    def of(cls, source: Source, until: dt.datetime | None, schema: pl.Schema, place: str) -> Clock:
        """Check a source's ``time`` and ``known_at`` against its columns.

        Raises
        ------
        BadParams
            If they name a column that isn't there, that holds no times, or each other in a ring.
        """
        late = {c: k for c, k in source.known_at.items() if c != "*"}
        for column in late:
            _check_there(column, schema, f"{place}.known_at")
        times = {f"{place}.known_at.{c}": k for c, k in source.known_at.items()}
        if source.time is not None:
            times[f"{place}.time"] = source.time
        for where, column in times.items():
            _check_there(column, schema, where)
            if not isinstance(schema[column], (pl.Date, pl.Datetime)):
                raise BadParams(
                    f"{where} names {column!r}, which holds {str(schema[column]).lower()} values, "
                    "not times",
                    f"State its type: `types: {{{column}: datetime}}`, or derive a time from it.",
                )
        row_known = source.known_at.get("*")
        # A column that tells when another becomes known would itself give the future away.
        tellers = {k: k for k in late.values() if k not in {source.time, row_known}}
        late = {**tellers, **late}
        return cls(until, source.time, row_known, {c: _chain(c, late, place) for c in late})

    @property
    def masks(self) -> bool:
        """Whether single values are masked, so that the table gets the column ``_pending``."""
        return bool(self.hidden)

    def schema(self, given: pl.Schema) -> pl.Schema:
        """Give the schema of what ``cut`` returns."""
        return pl.Schema({**given, PENDING: pl.Boolean()}) if self.masks else given

    def cut(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, Tally]:
        """Keep what was known before the clock, and count what was not.

        Rows without a time are left out. Where ``until`` is None, everything is known.
        """
        tally = Tally(rows_in=frame.height)
        if self.time is not None:
            tally.span_in = _span(frame, self.time)
        dated = [pl.col(c).is_not_null() for c in (self.time, self.row_known) if c is not None]
        if dated:
            frame = frame.filter(dated)
            tally.undated = tally.rows_in - frame.height
        if self.until is not None:
            come = [c for c in (self.time, self.row_known) if c is not None]
            frame = frame.filter([self._before(c) for c in come]) if come else frame
        if self.masks:
            frame = self._mask(frame, tally)
        tally.rows = frame.height
        if self.time is not None:
            tally.span = _span(frame, self.time)
        return frame, tally

    def _before(self, column: str) -> pl.Expr:
        return pl.col(column).cast(DTYPES["datetime"]) < pl.lit(self.until, DTYPES["datetime"])

    def _mask(self, frame: pl.DataFrame, tally: Tally) -> pl.DataFrame:
        if self.until is None:
            return frame.with_columns(pl.lit(value=False).alias(PENDING))
        later = frame.select(self._later(c).alias(c) for c in self.hidden)
        unknown = frame.select(self._unknown(c).alias(c) for c in self.hidden)
        tally.pending.update({c: int(later[c].sum()) for c in self.hidden})
        tally.unknown.update({c: int((unknown[c] & ~later[c]).sum()) for c in self.hidden})
        pending = later.select(pl.any_horizontal(pl.all())).to_series()
        return frame.with_columns(
            pl.when(~(later[c] | unknown[c])).then(pl.col(c)).alias(c) for c in self.hidden
        ).with_columns(pending.alias(PENDING))

    def _later(self, column: str) -> pl.Expr:
        tellers = self.hidden[column]
        return pl.any_horizontal([~self._before(k) for k in tellers]).fill_null(value=False)

    def _unknown(self, column: str) -> pl.Expr:
        untold = pl.any_horizontal([pl.col(k).is_null() for k in self.hidden[column]])
        return untold & pl.col(column).is_not_null()


def _check_there(column: str, schema: pl.Schema, where: str) -> None:
    if column not in schema:
        raise BadParams(
            f"{where} names the column {column!r}, which is not there", nearest(column, schema)
        )


def _chain(column: str, late: Mapping[str, str], place: str) -> tuple[str, ...]:
    """List the time columns that a value waits for: its own, that one's own, and so on."""
    chain: list[str] = []
    teller = late[column]
    while teller not in chain:
        chain.append(teller)
        if teller not in late or late[teller] == teller:
            return tuple(chain)
        teller = late[teller]
    raise BadParams(
        f"{place}.known_at goes in a ring: {' -> '.join([column, *chain, teller])}",
        "One of these columns must be known at a time that depends on no other.",
    )


def _span(frame: pl.DataFrame, time: str) -> Span:
    times = frame[time].cast(DTYPES["datetime"]).drop_nulls()
    if times.is_empty():
        return None
    return times.min(), times.max()  # type: ignore[return-value]  # polars types any scalar
