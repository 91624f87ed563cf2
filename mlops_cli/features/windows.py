"""Time windows over past rows of a key: which rows count, and aggregates of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.durations import microseconds
from mlops_cli.data.sql.expressions import Expression
from mlops_cli.errors import BadParams, nearest
from mlops_cli.features.aggregates import EXTREMES, Aggregate

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from mlops_cli.data.source_schema import SourceSchema
    from mlops_cli.params.featurize import Window

__all__ = ["KNOWN_AT", "PREDICTION_TIME", "Span", "WindowPlan"]

Span = tuple["dt.datetime", "dt.datetime"]
"""First and last prediction time of some rows."""

PREDICTION_TIME = "_at"
"""Datetime[us, UTC]: the prediction time of a base row."""
KNOWN_AT = "_known"
"""Datetime[us, UTC]: when an event's values became known."""
_ORDER = "_window_order"


@dataclass(frozen=True)
class WindowPlan:
    """One window of ``featurize.windows``, checked against its source.

    Parameters
    ----------
    name
        Prefix of the columns that it adds.
    by
        (base column, source column) pairs on which rows must agree.
    """

    name: str
    source: str
    by: tuple[tuple[str, str], ...]
    over: str
    delay: str | None
    where: Expression | None
    aggregates: tuple[Aggregate, ...]

    @classmethod
    def compile(cls, name: str, window: Window, source_schema: SourceSchema) -> WindowPlan:
        """Check a window's expressions against its source.

        Raises
        ------
        BadParams
            If a column doesn't exist, an aggregate is malformed, or the source has no time.
        """
        import polars as pl

        place = f"featurize.windows.{name}"
        if isinstance(window.by, Mapping):
            by = tuple(window.by.items())
        else:
            by = tuple((column, column) for column in window.by)
        for _, column in by:
            if column not in source_schema.schema:
                raise BadParams(
                    f"{place}.by names the column {column!r}, which {window.source} doesn't have",
                    nearest(column, source_schema.schema),
                )
        aggregates = tuple(
            Aggregate.parse(key, text, f"{place}.aggregates.{key}")
            for key, text in window.aggregates.items()
        )
        where = Expression(window.where, f"{place}.where") if window.where else None
        plan = cls(name, window.source, by, window.over, window.delay, where, aggregates)
        if where is not None:
            where.check_condition(pl.Schema(source_schema.schema))
        for expression in (a.argument for a in aggregates):
            if expression is not None:
                expression.result_type(pl.Schema(source_schema.schema))
        if source_schema.time is None:
            raise BadParams(
                f"{place} counts past rows of {window.source!r}, which has no time",
                f"Say with `ingest.sources.{window.source}.time` when its rows happen.",
            )
        return plan

    @property
    def columns(self) -> list[str]:
        """The columns that it adds."""
        return [f"{self.name}_{a.name}" for a in self.aggregates]

    @property
    def source_columns(self) -> list[str]:
        """The source's columns that it reads, besides those that say when they are known."""
        expressions = [self.where, *(a.argument for a in self.aggregates)]
        read = [c for e in expressions if e is not None for c in e.columns]
        return list(dict.fromkeys([*(column for _, column in self.by), *read]))

    def known_interval(self, span: Span) -> tuple[pl.Expr, pl.Expr]:
        """When a value must have become known to count in any row (end excluded)."""
        import polars as pl

        first = self.earliest_time(span[0])
        return first if self.delay is None else first.dt.offset_by(f"-{self.delay}"), pl.lit(
            span[1]
        )

    def earliest_time(self, prediction_time: dt.datetime) -> pl.Expr:
        """The earliest time of an event that may count in a row at or after a moment.

        A month before the 29th, 30th and 31st of March is the 28th of February, each at its own
        time of day: a later moment may look back to an earlier one, by less than a day.
        """
        import polars as pl

        first = pl.lit(prediction_time).dt.offset_by(f"-{self.over}")
        return first.dt.offset_by("-1d") if self._by_calendar else first

    @property
    def _by_calendar(self) -> bool:
        return microseconds(self.over) is None

    def compute_columns(
        self, frame: pl.DataFrame, table: pl.LazyFrame, source_schema: SourceSchema, span: Span
    ) -> list[pl.LazyFrame]:
        """The window's columns for ``frame`` (sorted by ``_at``), as lazy frames of the same rows.

        Only rows of ``table`` count that became known before ``_at``, and at the earliest ``over``
        before it. ``span`` is the first and last ``_at``: rows outside of its reach aren't read.
        """
        import polars as pl

        keys = [pl.col(b).alias(k) for (b, _), k in zip(self.by, self.key_names, strict=True)]
        queries = frame.lazy().select(PREDICTION_TIME, *keys)
        results = []
        for late, aggregates in self.group_aggregates(source_schema).items():
            events = self._filter_to_reach(
                self.select_events(table, source_schema, late, aggregates), span
            )
            sums = [a for a in aggregates if a.function not in EXTREMES]
            extremes = [a for a in aggregates if a.function in EXTREMES]
            if sums:
                results.append(self._compute_sums(queries, events, sums))
            if extremes:
                results.append(self._compute_extremes(queries, events, extremes))
        return results

    def group_aggregates(
        self, source_schema: SourceSchema
    ) -> dict[tuple[str, ...], list[Aggregate]]:
        """Aggregates by the columns that say when their values become known.

        Each group has its own window. The column for the whole row isn't part of the key.
        """
        groups: dict[tuple[str, ...], list[Aggregate]] = {}
        for aggregate in self.aggregates:
            read = [] if aggregate.argument is None else list(aggregate.argument.columns)
            read += [] if self.where is None else list(self.where.columns)
            late = tuple(
                sorted(
                    {source_schema.late_columns[c] for c in read if c in source_schema.late_columns}
                )
            )
            groups.setdefault(late, []).append(aggregate)
        return groups

    @property
    def key_names(self) -> list[str]:
        """Names of the key columns in ``select_events``."""
        return [f"_by{i}" for i in range(len(self.by))]

    def select_events(
        self,
        table: pl.LazyFrame,
        source_schema: SourceSchema,
        time_columns: Sequence[str],
        aggregates: Sequence[Aggregate],
    ) -> pl.LazyFrame:
        """One row per row of ``table``: when it is known, its key, and the aggregates' values."""
        import polars as pl

        known_at = source_schema.known_time(time_columns)
        assert known_at is not None  # noqa: S101 - compile refused sources without time
        if self.delay is not None:
            known_at = known_at.dt.offset_by(self.delay)
        if self.where is not None:
            table = table.filter(self.where.expr)
        keys = [pl.col(c).alias(k) for (_, c), k in zip(self.by, self.key_names, strict=True)]
        return table.select(
            known_at.alias(KNOWN_AT), *keys, *(a.event_values() for a in aggregates)
        )

    def _filter_to_reach(self, events: pl.LazyFrame, span: Span) -> pl.LazyFrame:
        import polars as pl

        # The comparison also drops rows that are never known (null).
        first, last = self.earliest_time(span[0]), pl.lit(span[1])
        reachable = events.filter(pl.col(KNOWN_AT) >= first, pl.col(KNOWN_AT) < last)
        return reachable.sort(KNOWN_AT, maintain_order=True)

    def _compute_sums(
        self, queries: pl.LazyFrame, events: pl.LazyFrame, aggregates: Sequence[Aggregate]
    ) -> pl.LazyFrame:
        import polars as pl

        keys = self.key_names
        running = [_over_keys(s.cum_sum(), keys) for a in aggregates for s in a.summands()]
        prefix = events.select(KNOWN_AT, *keys, *running)
        columns = prefix.collect_schema().names()[1 + len(keys) :]
        frame = queries.with_columns(
            pl.col(PREDICTION_TIME).dt.offset_by(f"-{self.over}").alias("_from")
        )
        if self._by_calendar:
            frame = frame.with_row_index(_ORDER)
        for left, suffix in ((PREDICTION_TIME, "_to"), ("_from", "_before")):
            if self._by_calendar:
                frame = frame.sort(left, maintain_order=True)
            frame = frame.join_asof(
                prefix.rename({c: c + suffix for c in columns}),
                left_on=left,
                right_on=KNOWN_AT,
                by=keys or None,
                strategy="backward",
                allow_exact_matches=False,
                check_sortedness=False,
                coalesce=True,
            ).drop(KNOWN_AT, strict=False)
        if self._by_calendar:
            frame = frame.sort(_ORDER)
        sums = {
            c: pl.col(f"{c}_to").fill_null(0) - pl.col(f"{c}_before").fill_null(0) for c in columns
        }
        return frame.select(a.from_sums(sums).alias(f"{self.name}_{a.name}") for a in aggregates)

    def _compute_extremes(
        self, queries: pl.LazyFrame, events: pl.LazyFrame, aggregates: Sequence[Aggregate]
    ) -> pl.LazyFrame:
        import polars as pl

        keys = self.key_names
        numbered = queries.rename({PREDICTION_TIME: KNOWN_AT}).with_row_index(_ORDER)
        combined = pl.concat([events, numbered], how="diagonal")
        columns = []
        for a in aggregates:
            value = a.valid_values()
            rolling = value.rolling_min_by if a.function == "min" else value.rolling_max_by
            extreme = rolling(KNOWN_AT, window_size=self.over, closed="left")
            columns.append(_over_keys(extreme, keys).alias(f"{self.name}_{a.name}"))
        # A row with a missing key has no past; without the filter, nulls would be a group.
        has_keys = (
            pl.all_horizontal([pl.col(k).is_not_null() for k in keys]) if keys else pl.lit(True)
        )
        results = (
            combined.filter(pl.col(KNOWN_AT).is_not_null() & has_keys)
            .select(_ORDER, *columns)
            .filter(pl.col(_ORDER).is_not_null())
        )
        order = numbered.select(_ORDER)
        return order.join(results, on=_ORDER, how="left", maintain_order="left").drop(_ORDER)


def _over_keys(column: pl.Expr, keys: Sequence[str]) -> pl.Expr:
    return column.over(keys) if keys else column
