"""The columns of a request: what a caller gives so that a feature program can be computed."""

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
    """The columns of the base source that are read, and those that follow from others.

    Attributes
    ----------
    derived
        All columns of ``derive``.
    necessary, wanted
        Those that features need, and these with the carried ones.
    """

    program: FeatureProgram
    derived: Mapping[str, Expression]
    necessary: set[str]
    wanted: set[str]

    @classmethod
    def of(cls, program: FeatureProgram, carried: Sequence[str] = ()) -> RequestColumns:
        """Those of a program; ``carried`` columns are read where they are given."""
        import polars as pl

        base = program.rules.base
        derived = {
            name: Expression(sql, f"ingest.sources.{base}.derive.{name}")
            for name, sql in program.derive.items()
        }
        necessary = _closure(_read_by_features(program), program, derived)
        wanted = necessary | _closure(carried, program, derived)
        for name in wanted & set(derived):
            derived[name].type_in(pl.Schema(program.base.schema))
        return cls(program, derived, necessary, wanted)

    @property
    def own(self) -> list[str]:
        """Those that are read, in the source's order."""
        return [c for c in self.program.base.schema if c in self.wanted and c != PENDING]

    def types(self) -> dict[str, pl.DataType]:
        """Column -> type of everything that a caller may give."""
        schema, raw = self.program.base.schema, self._raw()
        return {
            c: t for c, t in schema.items() if (c not in self.derived and c != PENDING) or c in raw
        }

    def needed(self) -> tuple[str, ...]:
        """Raw columns that each row must have."""
        late = self.program.base.late
        return tuple(c for c in self._raw() if c in self.necessary and c not in late)

    def optional(self) -> tuple[str, ...]:
        """Raw columns that may be missing: they are carried, or known only later."""
        late = self.program.base.late
        return tuple(c for c in self._raw() if c not in self.necessary or c in late)

    def _raw(self) -> list[str]:
        given = [c for c in self.own if c not in self.derived]
        # A derived column may replace a given one of the same name.
        replaced = (c for c, e in self.derived.items() if c in self.wanted and c in e.columns)
        return [*given, *replaced]


def _read_by_features(program: FeatureProgram) -> list[str]:
    if program.hook is not None:
        return list(program.base.schema)
    read = [c for e in program.features.values() for c in e.columns]
    read += [column for join in program.joins for column, _ in join.on]
    read += [column for window in program.windows for column, _ in window.by]
    return read + ([] if program.predict_at is None else list(program.predict_at.columns))


def _closure(
    read: Sequence[str], program: FeatureProgram, derived: Mapping[str, Expression]
) -> set[str]:
    """Base columns among these, and those that they follow from."""
    wanted: set[str] = set()
    todo = list(read)
    while todo:
        column = todo.pop()
        if column in wanted or column not in program.base.schema or column == PENDING:
            continue
        wanted.add(column)
        todo += _read_by(column, program, derived)
    return wanted


def _read_by(
    column: str, program: FeatureProgram, derived: Mapping[str, Expression]
) -> Iterable[str]:
    """What must be known so that this base column is."""
    if column in derived:
        yield from derived[column].columns
    if column in program.base.late:
        yield program.base.late[column]
    for rule in program.rules.clean:
        if rule.source == program.rules.base and column in rule.set:
            yield from Expression(rule.set[column], "featurize.clean").columns
