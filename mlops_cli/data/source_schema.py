"""Schema of a source for the feature program: types, and when values become known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SourceSchema", "dtype_from_name", "dtype_name", "utc_moment"]


def dtype_name(dtype: pl.DataType) -> str:
    """The name of a type in ``program.json``: Int64, String, Datetime, ..."""
    return str(dtype.base_type())


def dtype_from_name(name: str) -> pl.DataType:
    """The type of a name from ``dtype_name``; datetimes are microseconds in UTC."""
    import polars as pl

    if name == "Datetime":
        return pl.Datetime("us", "UTC")
    dtype = getattr(pl, name, None)
    if not (isinstance(dtype, type) and issubclass(dtype, pl.DataType)):
        raise DataRefused(
            f"the type {name!r} of the feature program is none", "Fetch the bundle again."
        )
    return dtype()


def utc_moment(expr: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A date or datetime expression as Datetime[us, UTC]; times without a zone are UTC."""
    import polars as pl

    if dtype == pl.Datetime("us", "UTC"):
        return expr  # unchanged, so that a filter on it uses the Parquet file's statistics
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return expr.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return expr.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


@dataclass(frozen=True)
class SourceSchema:
    """Column types of one source, and when its values become known.

    Parameters
    ----------
    schema
        Column -> Polars type.
    time
        The column with the event time of a row, or None for timeless facts.
    known_at
        Column -> time column with the moment at which its value becomes known; "*" is the row.
    """

    schema: Mapping[str, pl.DataType]
    time: str | None
    known_at: Mapping[str, str]

    @property
    def late_columns(self) -> dict[str, str]:
        """Column that becomes known later than its row -> time column with that moment.

        Such a time column is itself known only at that moment.
        """
        late = {c: k for c, k in self.known_at.items() if c != "*"}
        row = {self.time, self.known_at.get("*")}
        return {**{k: k for k in late.values() if k not in row}, **late}

    def known_time(self, columns: Iterable[str]) -> pl.Expr | None:
        """The moment at which all values of these columns are known; None without times.

        The expression is Datetime[us, UTC], and null if a value is never known.
        """
        import polars as pl

        row_time = self.known_at.get("*", self.time)
        late = self.late_columns
        time_columns = dict.fromkeys(late[c] for c in columns if c in late)
        if row_time is not None:
            time_columns = dict.fromkeys([row_time, *time_columns])
        if not time_columns:
            return None
        moments = [utc_moment(pl.col(k), self.schema[k]) for k in time_columns]
        if len(moments) == 1:
            return moments[0]
        anything_unknown = pl.any_horizontal([m.is_null() for m in moments])
        return pl.when(~anything_unknown).then(pl.max_horizontal(moments))

    @property
    def time_columns(self) -> list[str]:
        """The columns with the moments at which values become known."""
        row_time = self.known_at.get("*", self.time)
        return list(
            dict.fromkeys([*([] if row_time is None else [row_time]), *self.late_columns.values()])
        )

    def may_become_known(self, spans: Iterable[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
        """False only for rows of which nothing becomes known in any span (end excluded).

        The latest of a row's times lies in a span only if one of the times isn't before the
        span's begin, and one is before its end.
        """
        import polars as pl

        moments = [utc_moment(pl.col(c), self.schema[c]) for c in self.time_columns]
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
        """Restore a schema from ``to_json``."""
        schema = {c: dtype_from_name(t) for c, t in content["schema"].items()}
        return cls(schema, content["time"], content["known_at"])
