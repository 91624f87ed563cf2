"""Joins with another source: equal on keys, or the latest row known at the prediction time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.errors import BadParams, DataRefused, nearest
from mlops_cli.features.windows import PREDICTION_TIME, Span
from mlops_cli.layout import ROW

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.data.source_schema import SourceSchema
    from mlops_cli.params.featurize import AsOfJoin

__all__ = ["JoinPlan"]

_KNOWN = "_known"


@dataclass(frozen=True)
class JoinPlan:
    """One entry of ``featurize.joins``, checked against its source."""

    name: str
    source: str
    on: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    as_of: bool
    within: str | None

    @classmethod
    def compile(cls, name: str, join: AsOfJoin, source_schema: SourceSchema) -> JoinPlan:
        """Check the join against its source.

        Raises
        ------
        BadParams
            If a column doesn't exist, or ``as_of`` is set for a source without time.
        """
        place = f"featurize.joins.{name}"
        for column in [*join.on.values(), *join.columns]:
            if column not in source_schema.schema:
                raise BadParams(
                    f"{place} names the column {column!r}, which {join.source} doesn't have",
                    nearest(column, source_schema.schema),
                )
        if join.as_of and source_schema.time is None:
            raise BadParams(
                f"{place} takes the latest row of {join.source!r}, which has no time",
                f"Say with `ingest.sources.{join.source}.time` when its rows happen.",
            )
        if join.within is not None and not join.as_of:
            raise BadParams(f"{place}.within is only for as_of joins", "Add `as_of: true`.")
        return cls(name, join.source, tuple(join.on.items()), join.columns, join.as_of, join.within)

    def check_unique(self, table: pl.LazyFrame) -> None:
        """Refuse an equality join with duplicate keys, which would multiply rows.

        Raises
        ------
        DataRefused
            Naming a key that occurs in more than one row.
        """
        import polars as pl

        if self.as_of:
            return
        keys = [column for _, column in self.on]
        keyed = table.select(keys).drop_nulls()
        duplicates = (
            keyed.group_by(keys).len(ROW).filter(pl.col(ROW) > 1).sort(keys).head(1).collect()
        )
        if duplicates.height:
            *key, count = duplicates.row(0)
            shown = key[0] if len(key) == 1 else tuple(key)
            raise DataRefused(
                f"featurize.joins.{self.name}: {self.source} has {count} rows for {shown!r}",
                "A join needs one row per key: clean the source, or use as_of if it has a time.",
            )

    @property
    def source_columns(self) -> list[str]:
        """The source's columns that it reads, besides those that say when they are known."""
        return list(dict.fromkeys([*(column for _, column in self.on), *self.columns]))

    def known_interval(self, span: Span) -> tuple[pl.Expr, pl.Expr] | None:
        """When a row must have become known to count (end excluded); None: at any time."""
        import polars as pl

        if self.within is None:
            return None
        return pl.lit(span[0]).dt.offset_by(f"-{self.within}"), pl.lit(span[1])

    def add(
        self, frame: pl.LazyFrame, table: pl.LazyFrame, source_schema: SourceSchema, span: Span
    ) -> pl.LazyFrame:
        """Add ``<name>_<column>`` to ``frame`` (sorted by ``_at`` if it has that column).

        A value that became known at or after ``_at`` is null.
        """
        import polars as pl

        known_at = source_schema.known_time(self.columns)
        values = [pl.col(c).alias(f"{self.name}_{c}") for c in self.columns]
        keys = [pl.col(c).alias(f"_key{i}") for i, (_, c) in enumerate(self.on)]
        left, right = [b for b, _ in self.on], [f"_key{i}" for i in range(len(self.on))]
        if self.as_of and known_at is not None:
            # Of rows known at the same moment, the last one counts, so the sort must be stable.
            latest = (
                table.select(known_at.alias(_KNOWN), *keys, *values)
                .filter(self._is_within_reach(span))
                .sort(_KNOWN, maintain_order=True)
            )
            return frame.join_asof(
                latest,
                left_on=PREDICTION_TIME,
                right_on=_KNOWN,
                by_left=left,
                by_right=right,
                strategy="backward",
                tolerance=self.within,
                allow_exact_matches=False,
                check_sortedness=False,
            ).drop(_KNOWN, strict=False)
        if known_at is None:
            lookup = table.select(*keys, *values)
            return _join_equal(frame, lookup, left, right)
        joined = _join_equal(
            frame, table.select(known_at.alias(_KNOWN), *keys, *values), left, right
        )
        names = [f"{self.name}_{c}" for c in self.columns]
        return joined.with_columns(
            pl.when(pl.col(_KNOWN) < pl.col(PREDICTION_TIME)).then(pl.col(n)).alias(n)
            for n in names
        ).drop(_KNOWN)

    def _is_within_reach(self, span: Span) -> pl.Expr:
        """Whether any row of the span can see a row of the source (false if it is never known)."""
        import polars as pl

        known_at = pl.col(_KNOWN)
        before = known_at < pl.lit(span[1])
        if self.within is None:
            return before
        return before & (known_at >= pl.lit(span[0]).dt.offset_by(f"-{self.within}"))


def _join_equal(
    frame: pl.LazyFrame, table: pl.LazyFrame, left: list[str], right: list[str]
) -> pl.LazyFrame:
    return frame.join(table, left_on=left, right_on=right, how="left", maintain_order="left")
