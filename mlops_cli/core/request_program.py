"""The feature program over requests: the same rules, look-ups by key instead of whole tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.core.columntypes import DTYPES
from mlops_cli.core.expressions import Expression
from mlops_cli.core.inputs import Inputs
from mlops_cli.core.online import entry_key, online_tables, restored, starts
from mlops_cli.core.tablefacts import moment
from mlops_cli.core.windows import AT
from mlops_cli.layout import PENDING

if TYPE_CHECKING:
    from mlops_cli.core.online import Lookups
    from mlops_cli.core.program import FeatureProgram

__all__ = ["RequestProgram"]


class RequestProgram:
    """A feature program, pruned to what its features read, for some rows at a time.

    Parameters
    ----------
    program
        The compiled rules; batch and request run the same expressions.

    Attributes
    ----------
    inputs
        What a caller gives.
    tables
        What is looked up, in order.
    """

    def __init__(self, program: FeatureProgram) -> None:
        self.program = program
        self.tables = online_tables(program)
        self._readers = [table.reader() for table in self.tables]
        schema = dict(program.base.schema)
        derived = {
            name: Expression(sql, f"ingest.sources.{program.rules.base}.derive.{name}")
            for name, sql in program.derive.items()
        }
        wanted = self._wanted(derived)
        late = set(program.base.late)
        own = [c for c in schema if c in wanted and c != PENDING]
        raw = [c for c in own if c not in derived]
        # A derived column may replace a given one of the same name.
        raw += [c for c, e in derived.items() if c in wanted and c in e.columns]
        self.inputs = Inputs(
            {c: t for c, t in schema.items() if c in raw or (c not in derived and c != PENDING)},
            tuple(c for c in raw if c not in late),
            tuple(c for c in raw if c in late),
        )
        self._derived = [e.expr.cast(schema[c]).alias(c) for c, e in derived.items() if c in wanted]
        self._empty = [pl.lit(None, dtype=schema[c]).alias(c) for c in own]
        self._own = own
        self._repairs = [
            [
                Expression(sql, f"featurize.clean.{i}.set.{c}").expr.alias(c)
                for c, sql in rule.set.items()
                if c in wanted
            ]
            for i, rule in enumerate(program.rules.clean)
            if rule.source == program.rules.base
        ]
        self._at = self._moment_of_prediction()
        self._blanked = self._late_values([c for c in own if c in late])
        self._features = [e.expr.alias(name) for name, e in program.features.items()]

    def start(self, typed: pl.DataFrame) -> pl.DataFrame:
        """Typed raw rows with derived columns, repairs and the moment of prediction (``_at``)."""
        frame = typed
        for column in self._derived:
            frame = frame.with_columns(column)
        absent = [e for c, e in zip(self._own, self._empty, strict=True) if c not in frame.columns]
        if absent:
            frame = frame.with_columns(absent)
        for repair in self._repairs:
            frame = frame.with_columns(repair)
        if self._at is not None:
            frame = frame.with_columns(self._at)
        return frame.with_columns(self._blanked) if self._blanked else frame

    def features(
        self, started: pl.DataFrame, lookups: Lookups
    ) -> tuple[pl.DataFrame, dict[str, int]]:
        """The features of started rows, and how often each table had no entry for a row's key."""
        made: dict[str, pl.Series] = {}
        misses: dict[str, int] = {}
        moments: list[int | None] = [None] * started.height
        at = None
        if AT in started.columns:
            at = started.get_column(AT)
            moments = at.cast(pl.Int64).to_list()
        begins: dict[str | None, list[int | None]] = {None: [None] * started.height}
        for number, table in enumerate(self.tables):
            if at is not None and table.span not in begins:
                begins[table.span] = starts(table.span, at)
            keys = [made[k] if k in made else started.get_column(k) for k in table.keys]
            answers, missed = self._answers(
                number, keys, moments, begins.get(table.span, begins[None]), lookups
            )
            if missed:
                misses[table.name] = missed
            for (name, dtype), values in zip(
                table.columns.items(), zip(*answers, strict=True), strict=True
            ):
                made[name] = restored(values, name, dtype)
        frame = started.hstack(list(made.values()))
        if self.program.hook is not None:
            frame = self.program.hooked(frame)
        features = frame.select(self._features)
        if any(t in (pl.Decimal, pl.Categorical) for t in features.dtypes):
            features = features.cast({pl.Decimal: pl.Float64, pl.Categorical: pl.String})
        return features, misses

    def _answers(
        self,
        number: int,
        keys: list[pl.Series],
        moments: list[int | None],
        begins: list[int | None],
        lookups: Lookups,
    ) -> tuple[list[Any], int]:
        """What one table answers to each row, and how often it knew nothing."""
        table, read = self.tables[number], self._readers[number]
        rows = list(zip(*(k.to_list() for k in keys), strict=True)) if keys else [()] * len(moments)
        # A missing key matches nothing, as in a join.
        asked = [entry_key(row) for row in rows if None not in row]
        found = iter(lookups.entries(table.name, asked))
        answers = []
        missed = 0
        for row, at, begin in zip(rows, moments, begins, strict=True):
            entry = None if None in row else next(found)
            answer = None if entry is None else read(entry, at, begin)
            if answer is None:
                missed += 1
                answer = table.absent
            answers.append(answer)
        return answers, missed

    def _wanted(self, derived: dict[str, Expression]) -> set[str]:
        """Base columns that the features read, directly or by way of others."""
        program = self.program
        schema = program.base.schema
        if program.hook is not None:
            return {c for c in schema if c != PENDING}
        wanted: set[str] = set()
        todo = [c for e in program.features.values() for c in e.columns]
        todo += [k for table in self.tables for k in table.keys]
        todo += [] if program.predict_at is None else program.predict_at.columns
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

    def _moment_of_prediction(self) -> pl.Expr | None:
        at = self.program.predict_at
        if at is None:
            return None
        schema = pl.Schema(self.program.base.schema)
        return moment(at.expr, at.type_in(schema)).cast(DTYPES["datetime"]).alias(AT)

    def _late_values(self, late: list[str]) -> list[pl.Expr]:
        """What is known only after the moment of prediction is blanked, as in the table."""
        schema, knowing = self.program.base.schema, self.program.base.late
        if self._at is None:
            return [pl.lit(None, dtype=schema[c]).alias(c) for c in late]
        return [
            pl.when(moment(pl.col(knowing[c]), schema[knowing[c]]) < pl.col(AT))
            .then(pl.col(c))
            .alias(c)
            for c in late
        ]
