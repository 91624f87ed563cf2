"""The feature program over requests: the same rules, look-ups by key instead of whole tables."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.column_types import DTYPES
from mlops_cli.data.source_schema import utc_moment
from mlops_cli.features.prediction_time import blank_late_values
from mlops_cli.features.request_columns import RequestColumns
from mlops_cli.features.windows import AT
from mlops_cli.online.lookup_tables import restore_type
from mlops_cli.online.online_entries import online_tables
from mlops_cli.online.query_times import QueryTimes
from mlops_cli.online.request_rows import FEW_ROWS, WIDE, RequestRows

if TYPE_CHECKING:
    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.online.lookup_cache import LookupCache
    from mlops_cli.online.lookup_tables import Column
    from mlops_cli.online.online_entries import JoinEntries, WindowEntries

    Tables = Sequence[JoinEntries | WindowEntries]

__all__ = ["RequestProgram", "plain_columns"]

_PLAIN = (pl.Int64, pl.Float64, pl.String, pl.Boolean)


class RequestProgram:
    """A feature program, pruned to what its features read, for some rows at a time.

    Parameters
    ----------
    program
        The compiled rules; batch and request run the same expressions.
    carried
        Base columns that are read where they are given, although no feature needs them.

    Attributes
    ----------
    inputs
        What a caller gives.
    tables
        What is looked up, in order.
    """

    def __init__(self, program: FeatureProgram, carried: Sequence[str] = ()) -> None:
        self.program = program
        self.tables = online_tables(program)
        columns = RequestColumns.of(program, carried)
        self.inputs = RequestRows(columns.types(), columns.needed(), columns.optional())
        self._base = _BaseSteps.of(program, columns)
        self._features = _FeatureSteps.of(program, self.tables)

    def start(self, typed: pl.DataFrame) -> pl.DataFrame:
        """Typed raw rows with derived columns, repairs and the moment of prediction (``_at``)."""
        return self._base.run(typed)

    def features(
        self, started: pl.DataFrame, remembered: LookupCache
    ) -> tuple[dict[str, list[Any]], dict[str, int]]:
        """The features of started rows as columns of plain values, in the model's order.

        With it, how often each table had no entry for a row's key. For a few rows, where a query
        over all features would take longer than the work.
        """
        made, misses = remembered.answers(started, _asked(started, many=False))
        if self.program.hook is not None:
            return plain_columns(self._hooked(started, made).to_dict()), misses
        steps = self._features
        frame = _in_steps(self._frame(started, made, steps.reads), [steps.computed])
        own = {name: frame.get_column(column) for name, column in steps.names.items()}
        found: dict[str, list[Any]] = plain_columns(own)
        given = self._given(started)
        for name, column in steps.copied.items():
            found[name] = made[column] if column in made else given(column)  # type: ignore[assignment]
        return {name: found[name] for name in self.program.features}, misses

    def _given(self, started: pl.DataFrame) -> Callable[[str], list[Any]]:
        """A started column's plain values; those of a few wide rows are taken row by row."""
        if not 0 < started.height <= FEW_ROWS or len(self._features.copied) < WIDE:
            return lambda column: started.get_column(column).to_list()
        values = dict(
            zip(started.columns, map(list, zip(*started.rows(), strict=True)), strict=True)
        )
        return values.__getitem__

    def table(
        self, started: pl.DataFrame, remembered: LookupCache
    ) -> tuple[dict[str, pl.Series], dict[str, int]]:
        """The same as columns of Polars, for many rows."""
        made, misses = remembered.answers(started, _asked(started, many=True))
        if self.program.hook is not None:
            return self._hooked(started, made).to_dict(), misses
        steps = self._features
        frame = self._frame(started, made, {*steps.reads, *steps.copied.values()})
        frame = _in_steps(frame, [steps.computed])
        own = {**steps.copied, **steps.names}
        return {name: frame.get_column(own[name]) for name in self.program.features}, misses

    def _hooked(self, started: pl.DataFrame, made: Mapping[str, Column]) -> pl.DataFrame:
        return self.program.select_features(self.program.hooked(self._frame(started, made)))

    def _frame(
        self,
        started: pl.DataFrame,
        made: Mapping[str, Column],
        wanted: Container[str] | None = None,
    ) -> pl.DataFrame:
        """Base columns with those that were looked up; with ``wanted``, only these."""
        added = []
        for table in self.tables:
            for name, dtype in table.columns.items():
                if wanted is None or name in wanted:
                    values = made[name]
                    if not isinstance(values, pl.Series):
                        values = restore_type(values, name, dtype)
                    added.append(values)
        return started.hstack(added)


