"""What joins and windows must know at the moment of a request: entries by key, and their answers.

Made by the same plans that look into whole tables (`core.joins`, `core.windows`). An entry holds
what became known of one key, in order of time. A window's sums are differences of exact integer
prefix sums, so they have the same bits as in the table (see `core.windows`).
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Protocol

from mlops_cli.core.joins import JoinPlan
from mlops_cli.core.spans import microseconds
from mlops_cli.core.windows import KNOWN, Aggregate, WindowPlan, answer

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from mlops_cli.core.program import FeatureProgram
    from mlops_cli.core.tablefacts import TableFacts

__all__ = [
    "JoinEntries",
    "Lookups",
    "WindowEntries",
    "entry_key",
    "online_tables",
    "restored",
    "starts",
]

Answer = tuple[Any, ...]
_REMEMBERED = 512
"""Answers of one entry that are kept."""


class Lookups(Protocol):
    """Where entries come from."""

    def entries(self, table: str, keys: Sequence[Answer]) -> list[Any | None]:
        """For the values of each key, its decoded entry, or None where there is none."""
        ...


def entry_key(values: Sequence[Any]) -> str:
    """The text under which an entry is kept, from the values of its key columns."""
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
    facts: TableFacts

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
        """An entry as ``reader`` reads it."""
        entry = json.loads(text)
        return [array("q", accumulate(entry[0])), entry[1]] if self.timed else entry

    def answers(
        self, entries: Sequence[Any], moments: Sequence[int | None], begins: Sequence[int | None]
    ) -> tuple[list[Answer], int]:
        """The values for each entry at its moment, and how often there was nothing to bring."""
        absent = self.absent
        if not self.timed:
            return [absent if e is None else e for e in entries], sum(e is None for e in entries)
        missed, found = 0, []
        for entry, at, begin in zip(entries, moments, begins, strict=True):
            answer = absent
            if entry is not None and at is not None:
                times, rows = entry
                position = bisect_left(times, at) - 1
                if position >= 0 and (begin is None or times[position] >= begin):
                    answer = rows[position]
            missed += answer is absent
            found.append(answer)
        return found, missed

    @property
    def span(self) -> str | None:
        """How far back it looks; None: as far as there is anything."""
        return self.plan.within if self.plan.as_of else None

    @cached_property
    def absent(self) -> Answer:
        """The values where there is nothing to bring."""
        return (None,) * len(self.columns)


@dataclass(frozen=True)
class WindowEntries:
    """A window's past rows by key, for those of its aggregates that become known together."""

    plan: WindowPlan
    facts: TableFacts
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
        events = self.plan.usable(events, self.aggregates)
        events = events.with_columns(pl.col(KNOWN).cast(pl.Int64))
        grouped = (
            events.group_by(keys, maintain_order=True).all()
            if keys
            else events.select(pl.all().implode())
        )
        for row in grouped.collect().iter_rows():
            times, *values = row[len(keys) :]
            yield entry_key(row[: len(keys)]), json.dumps([_steps(times), *values])

    def decode(self, text: str) -> _Past:
        """An entry as ``answers`` reads it."""
        steps, *values = json.loads(text)
        columns: list[Sequence[Any]] = []
        for a, given in zip(self.aggregates, values, strict=True):
            columns += map(_compact, a.running(given))
        return _Past(array("q", accumulate(steps)), columns)

    def answers(
        self, entries: Sequence[Any], moments: Sequence[int | None], begins: Sequence[int | None]
    ) -> tuple[list[Answer], int]:
        """The aggregates for each entry at its moment, and how many keys have no past."""
        try:
            # What is asked of one key is often asked of one moment, such as a scheduled one. The
            # window's beginning follows from it.
            return [e.answers[at] for e, at in zip(entries, moments, strict=True)], 0
        except (KeyError, AttributeError):
            pass
        missed, found = 0, []
        for past, at, begin in zip(entries, moments, begins, strict=True):
            if past is None or at is None or begin is None:
                missed += 1
                found.append(self.absent)
                continue
            answer = past.answers.get(at)
            if answer is None:
                end = past.length if at > past.last else bisect_left(past.times, at)
                first = bisect_left(past.times, begin)
                answer = tuple([f(past.columns, first, end) for f in self._functions])
                if len(past.answers) >= _REMEMBERED:
                    past.answers.clear()
                past.answers[at] = answer
            found.append(answer)
        return found, missed

    @cached_property
    def _functions(self) -> list[Callable[[Any, int, int], Any]]:
        functions, place = [], 0
        for a in self.aggregates:
            functions.append(answer(a, place))
            place += a.width
        return functions

    @property
    def span(self) -> str | None:
        """How far back it looks."""
        return self.plan.over

    @cached_property
    def absent(self) -> Answer:
        """The values where the key has no past."""
        nothing = self.decode(json.dumps([[], *([] for _ in self.aggregates)]))
        return self.answers([nothing], [0], [0])[0][0]


class _Past:
    """What is known of a key: moments, columns of each aggregate, and answers given lately."""

    __slots__ = ("answers", "columns", "last", "length", "times")

    def __init__(self, times: array[int], columns: list[Sequence[Any]]) -> None:
        self.times = times
        self.columns = columns
        self.length = len(times)
        self.last = times[-1] if times else 0
        self.answers: dict[int, Answer] = {}


def starts(span: str | None, at: pl.Series, moments: Sequence[int | None]) -> Sequence[int | None]:
    """The beginning of a look back from each moment, which is given twice, in microseconds."""
    import polars as pl

    if span is None:
        return [None] * len(moments)
    fixed = microseconds(span)
    if fixed is None:
        return at.dt.offset_by(f"-{span}").cast(pl.Int64).to_list()
    return [None if moment is None else moment - fixed for moment in moments]


def _steps(times: Sequence[int]) -> list[int]:
    """The first moment and the differences, which are shorter to write."""
    return [b - a for a, b in pairwise([0, *times])]


def _compact(column: list[Any]) -> Sequence[Any]:
    """Whole numbers in 8 bytes each, where they fit."""
    try:
        return array("q", column)
    except (TypeError, OverflowError):
        return column


def _plain(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column as JSON can hold it; moments and dates become numbers."""
    import polars as pl

    return (
        column.cast(pl.Int64 if isinstance(dtype, pl.Datetime) else pl.Int32)
        if (dtype.is_temporal())
        else column
    )


def restored(values: Sequence[Any], name: str, dtype: pl.DataType) -> pl.Series:
    """A column of answers in its own type."""
    import polars as pl

    if dtype.is_temporal():
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype, strict=False)
