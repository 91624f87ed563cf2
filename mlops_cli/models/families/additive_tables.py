"""Additive models as tables: what each value of a feature adds to the score.

Whatever a linear model was given of a feature (scaled, by quantiles, as splines, one-hot, or as
smoothed log-odds), its part of the score is a function of that feature alone: a line, a broken
line, or one number per category. As such it is scored without the library that fitted it.
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
    """What one feature adds.

    Attributes
    ----------
    missing
        Where it is missing, (outputs,).
    knots, values
        Of a number: between knots (n,) the values (n, outputs) are joined by lines, outside they
        go on as they end.
    table
        Of a category: by code, (codes + 1, outputs); the last is for all other codes.
    """

    missing: Floats
    knots: Floats | None = None
    values: Floats | None = None
    table: Floats | None = None

    def of(self, column: Floats) -> Floats:
        """What each row (n,) gets, (n, outputs)."""
        empty = np.isnan(column)
        if self.table is not None:
            last = len(self.table) - 1
            codes = np.where(empty | (column < 0) | (column > last), last, column).astype(np.intp)
            found = self.table[codes]
        else:
            assert self.knots is not None  # noqa: S101 - a number has them
            assert self.values is not None  # noqa: S101
            found = np.column_stack([np.interp(column, self.knots, v) for v in self.values.T])
        return np.where(empty[:, None], self.missing, found)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        named = {
            "missing": self.missing,
            "knots": self.knots,
            "values": self.values,
            "table": self.table,
        }
        return {name: value.tolist() for name, value in named.items() if value is not None}

    @classmethod
    def from_json(cls, tree: dict[str, Any], outputs: int) -> FeatureTable:
        """From what ``to_json`` gave; ValueError where the shapes don't fit."""
        arrays = {name: np.array(value, dtype=np.float64) for name, value in tree.items()}
        part = cls(**arrays)
        if part.table is not None:
            sound = part.table.ndim == 2 and part.table.shape[1] == outputs  # noqa: PLR2004
        else:
            knots, values = part.knots, part.values
            sound = (
                knots is not None
                and values is not None
                and knots.ndim == 1
                and len(knots) > 0
                and values.shape == (len(knots), outputs)
            )
        if not sound or part.missing.shape != (outputs,):
            msg = "a part of another shape"
            raise ValueError(msg)
        return part


@dataclass(frozen=True)
class Additive:
    """A base score (outputs,), and what each feature adds to it."""

    base: Floats
    parts: tuple[FeatureTable, ...]

    def scores(self, X: Floats) -> Floats:
        """The score of each row, (n, outputs)."""
        if X.shape[1] != len(self.parts):
            msg = f"a matrix of shape {X.shape} for {len(self.parts)} features"
            raise ValueError(msg)
        if len(X) == 1:
            return self._alone(X)
        total = np.tile(self.base, (len(X), 1))
        for part, column in zip(self.parts, X.T, strict=True):
            total += part.of(column)
        return total

    def _alone(self, row: Floats) -> Floats:
        """The same sums in plain numbers: for one row, arrays take longer than the work."""
        total = self._plain[0].copy()
        for value, (missing, knots, values, table) in zip(
            row[0].tolist(), self._plain[1], strict=True
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
    def _plain(self) -> tuple[list[float], list[tuple[Any, ...]]]:
        parts = [
            (
                p.missing.tolist(),
                p.knots,
                None if p.values is None else list(p.values.T.copy()),
                None if p.table is None else p.table.tolist(),
            )
            for p in self.parts
        ]
        return self.base.tolist(), parts

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"base": self.base.tolist(), "parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Additive:
        """From what ``to_json`` gave; ValueError, KeyError or TypeError where it isn't that."""
        base = np.array(tree["base"], dtype=np.float64)
        return cls(base, tuple(FeatureTable.from_json(part, len(base)) for part in tree["parts"]))

    def to_bytes(self, **more: Any) -> bytes:
        """As a file of JSON, with further facts."""
        return json.dumps({**self.to_json(), **more}, separators=(",", ":")).encode()
