"""Columns of a request: what a caller sends so that the features can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.sql.expressions import Expression
from mlops_cli.layout import PENDING

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.features.program import FeatureProgram

__all__ = ["RequestColumns"]


@dataclass(frozen=True)
class RequestColumns:
    """Base columns that a feature program reads, and those that are derived from others.

    Attributes
    ----------
    derived
        All columns of ``derive``.
    feature_columns, all_columns
        Columns that features need; the same with the extra ones.
    """

    program: FeatureProgram
    derived: Mapping[str, Expression]
    feature_columns: set[str]
    all_columns: set[str]

    @classmethod
    def for_program(
        cls, program: FeatureProgram, extra_columns: Sequence[str] = ()
    ) -> RequestColumns:
        """The columns of a program; ``extra_columns`` are read if they are sent."""
        import polars as pl

        base = program.rules.base
        derived = {
            name: Expression(sql, f"ingest.sources.{base}.derive.{name}")
            for name, sql in program.derive.items()
        }
        feature_columns = _closure(_columns_of_features(program), program, derived)
        all_columns = feature_columns | _closure(extra_columns, program, derived)
        for name in all_columns & set(derived):
            derived[name].result_type(pl.Schema(program.base.schema))
        return cls(program, derived, feature_columns, all_columns)

    @property
    def in_source_order(self) -> list[str]:
        """The columns that are read, in the source's order."""
        return [c for c in self.program.base.schema if c in self.all_columns and c != PENDING]

    def types(self) -> dict[str, pl.DataType]:
        """Column -> type of everything that a caller may send."""
        schema, raw = self.program.base.schema, self._raw_columns()
        return {
            c: t for c, t in schema.items() if (c not in self.derived and c != PENDING) or c in raw
        }

    def required(self) -> tuple[str, ...]:
        """Raw columns that each row must have."""
        late = self.program.base.late_columns
        return tuple(c for c in self._raw_columns() if c in self.feature_columns and c not in late)

    def optional(self) -> tuple[str, ...]:
        """Raw columns that may be missing: extra ones, and those known only later."""
        late = self.program.base.late_columns
        return tuple(c for c in self._raw_columns() if c not in self.feature_columns or c in late)

    def _raw_columns(self) -> list[str]:
        stored = [c for c in self.in_source_order if c not in self.derived]
        # A derived column may replace a raw one of the same name.
        replaced = (c for c, e in self.derived.items() if c in self.all_columns and c in e.columns)
        return [*stored, *replaced]


def _columns_of_features(program: FeatureProgram) -> list[str]:
    if program.hook is not None:
        return list(program.base.schema)
    read = [c for e in program.features.values() for c in e.columns]
    read += [column for join in program.joins for column, _ in join.on]
    read += [column for window in program.windows for column, _ in window.by]
    return read + ([] if program.predict_at is None else list(program.predict_at.columns))


def _closure(
    read: Sequence[str], program: FeatureProgram, derived: Mapping[str, Expression]
) -> set[str]:
    """These base columns, and those from which they are computed."""
    columns: set[str] = set()
    queue = list(read)
    while queue:
        column = queue.pop()
        if column in columns or column not in program.base.schema or column == PENDING:
            continue
        columns.add(column)
        queue += _inputs_of(column, program, derived)
    return columns


def _inputs_of(
    column: str, program: FeatureProgram, derived: Mapping[str, Expression]
) -> Iterable[str]:
    """Columns from which a base column is computed, or that say when it is known."""
    if column in derived:
        yield from derived[column].columns
    if column in program.base.late_columns:
        yield program.base.late_columns[column]
    for rule in program.rules.clean:
        if rule.source == program.rules.base and column in rule.set:
            yield from Expression(rule.set[column], "featurize.clean").columns
