"""Aggregates of past events, exact and independent of where counting starts.

Sums are prefix sums of fixed-point integers (Int128), so that a window's sum is the difference of
two looked-up numbers: n log n work for any span, no accumulated rounding errors, and the same
bits whether the rows come all at once or one by one. A floating-point running sum has neither
property (Higham, "The Accuracy of Floating Point Summation", 1993).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mlops_cli.data.sql.expressions import Expression
from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EXTREMES", "SQUARE_SCALE", "SUM_SCALE", "Aggregate"]

EXTREMES = ("min", "max")
_FUNCTIONS = ("count", "sum", "mean", "std", *EXTREMES)
# Resolution of sums: 2**-32; of sums of squares: 2**-40, so that 2**40 rows of values up to
# 2**23 still fit into 127 bits. Values beyond the limit (and NaN, infinity) count as missing.
SUM_SCALE = 2.0**32
SQUARE_SCALE = 2.0**20
_LIMIT = 2.0**62
_SQUARE_LIMIT = 2.0**33


@dataclass(frozen=True)
class Aggregate:
    """One aggregate of a window: ``mean(arr_delay > 15)`` as function and argument."""

    name: str
    function: str
    argument: Expression | None

    @classmethod
    def parse(cls, name: str, text: str, setting: str) -> Aggregate:
        """Parse ``function(argument)``.

        Raises
        ------
        BadParams
            If it has another form, or the function isn't known.
        """
        match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, flags=re.DOTALL)
        if match is None:
            raise BadParams(
                f"{setting} is {text!r}; an aggregate is a function of an expression",
                "Write for example mean(delay), count(*), max(price / size).",
            )
        function, argument = match[1].lower(), match[2].strip()
        if function not in _FUNCTIONS:
            raise BadParams(
                f"{setting} uses the aggregate {match[1]!r}", nearest(function, _FUNCTIONS)
            )
        if argument == "*":
            if function != "count":
                raise BadParams(f"{setting} is {text!r}; only count takes a star", "Name a column.")
            return cls(name, function, None)
        return cls(name, function, Expression(argument, setting))

    @property
    def column_count(self) -> int:
        """Number of columns that ``prefix_sums`` returns."""
        return {"mean": 2, "sum": 2, "std": 3}.get(self.function, 1)

    def prefix_sums(self, values: Sequence[float | None]) -> list[list[Any]]:
        """Prefix sums of valid values, like those of ``summands``, but starting with 0.

        For minimum and maximum, these are the values themselves.
        """
        if self.function in EXTREMES:
            return [list(values)]
        columns = [_prefix_sums(v is not None for v in values)]
        if self.column_count > 1:
            # Python and Polars both round halves to even.
            fixed = [0 if v is None else round(v * self._scale) for v in values]
            columns.append(_prefix_sums(fixed))
            if self.function == "std":
                columns.append(_prefix_sums(f * f for f in fixed))
        return columns

    def event_values(self) -> pl.Expr:
        """Column of event values, float64: the expression's value, or 1 if events are counted."""
        import polars as pl

        if self.argument is None:
            return pl.lit(1.0).alias(self.name)
        if self.function == "count":
            return pl.when(self.argument.expr.is_not_null()).then(1.0).alias(self.name)
        return self.argument.expr.cast(pl.Float64).alias(self.name)

    def valid_values(self) -> pl.Expr:
        """Column of event values, with null for each that doesn't count."""
        import polars as pl

        value = pl.col(self.name)
        if self.function not in EXTREMES:
            return pl.when(self._is_summable).then(value).alias(self.name)
        # 0.0 and -0.0 are equal, and the first of them would win, so both become 0.0.
        normalised = pl.when(value == 0.0).then(0.0).when(value.is_finite()).then(value)
        return normalised.alias(self.name)

    def summands(self) -> list[pl.Expr]:
        """Integer columns whose prefix sums give the aggregate: the count, and sums if needed."""
        import polars as pl

        value, summable = pl.col(self.name), self._is_summable
        parts = [summable.fill_null(value=False).cast(pl.Int64).alias(f"_n_{self.name}")]
        if self.column_count > 1:
            fixed = pl.when(summable).then((value * self._scale).round()).otherwise(0.0)
            fixed = fixed.cast(pl.Int128)
            parts.append(fixed.alias(f"_s_{self.name}"))
            if self.function == "std":
                parts.append((fixed * fixed).alias(f"_q_{self.name}"))
        return parts

    def from_sums(self, sums: Mapping[str, pl.Expr]) -> pl.Expr:
        """The aggregate from its window's integer sums; null if it has no value."""
        import polars as pl

        n = sums[f"_n_{self.name}"]
        if self.function == "count":
            return n.cast(pl.Int64)
        total = sums[f"_s_{self.name}"].cast(pl.Float64) / self._scale
        if self.function == "sum":
            return total
        if self.function == "mean":
            return pl.when(n > 0).then(total / n)
        squares = sums[f"_q_{self.name}"].cast(pl.Float64) / (self._scale * self._scale)
        variance = (squares - total * total / n) / (n - 1)
        return pl.when(n > 1).then(variance.clip(lower_bound=0.0).sqrt())

    @property
    def _scale(self) -> float:
        return SQUARE_SCALE if self.function == "std" else SUM_SCALE

    @property
    def _is_summable(self) -> pl.Expr:
        import polars as pl

        value, limit = pl.col(self.name), _SQUARE_LIMIT if self.function == "std" else _LIMIT
        return value.is_finite() & (value.abs() < limit)


def _prefix_sums(values: Iterable[int]) -> list[int]:
    return list(accumulate(values, initial=0))
