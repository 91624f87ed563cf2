"""Online store entries of joins and windows: how they are written, decoded and looked up, by key.

The plans are those for whole tables (`features.joins`, `features.windows`). An entry holds the rows
or events of one key, ordered by the time at which they became known. A window's sums are
differences of exact integer prefix sums, so they equal those of the table to the last bit (see
`features.aggregates`).
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
from mlops_cli.features.windows import KNOWN_AT, WindowPlan
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
    """Encode the values of the key columns as the key of an entry."""
    # 0.0 and -0.0 are equal, but have different texts.
    values = [value or 0.0 if isinstance(value, float) else value for value in values]
    return json.dumps(values, default=str, ensure_ascii=False, separators=(",", ":"))


def online_tables(program: FeatureProgram) -> list[JoinEntries | WindowEntries]:
    """Tables in which a program looks rows up, in the order in which they add their columns."""
    joins = [JoinEntries(plan, program.source_schemas[plan.source]) for plan in program.joins]
    windows = [
        WindowEntries(plan, program.source_schemas[plan.source], late, tuple(aggregates))
        for plan in program.windows
        for late, aggregates in plan.group_aggregates(program.source_schemas[plan.source]).items()
    ]
    return [*joins, *windows]


@dataclass(frozen=True)
class JoinEntries:
    """Entries of a join: the row of each key, or all its rows, ordered by their known-at time."""

    plan: JoinPlan
    source_schema: SourceSchema

    @property
    def name(self) -> str:
        """The table's name in the store."""
        return f"join.{self.plan.name}"

    @property
    def source(self) -> str:
        """The source of its rows."""
        return self.plan.source

    @property
    def keys(self) -> list[str]:
        """Columns of the base, or of an earlier join, whose values are the key."""
        return [b for b, _ in self.plan.on]

    @property
    def key_types(self) -> list[pl.DataType]:
        """Types of the key columns in the source."""
        return [self.source_schema.schema[c] for _, c in self.plan.on]

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns that the table adds, with their types."""
        return {f"{self.plan.name}_{c}": self.source_schema.schema[c] for c in self.plan.columns}

    @cached_property
    def has_times(self) -> bool:
        """Whether rows have a known-at time, so that a look-up depends on the prediction time."""
        return self.source_schema.known_time(self.plan.columns) is not None

    def entries(self, table: pl.LazyFrame, since: dt.datetime | None) -> Iterator[tuple[str, str]]:
        """Yield (key, entry as JSON), with what requests at ``since`` or later need; None: all."""
        import polars as pl

        keys = [f"_key{i}" for i in range(len(self.keys))]
        columns = [pl.col(c).alias(k) for (_, c), k in zip(self.plan.on, keys, strict=True)]
        value_columns = [
            _json_value(pl.col(c), self.source_schema.schema[c]).alias(f"_v{i}")
            for i, c in enumerate(self.plan.columns)
        ]
        known_at = self.source_schema.known_time(self.plan.columns)
        if known_at is None:
            rows = table.select(*columns, *value_columns).drop_nulls(keys).collect()
            for row in rows.iter_rows():
                yield entry_key(row[: len(keys)]), json.dumps(row[len(keys) :])
            return
        events = table.select(known_at.alias(KNOWN_AT), *columns, *value_columns)
        events = events.drop_nulls([*keys, KNOWN_AT]).sort(KNOWN_AT, maintain_order=True)
        if since is not None:
            next_known = pl.col(KNOWN_AT).shift(-1).over(keys)
            events = events.filter(next_known.is_null() | (next_known >= pl.lit(since)))
        grouped = events.with_columns(pl.col(KNOWN_AT).cast(pl.Int64))
        for row in grouped.group_by(keys, maintain_order=True).all().collect().iter_rows():
            times, *values = row[len(keys) :]
            entry = [_time_deltas(times), list(zip(*values, strict=True))]
            yield entry_key(row[: len(keys)]), json.dumps(entry)

    def decode(self, text: str) -> Any:
        """Decode an entry for ``LookupTable.add_entry``."""
        entry = json.loads(text)
        return (list(accumulate(entry[0])), entry[1]) if self.has_times else entry

    def create_lookup_table(self, event_index: EventIndex) -> KeyedRows | AsOfRows:
        """Return an empty lookup table for the entries."""
        if not self.has_times:
            return KeyedRows(self.columns)
        span = self.plan.within if self.plan.as_of else None
        return AsOfRows(self.columns, event_index, span)


@dataclass(frozen=True)
class WindowEntries:
    """Entries of a window: past events of each key, for aggregates that become known together."""

    plan: WindowPlan
    source_schema: SourceSchema
    time_columns: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]

    @property
    def name(self) -> str:
        """The table's name in the store."""
        return ".".join(["window", self.plan.name, *self.time_columns])

    @property
    def source(self) -> str:
        """The source of its rows."""
        return self.plan.source

    @property
    def keys(self) -> list[str]:
        """Base columns whose values are the key."""
        return [b for b, _ in self.plan.by]

    @property
    def key_types(self) -> list[pl.DataType]:
        """Types of the key columns in the source."""
        return [self.source_schema.schema[c] for _, c in self.plan.by]

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns that the table adds, with their types."""
        import polars as pl

        return {
            f"{self.plan.name}_{a.name}": pl.Int64() if a.function == "count" else pl.Float64()
            for a in self.aggregates
        }

    def entries(self, table: pl.LazyFrame, since: dt.datetime | None) -> Iterator[tuple[str, str]]:
        """Yield (key, entry as JSON), with what requests at ``since`` or later need; None: all."""
        import polars as pl

        keys = self.plan.key_names
        events = self.plan.select_events(
            table, self.source_schema, self.time_columns, self.aggregates
        )
        events = events.drop_nulls([*keys, KNOWN_AT])
        if since is not None:
            events = events.filter(pl.col(KNOWN_AT) >= self.plan.earliest_time(since))
        events = events.sort(KNOWN_AT, maintain_order=True)
        usable = (a.valid_values() for a in self.aggregates)
        events = events.with_columns(pl.col(KNOWN_AT).cast(pl.Int64), *usable)
        grouped = (
            events.group_by(keys, maintain_order=True).all()
            if keys
            else events.select(pl.all().implode())
        )
        for row in grouped.collect().iter_rows():
            times, *values = row[len(keys) :]
            yield entry_key(row[: len(keys)]), json.dumps([_time_deltas(times), *values])

    def decode(self, text: str) -> Any:
        """Decode an entry for ``LookupTable.add_entry``."""
        import orjson

        deltas, *arguments = orjson.loads(text)
        columns: list[Sequence[Any]] = []
        for a, values in zip(self.aggregates, arguments, strict=True):
            columns += a.prefix_sums(values)
        return list(accumulate(deltas)), columns

    def create_lookup_table(self, event_index: EventIndex) -> WindowEvents:
        """Return an empty lookup table for the entries."""
        kinds, one, several = "", [], []
        for a in self.aggregates:
            one.append(aggregate_row(a, len(kinds)))
            several.append(aggregate_rows(a, len(kinds)))
            kinds += "d" if a.function in EXTREMES else "q" * a.column_count
        return WindowEvents(self.columns, event_index, self.plan.over, kinds, one, several)


def _time_deltas(times: Sequence[int]) -> list[int]:
    """Encode times as the first one and the differences, which take fewer digits."""
    return [b - a for a, b in pairwise([0, *times])]


def _json_value(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Convert a column for JSON: times and dates become integers."""
    import polars as pl

    return (
        column.cast(pl.Int64 if isinstance(dtype, pl.Datetime) else pl.Int32)
        if (dtype.is_temporal())
        else column
    )
