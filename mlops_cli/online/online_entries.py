"""What joins and windows must know at the moment of a request: entries by key, and their answers.

Made by the same plans that look into whole tables (`core.joins`, `core.windows`). An entry holds
what became known of one key, in order of time. A window's sums are differences of exact integer
prefix sums, so they have the same bits as in the table (see `core.windows`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from mlops_cli.features.aggregates import EXTREMES, Aggregate
from mlops_cli.features.joins import JoinPlan
from mlops_cli.features.windows import KNOWN, WindowPlan
from mlops_cli.online.lookup_tables import AsOfRows, KeyedRows, WindowEvents
from mlops_cli.online.window_aggregates import aggregate_row, aggregate_rows

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from mlops_cli.data.source_schema import SourceSchema
    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.online.event_index import EventIndex

__all__ = [
    "JoinEntries",
    "WindowEntries",
    "entry_key",
    "online_tables",
]


def entry_key(values: Sequence[Any]) -> str:
    """The text under which an entry is kept, from the values of its key columns."""
    # Zero has two signs, which are equal, and two texts.
    values = [value or 0.0 if isinstance(value, float) else value for value in values]
    return json.dumps(values, default=str, ensure_ascii=False, separators=(",", ":"))


def online_tables(program: FeatureProgram) -> list[JoinEntries | WindowEntries]:
    """The tables that a program looks into, in the order in which they add their columns."""
    joins = [JoinEntries(plan, program.facts[plan.source]) for plan in program.joins]
    windows = [
        WindowEntries(plan, program.facts[plan.source], late, tuple(aggregates))
        for plan in program.windows
        for late, aggregates in plan.groups(program.facts[plan.source]).items()
    ]
    return [*joins, *windows]


@dataclass(frozen=True)
class JoinEntries:
    """A join's facts by key: the only ones, or all that became known, in order."""

    plan: JoinPlan
    facts: SourceSchema

    @property
    def name(self) -> str:
        """The table's name in the store."""
        return f"join.{self.plan.name}"

    @property
    def source(self) -> str:
        """The source that it is made of."""
        return self.plan.source

    @property
    def keys(self) -> list[str]:
        """Columns of the base, or of an earlier join, whose values make the key."""
        return [b for b, _ in self.plan.on]

    @property
    def key_types(self) -> list[pl.DataType]:
        """Their types, as the source has them."""
        return [self.facts.schema[c] for _, c in self.plan.on]

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns that it adds, with their types."""
        return {f"{self.plan.name}_{c}": self.facts.schema[c] for c in self.plan.columns}

    @cached_property
    def timed(self) -> bool:
        """Whether it matters when a fact became known."""
        return self.facts.known(self.plan.columns) is not None

    def entries(self, table: pl.LazyFrame, since: dt.datetime | None) -> Iterator[tuple[str, str]]:
        """(key, entry as JSON) of each key, with what a request after ``since`` can see."""
        import polars as pl

        keys = [f"_key{i}" for i in range(len(self.keys))]
        columns = [pl.col(c).alias(k) for (_, c), k in zip(self.plan.on, keys, strict=True)]
        brought = [
            _plain(pl.col(c), self.facts.schema[c]).alias(f"_v{i}")
            for i, c in enumerate(self.plan.columns)
        ]
        known = self.facts.known(self.plan.columns)
        if known is None:
            facts = table.select(*columns, *brought).drop_nulls(keys).collect()
            for row in facts.iter_rows():
                yield entry_key(row[: len(keys)]), json.dumps(row[len(keys) :])
            return
        events = table.select(known.alias(KNOWN), *columns, *brought)
        events = events.drop_nulls([*keys, KNOWN]).sort(KNOWN, maintain_order=True)
        if since is not None:
            followed = pl.col(KNOWN).shift(-1).over(keys)
            events = events.filter(followed.is_null() | (followed >= pl.lit(since)))
        grouped = events.with_columns(pl.col(KNOWN).cast(pl.Int64))
        for row in grouped.group_by(keys, maintain_order=True).all().collect().iter_rows():
            times, *values = row[len(keys) :]
            entry = [_steps(times), list(zip(*values, strict=True))]
            yield entry_key(row[: len(keys)]), json.dumps(entry)

    def decode(self, text: str) -> Any:
        """An entry as its memory takes it."""
        entry = json.loads(text)
        return (list(accumulate(entry[0])), entry[1]) if self.timed else entry

    def memory(self, timeline: EventIndex) -> KeyedRows | AsOfRows:
        """An empty memory for its entries."""
        if not self.timed:
            return KeyedRows(self.columns)
        span = self.plan.within if self.plan.as_of else None
        return AsOfRows(self.columns, timeline, span)


@dataclass(frozen=True)
class WindowEntries:
    """A window's past rows by key, for those of its aggregates that become known together."""

    plan: WindowPlan
    facts: SourceSchema
    late: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]

    @property
    def name(self) -> str:
        """The table's name in the store."""
        return ".".join(["window", self.plan.name, *self.late])

    @property
    def source(self) -> str:
        """The source that it is made of."""
        return self.plan.source

    @property
    def keys(self) -> list[str]:
        """Base columns whose values make the key."""
        return [b for b, _ in self.plan.by]

    @property
    def key_types(self) -> list[pl.DataType]:
        """Their types, as the source has them."""
        return [self.facts.schema[c] for _, c in self.plan.by]

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns that it adds, with their types."""
        import polars as pl

        return {
            f"{self.plan.name}_{a.name}": pl.Int64() if a.function == "count" else pl.Float64()
            for a in self.aggregates
        }

    def entries(self, table: pl.LazyFrame, since: dt.datetime | None) -> Iterator[tuple[str, str]]:
        """(key, entry as JSON) of each key, with what a request after ``since`` can see."""
        import polars as pl

        keys = self.plan.key_names
        events = self.plan.history(table, self.facts, self.late, self.aggregates)
        events = events.drop_nulls([*keys, KNOWN])
        if since is not None:
            events = events.filter(pl.col(KNOWN) >= self.plan.begin(since))
        events = events.sort(KNOWN, maintain_order=True)
        usable = (a.usable() for a in self.aggregates)
        events = events.with_columns(pl.col(KNOWN).cast(pl.Int64), *usable)
        grouped = (
            events.group_by(keys, maintain_order=True).all()
            if keys
            else events.select(pl.all().implode())
        )
        for row in grouped.collect().iter_rows():
            times, *values = row[len(keys) :]
            yield entry_key(row[: len(keys)]), json.dumps([_steps(times), *values])

    def decode(self, text: str) -> Any:
        """An entry as its memory takes it."""
        import orjson

        steps, *values = orjson.loads(text)
        columns: list[Sequence[Any]] = []
        for a, given in zip(self.aggregates, values, strict=True):
            columns += a.running(given)
        return list(accumulate(steps)), columns

    def memory(self, timeline: EventIndex) -> WindowEvents:
        """An empty memory for its entries."""
        kinds, one, several = "", [], []
        for a in self.aggregates:
            one.append(aggregate_row(a, len(kinds)))
            several.append(aggregate_rows(a, len(kinds)))
            kinds += "d" if a.function in EXTREMES else "q" * a.width
        return WindowEvents(self.columns, timeline, self.plan.over, kinds, one, several)


def _steps(times: Sequence[int]) -> list[int]:
    """The first moment and the differences, which are shorter to write."""
    return [b - a for a, b in pairwise([0, *times])]


def _plain(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column as JSON can hold it; moments and dates become numbers."""
    import polars as pl

    return (
        column.cast(pl.Int64 if isinstance(dtype, pl.Datetime) else pl.Int32)
        if (dtype.is_temporal())
        else column
    )
