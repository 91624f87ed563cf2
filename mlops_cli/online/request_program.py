"""Feature program for request rows: the same rules, with look-ups by key in place of tables."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.column_types import DTYPES
from mlops_cli.data.source_schema import utc_moment
from mlops_cli.features.hook import apply_hook
from mlops_cli.features.prediction_time import blank_late_values
from mlops_cli.features.request_columns import RequestColumns
from mlops_cli.features.windows import PREDICTION_TIME
from mlops_cli.online.lookup_tables import restore_type
from mlops_cli.online.online_entries import online_tables
from mlops_cli.online.query_times import QueryTimes
from mlops_cli.online.request_rows import FEW_ROWS, WIDE_COLUMNS, RequestRows

if TYPE_CHECKING:
    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.online.lookup_cache import LookupCache
    from mlops_cli.online.lookup_tables import Column
    from mlops_cli.online.online_entries import JoinEntries, WindowEntries

    Tables = Sequence[JoinEntries | WindowEntries]

__all__ = ["RequestProgram", "plain_columns"]

_PLAIN = (pl.Int64, pl.Float64, pl.String, pl.Boolean)


class RequestProgram:
    """Computes the features of request rows, from the columns that the features need.

    Parameters
    ----------
    program
        The compiled rules; tables and requests use the same expressions.
    extra_columns
        Further base columns to read from requests, if they have them. No feature needs them.

    Attributes
    ----------
    inputs
        The columns of a request.
    tables
        The tables of the online store, in the order of look-ups.
    """

    def __init__(self, program: FeatureProgram, extra_columns: Sequence[str] = ()) -> None:
        self.program = program
        self.tables = online_tables(program)
        columns = RequestColumns.for_program(program, extra_columns)
        self.inputs = RequestRows(columns.types(), columns.required(), columns.optional())
        self._base = _BaseSteps.for_program(program, columns)
        self._features = _FeatureSteps.for_program(program, self.tables)

    def prepare(self, typed_rows: pl.DataFrame) -> pl.DataFrame:
        """Clean typed raw rows, and add derived columns and the prediction time (``_at``)."""
        return self._base.run(typed_rows)

    def features(
        self, base_rows: pl.DataFrame, lookup_cache: LookupCache
    ) -> tuple[dict[str, list[Any]], dict[str, int]]:
        """Compute the features of a few rows from ``prepare``, and the look-up misses by table.

        The features are lists of plain values, in the model's order. Only computed features go
        through Polars: for a few rows, one query over all features has too much overhead.
        """
        looked_up, misses = lookup_cache.look_up(
            base_rows, _query_times(base_rows, many_rows=False)
        )
        if self.program.hook is not None:
            return plain_columns(self._run_hook(base_rows, looked_up).to_dict()), misses
        steps = self._features
        frame = _add_columns(
            self._frame(base_rows, looked_up, steps.input_columns), [steps.computed]
        )
        computed = {
            name: frame.get_column(column) for name, column in steps.temporary_names.items()
        }
        features: dict[str, list[Any]] = plain_columns(computed)
        column_values = self._column_reader(base_rows)
        for name, column in steps.copied.items():
            features[name] = looked_up[column] if column in looked_up else column_values(column)  # type: ignore[assignment]
        return {name: features[name] for name in self.program.features}, misses

    def _column_reader(self, base_rows: pl.DataFrame) -> Callable[[str], list[Any]]:
        """Return a function from a column's name to its values.

        A few wide rows are read row by row, which is faster than column by column.
        """
        if not 0 < base_rows.height <= FEW_ROWS or len(self._features.copied) < WIDE_COLUMNS:
            return lambda column: base_rows.get_column(column).to_list()
        values = dict(
            zip(base_rows.columns, map(list, zip(*base_rows.rows(), strict=True)), strict=True)
        )
        return values.__getitem__

    def feature_series(
        self, base_rows: pl.DataFrame, lookup_cache: LookupCache
    ) -> tuple[dict[str, pl.Series], dict[str, int]]:
        """Like ``features``, for many rows and with Polars columns."""
        looked_up, misses = lookup_cache.look_up(base_rows, _query_times(base_rows, many_rows=True))
        if self.program.hook is not None:
            return self._run_hook(base_rows, looked_up).to_dict(), misses
        steps = self._features
        frame = self._frame(base_rows, looked_up, {*steps.input_columns, *steps.copied.values()})
        frame = _add_columns(frame, [steps.computed])
        sources = {**steps.copied, **steps.temporary_names}
        return {name: frame.get_column(sources[name]) for name in self.program.features}, misses

    def _run_hook(self, base_rows: pl.DataFrame, looked_up: Mapping[str, Column]) -> pl.DataFrame:
        """Compute the features with the project's hook."""
        program, frame = self.program, self._frame(base_rows, looked_up)
        return program.select_features(apply_hook(program.hook, program.rules.hook, frame))

    def _frame(
        self,
        base_rows: pl.DataFrame,
        looked_up: Mapping[str, Column],
        columns: Container[str] | None = None,
    ) -> pl.DataFrame:
        """Add the looked-up columns to the base columns; with ``columns``, only those of them."""
        added = []
        for table in self.tables:
            for name, dtype in table.columns.items():
                if columns is None or name in columns:
                    values = looked_up[name]
                    if not isinstance(values, pl.Series):
                        values = restore_type(values, name, dtype)
                    added.append(values)
        return base_rows.hstack(added)


