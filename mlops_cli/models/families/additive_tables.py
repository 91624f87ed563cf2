"""Additive models as look-up tables: the contribution of each feature value to the score.

However a linear model encodes a feature (scaled, by quantiles, as splines, one-hot, or as smoothed
log-odds), the feature's contribution to the score depends on that feature alone. It is a line, a
piecewise linear function, or one number per category. So the model is scored without the library
that fitted it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlops_cli.models.families.fit_request import Floats

__all__ = ["Additive", "FeatureTable"]


@dataclass(frozen=True)
class FeatureTable:
    """The contribution of one feature to the score.

    Attributes
    ----------
    missing
        Contribution of a missing value, (outputs,).
    knots, values
        For a number: knots (n,) and their contributions (n, outputs), interpolated linearly
        between the knots and constant outside.
    table
        For a category: contribution by code, (codes + 1, outputs); the last row is for all other
        codes.
    """

    missing: Floats
    knots: Floats | None = None
    values: Floats | None = None
    table: Floats | None = None

    def contributions(self, column: Floats) -> Floats:
        """The contribution to the score of each row (n,), as (n, outputs)."""
        empty = np.isnan(column)
        if self.table is not None:
            last = len(self.table) - 1
            codes = np.where(empty | (column < 0) | (column > last), last, column).astype(np.intp)
            contributions = self.table[codes]
        else:
            assert self.knots is not None  # noqa: S101 - always set for numbers
            assert self.values is not None  # noqa: S101
            contributions = np.column_stack(
                [np.interp(column, self.knots, v) for v in self.values.T]
            )
        return np.where(empty[:, None], self.missing, contributions)

    def to_json(self) -> dict[str, Any]:
        """The table as plain values, which ``from_json`` reads."""
        named = {
            "missing": self.missing,
            "knots": self.knots,
            "values": self.values,
            "table": self.table,
        }
        return {name: value.tolist() for name, value in named.items() if value is not None}

    @classmethod
    def from_json(cls, tree: dict[str, Any], outputs: int) -> FeatureTable:
        """Build a table from the values of ``to_json``; ValueError if the shapes don't fit."""
        arrays = {name: np.array(value, dtype=np.float64) for name, value in tree.items()}
        part = cls(**arrays)
        if part.table is not None:
            valid = part.table.ndim == 2 and part.table.shape[1] == outputs  # noqa: PLR2004
        else:
            knots, values = part.knots, part.values
            valid = (
                knots is not None
                and values is not None
                and knots.ndim == 1
                and len(knots) > 0
                and values.shape == (len(knots), outputs)
            )
        if not valid or part.missing.shape != (outputs,):
            msg = "a part of another shape"
            raise ValueError(msg)
        return part


@dataclass(frozen=True)
class Additive:
    """An additive model: a base score (outputs,) and one table per feature."""

    base: Floats
    tables: tuple[FeatureTable, ...]

    def scores(self, X: Floats) -> Floats:
        """The score of each row, (n, outputs)."""
        if X.shape[1] != len(self.tables):
            msg = f"a matrix of shape {X.shape} for {len(self.tables)} features"
            raise ValueError(msg)
        if len(X) == 1:
            return self._score_row(X)
        total = np.tile(self.base, (len(X), 1))
        for part, column in zip(self.tables, X.T, strict=True):
            total += part.contributions(column)
        return total

    def _score_row(self, row: Floats) -> Floats:
        """The score of one row in plain Python numbers, which are faster than arrays here."""
        total = self._plain_tables[0].copy()
        for value, (missing, knots, values, table) in zip(
            row[0].tolist(), self._plain_tables[1], strict=True
        ):
            if value != value:  # noqa: PLR0124 - missing
                adds = missing
            elif table is not None:
                last = len(table) - 1
                adds = table[int(value) if 0 <= value <= last else last]
            else:
                adds = [float(np.interp(value, knots, v)) for v in values]
            for i, more in enumerate(adds):
                total[i] += more
        return np.array([total])

    @cached_property
    def _plain_tables(self) -> tuple[list[float], list[tuple[Any, ...]]]:
        parts = [
            (
                p.missing.tolist(),
                p.knots,
                None if p.values is None else list(p.values.T.copy()),
                None if p.table is None else p.table.tolist(),
            )
            for p in self.tables
        ]
        return self.base.tolist(), parts

    def to_json(self) -> dict[str, Any]:
        """The model as plain values, which ``from_json`` reads."""
        return {"base": self.base.tolist(), "parts": [part.to_json() for part in self.tables]}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Additive:
        """Build a model from the values of ``to_json``.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the values are malformed.
        """
        base = np.array(tree["base"], dtype=np.float64)
        return cls(base, tuple(FeatureTable.from_json(part, len(base)) for part in tree["parts"]))

    def to_bytes(self, **extra: Any) -> bytes:
        """The model as a JSON file, with more top-level entries."""
        return json.dumps({**self.to_json(), **extra}, separators=(",", ":")).encode()