@dataclass(frozen=True)
class _BaseSteps:
    """From typed raw rows to base rows, step by step.

    Attributes
    ----------
    derived, empty
        By column: how it is derived, and what stands for it where it isn't given.
    rest
        Repairs, the moment of prediction, and late values without those known only after it.
    """

    derived: Mapping[str, pl.Expr]
    empty: Mapping[str, pl.Expr]
    rest: Sequence[Sequence[pl.Expr]]

    @classmethod
    def of(cls, program: FeatureProgram, columns: RequestColumns) -> _BaseSteps:
        schema, wanted = program.base.schema, columns.wanted
        repairs = [
            [e for c, e in replaced.items() if c in wanted]
            for replaced in program.repairs[program.rules.base]
        ]
        at = _moment_of_prediction(program)
        late = [c for c in columns.own if c in program.base.late]
        blanked = blank_late_values(late, program.base, timed=bool(at))
        return cls(
            {c: e.column(c, schema[c]) for c, e in columns.derived.items() if c in wanted},
            {c: pl.lit(None, dtype=schema[c]).alias(c) for c in columns.own},
            [*repairs, at, blanked],
        )

    def run(self, typed: pl.DataFrame) -> pl.DataFrame:
        given = {*typed.columns, *self.derived}
        absent = [e for c, e in self.empty.items() if c not in given]
        return _in_steps(typed, [*([e] for e in self.derived.values()), absent, *self.rest])


@dataclass(frozen=True)
class _FeatureSteps:
    """Features that are a column as it is (name -> column), and those that are computed.

    Attributes
    ----------
    computed, names
        Expressions, and the columns that they make. Each has a name of its own: a later feature
        may read a column that is called as an earlier one.
    reads
        What the expressions read.
    """

    copied: Mapping[str, str]
    computed: Sequence[pl.Expr]
    names: Mapping[str, str]
    reads: set[str]

    @classmethod
    def of(cls, program: FeatureProgram, tables: Tables) -> _FeatureSteps:
        types = {c: t for table in tables for c, t in table.columns.items()}
        types = {**program.base.schema, **types}
        copied, computed = {}, {}
        for name, e in program.features.items():
            column = e.columns[0] if e.columns else ""
            if types.get(column) in _PLAIN and e.expr.meta.eq(pl.col(column)):
                copied[name] = column
            else:
                hooked = program.hook is not None
                computed[name] = e.expr if hooked else e.feature(e.type_in(pl.Schema(types)))
        names = {name: f"_made_{name}" for name in computed}
        reads = {c for e in computed.values() for c in e.meta.root_names()}
        return cls(copied, [e.alias(names[name]) for name, e in computed.items()], names, reads)


def _moment_of_prediction(program: FeatureProgram) -> list[pl.Expr]:
    at = program.predict_at
    if at is None:
        return []
    schema = pl.Schema(program.base.schema)
    return [utc_moment(at.expr, at.type_in(schema)).cast(DTYPES["datetime"]).alias(AT)]


def _asked(started: pl.DataFrame, *, many: bool) -> QueryTimes:
    at = started.get_column(AT) if AT in started.columns else None
    return QueryTimes(started.height, at, many=many)


def _in_steps(frame: pl.DataFrame, steps: Iterable[Sequence[pl.Expr]]) -> pl.DataFrame:
    """The frame with further columns.

    One after the other: to spread a step's expressions over Polars' threads takes three times as
    long as the work on a request's few rows.
    """
    lazy = frame.lazy()
    for columns in steps:
        if columns:
            lazy = lazy.with_columns_seq(columns)
    # Nothing to optimise: what isn't needed is not asked for.
    return lazy.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())


def plain_columns(columns: Mapping[str, pl.Series]) -> dict[str, list[Any]]:
    """Columns as lists of plain values, in the types that models take."""
    plain = {}
    for name, column in columns.items():
        if column.dtype == pl.Decimal:
            plain[name] = column.cast(pl.Float64).to_list()
        elif column.dtype == pl.Categorical:
            plain[name] = column.cast(pl.String).to_list()
        else:
            plain[name] = column.to_list()
    return plain