@dataclass(frozen=True)
class _BaseSteps:
    """Expressions that turn typed raw rows into base rows.

    Attributes
    ----------
    derived, null_columns
        Column -> the expression that derives it; column -> null, for columns that requests lack.
    later_steps
        Cleaning, the prediction time, and nulls for values that became known after it.
    """

    derived: Mapping[str, pl.Expr]
    null_columns: Mapping[str, pl.Expr]
    later_steps: Sequence[Sequence[pl.Expr]]

    @classmethod
    def for_program(cls, program: FeatureProgram, columns: RequestColumns) -> _BaseSteps:
        schema, needed = program.base.schema, columns.all_columns
        repairs = [
            [e for c, e in replaced.items() if c in needed]
            for replaced in program.replacements[program.rules.base]
        ]
        at = _prediction_time_step(program)
        late = [c for c in columns.in_source_order if c in program.base.late_columns]
        blanked = blank_late_values(late, program.base, has_prediction_time=bool(at))
        return cls(
            {c: e.as_column(c, schema[c]) for c, e in columns.derived.items() if c in needed},
            {c: pl.lit(None, dtype=schema[c]).alias(c) for c in columns.in_source_order},
            [*repairs, at, blanked],
        )

    def run(self, typed_rows: pl.DataFrame) -> pl.DataFrame:
        given = {*typed_rows.columns, *self.derived}
        absent = [e for c, e in self.null_columns.items() if c not in given]
        return _add_columns(
            typed_rows, [*([e] for e in self.derived.values()), absent, *self.later_steps]
        )


@dataclass(frozen=True)
class _FeatureSteps:
    """Expressions of the features.

    Attributes
    ----------
    copied
        Features that are an unchanged column: feature -> column.
    computed, temporary_names
        Expressions of the other features; feature -> temporary column of its values. The columns
        have their own names because a feature may read a column with the name of an earlier one.
    input_columns
        The columns that the expressions read.
    """

    copied: Mapping[str, str]
    computed: Sequence[pl.Expr]
    temporary_names: Mapping[str, str]
    input_columns: set[str]

    @classmethod
    def for_program(cls, program: FeatureProgram, tables: Tables) -> _FeatureSteps:
        types = {c: t for table in tables for c, t in table.columns.items()}
        types = {**program.base.schema, **types}
        copied, computed = {}, {}
        for name, e in program.features.items():
            column = e.columns[0] if e.columns else ""
            if types.get(column) in _PLAIN and e.expr.meta.eq(pl.col(column)):
                copied[name] = column
            else:
                hooked = program.hook is not None
                computed[name] = e.expr if hooked else e.as_feature(e.result_type(pl.Schema(types)))
        names = {name: f"_made_{name}" for name in computed}
        reads = {c for e in computed.values() for c in e.meta.root_names()}
        return cls(copied, [e.alias(names[name]) for name, e in computed.items()], names, reads)


def _prediction_time_step(program: FeatureProgram) -> list[pl.Expr]:
    at = program.predict_at
    if at is None:
        return []
    schema = pl.Schema(program.base.schema)
    return [
        utc_moment(at.expr, at.result_type(schema)).cast(DTYPES["datetime"]).alias(PREDICTION_TIME)
    ]


def _query_times(base_rows: pl.DataFrame, *, many_rows: bool) -> QueryTimes:
    at = base_rows.get_column(PREDICTION_TIME) if PREDICTION_TIME in base_rows.columns else None
    return QueryTimes(base_rows.height, at, many_rows=many_rows)


def _add_columns(frame: pl.DataFrame, steps: Iterable[Sequence[pl.Expr]]) -> pl.DataFrame:
    """Add columns to a frame, one step after the other.

    The expressions of a step aren't computed in parallel: with a request's few rows, distributing
    them over Polars' threads takes three times as long as computing them.
    """
    lazy = frame.lazy()
    for columns in steps:
        if columns:
            lazy = lazy.with_columns_seq(columns)
    # There is nothing to optimise, as only needed columns are computed.
    return lazy.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())


def plain_columns(columns: Mapping[str, pl.Series]) -> dict[str, list[Any]]:
    """Convert columns to lists of plain values, in the types that models accept."""
    values = {}
    for name, column in columns.items():
        if column.dtype == pl.Decimal:
            values[name] = column.cast(pl.Float64).to_list()
        elif column.dtype == pl.Categorical:
            values[name] = column.cast(pl.String).to_list()
        else:
            values[name] = column.to_list()
    return values
