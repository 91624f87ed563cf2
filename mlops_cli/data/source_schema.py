"""What the feature program knows of a source: its types, and when its values become known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SourceSchema", "dtype_from_name", "dtype_name", "utc_moment"]


def dtype_name(dtype: pl.DataType) -> str:
    """A type's name as it stands in ``program.json``: Int64, String, Datetime, ..."""
    return str(dtype.base_type())


def dtype_from_name(name: str) -> pl.DataType:
    """The type of a name that ``dtype_name`` gave; moments are microseconds in UTC."""
    import polars as pl

    if name == "Datetime":
        return pl.Datetime("us", "UTC")
    found = getattr(pl, name, None)
    if not (isinstance(found, type) and issubclass(found, pl.DataType)):
        raise DataRefused(
            f"the type {name!r} of the feature program is none", "Fetch the bundle again."
        )
    return found()


def utc_moment(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A date or datetime expression as Datetime[us, UTC]; zone-less times are taken as UTC."""
    import polars as pl

    if dtype == pl.Datetime("us", "UTC"):
        return expr  # as it is, so that a filter on it reaches the Parquet file's statistics
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return expr.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return expr.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


@dataclass(frozen=True)
class SourceSchema:
    """Schema and knowledge times of one source.

    Parameters
    ----------
    schema
        Column -> Polars type.
    time
        The column with the moment that a row is about, or None for timeless facts.
    known_at
        Column -> time column that says when its value becomes known; "*" stands for the row.
    """

    schema: Mapping[str, pl.DataType]
    time: str | None
    known_at: Mapping[str, str]

    @property
    def late(self) -> dict[str, str]:
        """Columns that become known later than their row, with the column that says when.

        A column that says when another becomes known is itself known only then.
        """
        late = {c: k for c, k in self.known_at.items() if c != "*"}
        row = {self.time, self.known_at.get("*")}
        return {**{k: k for k in late.values() if k not in row}, **late}

    def known(self, columns: Iterable[str]) -> pl.Expr | None:
        """When all of these columns' values are known; None where time plays no part.

        The expression gives Datetime[us, UTC], null where a value is not known at all.
        """
        import polars as pl

        row = self.known_at.get("*", self.time)
        late = self.late
        whens = dict.fromkeys(late[c] for c in columns if c in late)
        if row is not None:
            whens = dict.fromkeys([row, *whens])
        if not whens:
            return None
        moments = [utc_moment(pl.col(k), self.schema[k]) for k in whens]
        if len(moments) == 1:
            return moments[0]
        anything_unknown = pl.any_horizontal([m.is_null() for m in moments])
        return pl.when(~anything_unknown).then(pl.max_horizontal(moments))

    @property
    def times(self) -> list[str]:
        """The columns that say when something becomes known."""
        row = self.known_at.get("*", self.time)
        return list(dict.fromkeys([*([] if row is None else [row]), *self.late.values()]))

    def may_be_known(self, spans: Iterable[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
        """False only where nothing becomes known from any span's first moment to before its last.

        What is known at the latest of some times lies in a span only if one of the times isn't
        before its beginning, and one before its end.
        """
        import polars as pl

        moments = [utc_moment(pl.col(c), self.schema[c]) for c in self.times]
        return pl.any_horizontal(
            pl.any_horizontal([m >= first for m in moments])
            & pl.any_horizontal([m < last for m in moments])
            for first, last in spans
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``program.json``."""
        return {
            "schema": {c: dtype_name(t) for c, t in self.schema.items()},
            "time": self.time,
            "known_at": dict(self.known_at),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SourceSchema:
        """What ``to_json`` gave."""
        schema = {c: dtype_from_name(t) for c, t in content["schema"].items()}
        return cls(schema, content["time"], content["known_at"])
