"""Windows over past rows of a key: which rows count, and the aggregates of their values."""

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
    from mlops_cli.params.data import Window

__all__ = ["AT", "KNOWN", "Span", "WindowPlan"]

Span = tuple["dt.datetime", "dt.datetime"]
"""The first and the last moment of prediction among some rows."""

AT = "_at"
"""Datetime[us, UTC]: the moment of prediction of a base row."""
KNOWN = "_known"
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
    def compile(cls, name: str, window: Window, facts: SourceSchema) -> WindowPlan:
        """Check a window's expressions against its source.

        Raises
        ------
        BadParams
            If a column isn't there, an aggregate is malformed, or the source has no time.
        """
        import polars as pl

        place = f"featurize.windows.{name}"
        if isinstance(window.by, Mapping):
            by = tuple(window.by.items())
        else:
            by = tuple((column, column) for column in window.by)
        for _, column in by:
            if column not in facts.schema:
                raise BadParams(
                    f"{place}.by names the column {column!r}, which {window.source} doesn't have",
                    nearest(column, facts.schema),
                )
        aggregates = tuple(
            Aggregate.parse(key, text, f"{place}.aggregates.{key}")
            for key, text in window.aggregates.items()
        )
        where = Expression(window.where, f"{place}.where") if window.where else None
        plan = cls(name, window.source, by, window.over, window.delay, where, aggregates)
        if where is not None:
            where.check_condition(pl.Schema(facts.schema))
        for expression in (a.value for a in aggregates):
            if expression is not None:
                expression.type_in(pl.Schema(facts.schema))
        if facts.time is None:
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
    def reads(self) -> list[str]:
        """The source's columns that it looks at, besides those that say when they are known."""
        expressions = [self.where, *(a.value for a in self.aggregates)]
        read = [c for e in expressions if e is not None for c in e.columns]
        return list(dict.fromkeys([*(column for _, column in self.by), *read]))

    def reach(self, span: Span) -> tuple[pl.Expr, pl.Expr]:
        """From when to before when a value must have become known to count in any row."""
        import polars as pl

        first = self.begin(span[0])
        return first if self.delay is None else first.dt.offset_by(f"-{self.delay}"), pl.lit(
            span[1]
        )

    def begin(self, at: dt.datetime) -> pl.Expr:
        """From when on an event may count in a row at or after a moment.

        A month before the 29th, 30th and 31st of March is the 28th of February, each at its own
        time of day: a later moment may look back to an earlier one, by less than a day.
        """
        import polars as pl

        first = pl.lit(at).dt.offset_by(f"-{self.over}")
        return first.dt.offset_by("-1d") if self._by_calendar else first

    @property
    def _by_calendar(self) -> bool:
        return microseconds(self.over) is None

    def answers(
        self, frame: pl.DataFrame, table: pl.LazyFrame, facts: SourceSchema, span: Span
    ) -> list[pl.LazyFrame]:
        """The window's columns for ``frame`` (sorted by ``_at``): lazy, row by row beside it.

        Only rows of ``table`` known before ``_at``, and at the earliest ``over`` before it, count.
        ``span`` holds the first and last ``_at``: what lies outside of its reach isn't read.
        """
        import polars as pl

        keys = [pl.col(b).alias(k) for (b, _), k in zip(self.by, self.key_names, strict=True)]
        asked = frame.lazy().select(AT, *keys)
        made = []
        for late, aggregates in self.groups(facts).items():
            events = self._within_reach(self.history(table, facts, late, aggregates), span)
            sums = [a for a in aggregates if a.function not in EXTREMES]
            extremes = [a for a in aggregates if a.function in EXTREMES]
            if sums:
                made.append(self._sums(asked, events, sums))
            if extremes:
                made.append(self._extremes(asked, events, extremes))
        return made

    def groups(self, facts: SourceSchema) -> dict[tuple[str, ...], list[Aggregate]]:
        """Aggregates by when their values become known: each group has a window of its own.

        The key names the columns that say so, besides the one that says it of the whole row.
        """
        groups: dict[tuple[str, ...], list[Aggregate]] = {}
        for aggregate in self.aggregates:
            read = [] if aggregate.value is None else list(aggregate.value.columns)
            read += [] if self.where is None else list(self.where.columns)
            late = tuple(sorted({facts.late[c] for c in read if c in facts.late}))
            groups.setdefault(late, []).append(aggregate)
        return groups

    @property
    def key_names(self) -> list[str]:
        """What the key columns are called in ``history``."""
        return [f"_by{i}" for i in range(len(self.by))]

    def history(
        self,
        table: pl.LazyFrame,
        facts: SourceSchema,
        late: Sequence[str],
        aggregates: Sequence[Aggregate],
    ) -> pl.LazyFrame:
        """One row per row of ``table``: when it is known, its key, and each aggregate's value."""
        import polars as pl

        known = facts.known(late)
        assert known is not None  # noqa: S101 - compile refused sources without time
        if self.delay is not None:
            known = known.dt.offset_by(self.delay)
        if self.where is not None:
            table = table.filter(self.where.expr)
        keys = [pl.col(c).alias(k) for (_, c), k in zip(self.by, self.key_names, strict=True)]
        return table.select(known.alias(KNOWN), *keys, *(a.column() for a in aggregates))

    def _within_reach(self, events: pl.LazyFrame, span: Span) -> pl.LazyFrame:
        import polars as pl

        # Nulls (never known) fall out of the comparison as well.
        first, last = self.begin(span[0]), pl.lit(span[1])
        reach = events.filter(pl.col(KNOWN) >= first, pl.col(KNOWN) < last)
        return reach.sort(KNOWN, maintain_order=True)

    def _sums(
        self, asked: pl.LazyFrame, events: pl.LazyFrame, aggregates: Sequence[Aggregate]
    ) -> pl.LazyFrame:
        import polars as pl

        keys = self.key_names
        running = [_within(p.cum_sum(), keys) for a in aggregates for p in a.components()]
        prefix = events.select(KNOWN, *keys, *running)
        columns = prefix.collect_schema().names()[1 + len(keys) :]
        start = asked.with_columns(pl.col(AT).dt.offset_by(f"-{self.over}").alias("_from"))
        if self._by_calendar:
            start = start.with_row_index(_ORDER)
        for left, suffix in ((AT, "_to"), ("_from", "_before")):
            if self._by_calendar:
                start = start.sort(left, maintain_order=True)
            start = start.join_asof(
                prefix.rename({c: c + suffix for c in columns}),
                left_on=left,
                right_on=KNOWN,
                by=keys or None,
                strategy="backward",
                allow_exact_matches=False,
                check_sortedness=False,
                coalesce=True,
            ).drop(KNOWN, strict=False)
        if self._by_calendar:
            start = start.sort(_ORDER)
        within = {
            c: pl.col(f"{c}_to").fill_null(0) - pl.col(f"{c}_before").fill_null(0) for c in columns
        }
        return start.select(a.finish(within).alias(f"{self.name}_{a.name}") for a in aggregates)

    def _extremes(
        self, asked: pl.LazyFrame, events: pl.LazyFrame, aggregates: Sequence[Aggregate]
    ) -> pl.LazyFrame:
        import polars as pl

        keys = self.key_names
        numbered = asked.rename({AT: KNOWN}).with_row_index(_ORDER)
        both = pl.concat([events, numbered], how="diagonal")
        made = []
        for a in aggregates:
            value = a.usable()
            rolling = value.rolling_min_by if a.function == "min" else value.rolling_max_by
            found = rolling(KNOWN, window_size=self.over, closed="left")
            made.append(_within(found, keys).alias(f"{self.name}_{a.name}"))
        # A missing key has no past, although nulls would make a group of their own here.
        keyed = pl.all_horizontal([pl.col(k).is_not_null() for k in keys]) if keys else pl.lit(True)
        answers = (
            both.filter(pl.col(KNOWN).is_not_null() & keyed)
            .select(_ORDER, *made)
            .filter(pl.col(_ORDER).is_not_null())
        )
        order = numbered.select(_ORDER)
        return order.join(answers, on=_ORDER, how="left", maintain_order="left").drop(_ORDER)


def _within(column: pl.Expr, keys: Sequence[str]) -> pl.Expr:
    return column.over(keys) if keys else column
