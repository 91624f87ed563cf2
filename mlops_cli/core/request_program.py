"""The feature program over requests: the same rules, look-ups by key instead of whole tables."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.core.asked import Asked
from mlops_cli.core.columntypes import DTYPES
from mlops_cli.core.expressions import Expression
from mlops_cli.core.inputs import FEW_ROWS, WIDE, Inputs
from mlops_cli.core.memory import restored
from mlops_cli.core.online import online_tables
from mlops_cli.core.tablefacts import moment
from mlops_cli.core.windows import AT
from mlops_cli.layout import PENDING

if TYPE_CHECKING:
    from mlops_cli.core.memory import Column
    from mlops_cli.core.program import FeatureProgram
    from mlops_cli.core.remembered import Remembered

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
        schema = dict(program.base.schema)
        derived = {
            name: Expression(sql, f"ingest.sources.{program.rules.base}.derive.{name}")
            for name, sql in program.derive.items()
        }
        necessary = self._wanted(self._read_by_features(), derived)
        wanted = necessary | self._wanted(carried, derived)
        late = set(program.base.late)
        own = [c for c in schema if c in wanted and c != PENDING]
        raw = [c for c in own if c not in derived]
        # A derived column may replace a given one of the same name.
        raw += [c for c, e in derived.items() if c in wanted and c in e.columns]
        self.inputs = Inputs(
            {c: t for c, t in schema.items() if c in raw or (c not in derived and c != PENDING)},
            tuple(c for c in raw if c in necessary and c not in late),
            tuple(c for c in raw if c not in necessary or c in late),
        )
        for name in wanted & set(derived):
            derived[name].type_in(pl.Schema(schema))
        self._derived = [e.column(c, schema[c]) for c, e in derived.items() if c in wanted]
        self._empty = [pl.lit(None, dtype=schema[c]).alias(c) for c in own]
        self._own = own
        self._repairs = [
            [e for c, e in replaced.items() if c in wanted]
            for replaced in program.repairs[program.rules.base]
        ]
        self._at = self._moment_of_prediction()
        self._blanked = self._late_values([c for c in own if c in late])
        self._copied, self._computed = self._sorted_features()
        self._reads = {c for e in self._computed.values() for c in e.meta.root_names()}
        # A name of its own for each: a later feature may read a column that is called as this one.
        self._made = {name: f"_made_{name}" for name in self._computed}
        self._making = [e.alias(self._made[name]) for name, e in self._computed.items()]

    def start(self, typed: pl.DataFrame) -> pl.DataFrame:
        """Typed raw rows with derived columns, repairs and the moment of prediction (``_at``)."""
        given = {*typed.columns, *(e.meta.output_name() for e in self._derived)}
        absent = [e for c, e in zip(self._own, self._empty, strict=True) if c not in given]
        steps = [[c] for c in self._derived]
        return _in_steps(typed, [*steps, absent, *self._repairs, self._at, self._blanked])

    def features(
        self, started: pl.DataFrame, remembered: Remembered
    ) -> tuple[dict[str, list[Any]], dict[str, int]]:
        """The features of started rows as columns of plain values, in the model's order.

        With it, how often each table had no entry for a row's key. For a few rows, where a query
        over all features would take longer than the work.
        """
        made, misses = remembered.answers(started, _asked(started, many=False))
        if self.program.hook is not None:
            return plain_columns(self._hooked(started, made).to_dict()), misses
        frame = _in_steps(self._frame(started, made, self._reads), [self._making])
        own = {name: frame.get_column(own) for name, own in self._made.items()}
        found: dict[str, list[Any]] = plain_columns(own)
        given = self._given(started)
        for name, column in self._copied.items():
            found[name] = made[column] if column in made else given(column)  # type: ignore[assignment]
        return {name: found[name] for name in self.program.features}, misses

    def _given(self, started: pl.DataFrame) -> Callable[[str], list[Any]]:
        """A started column's plain values; those of a few wide rows are taken row by row."""
        if not 0 < started.height <= FEW_ROWS or len(self._copied) < WIDE:
            return lambda column: started.get_column(column).to_list()
        values = dict(
            zip(started.columns, map(list, zip(*started.rows(), strict=True)), strict=True)
        )
        return values.__getitem__

    def table(
        self, started: pl.DataFrame, remembered: Remembered
    ) -> tuple[dict[str, pl.Series], dict[str, int]]:
        """The same as columns of Polars, for many rows."""
        made, misses = remembered.answers(started, _asked(started, many=True))
        if self.program.hook is not None:
            return self._hooked(started, made).to_dict(), misses
        frame = self._frame(started, made, {*self._reads, *self._copied.values()})
        frame = _in_steps(frame, [self._making])
        own = {**self._copied, **self._made}
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
                        values = restored(values, name, dtype)
                    added.append(values)
        return started.hstack(added)

    def _sorted_features(self) -> tuple[dict[str, str], dict[str, pl.Expr]]:
        """Features that are a column as it is, and the expressions of the others."""
        types = {c: t for table in self.tables for c, t in table.columns.items()}
        types = {**self.program.base.schema, **types}
        copied, computed = {}, {}
        for name, e in self.program.features.items():
            column = e.columns[0] if e.columns else ""
            if types.get(column) in _PLAIN and e.expr.meta.eq(pl.col(column)):
                copied[name] = column
            else:
                hooked = self.program.hook is not None
                computed[name] = e.expr if hooked else e.feature(e.type_in(pl.Schema(types)))
        return copied, computed

    def _read_by_features(self) -> list[str]:
        program = self.program
        if program.hook is not None:
            return list(program.base.schema)
        read = [c for e in program.features.values() for c in e.columns]
        read += [k for table in self.tables for k in table.keys]
        return read + ([] if program.predict_at is None else list(program.predict_at.columns))

    def _wanted(self, read: Sequence[str], derived: dict[str, Expression]) -> set[str]:
        """Base columns among these, and those that they follow from."""
        schema = self.program.base.schema
        wanted: set[str] = set()
        todo = list(read)
        while todo:
            column = todo.pop()
            if column in wanted or column not in schema or column == PENDING:
                continue
            wanted.add(column)
            todo += self._read_by(column, derived)
        return wanted

    def _read_by(self, column: str, derived: dict[str, Expression]) -> Iterable[str]:
        """What must be known so that this base column is."""
        program = self.program
        if column in derived:
            yield from derived[column].columns
        if column in program.base.late:
            yield program.base.late[column]
        for rule in program.rules.clean:
            if rule.source == program.rules.base and column in rule.set:
                yield from Expression(rule.set[column], "featurize.clean").columns

    def _moment_of_prediction(self) -> list[pl.Expr]:
        at = self.program.predict_at
        if at is None:
            return []
        schema = pl.Schema(self.program.base.schema)
        return [moment(at.expr, at.type_in(schema)).cast(DTYPES["datetime"]).alias(AT)]

    def _late_values(self, late: list[str]) -> list[pl.Expr]:
        """What is known only after the moment of prediction is blanked, as in the table."""
        schema, knowing = self.program.base.schema, self.program.base.late
        if not self._at:
            return [pl.lit(None, dtype=schema[c]).alias(c) for c in late]
        return [
            pl.when(moment(pl.col(knowing[c]), schema[knowing[c]]) < pl.col(AT))
            .then(pl.col(c))
            .alias(c)
            for c in late
        ]


def _asked(started: pl.DataFrame, *, many: bool) -> Asked:
    at = started.get_column(AT) if AT in started.columns else None
    return Asked(started.height, at, many=many)


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
