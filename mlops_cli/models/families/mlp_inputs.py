"""Inputs of the MLP: scaled and softly clipped numbers, missing indicators, one-hot codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.fit_request import Floats

__all__ = ["MlpInputs"]

_MAX_CATEGORIES = 64
"""Maximum codes of a feature with their own one-hot input; rarer and unseen codes share one."""
_MAX_ONE_HOT = 300
_MIN_CATEGORIES = 5
_LARGEST = 1e100
"""Numbers are clipped to this, as differences of larger ones may overflow a float."""
_BOUND = 3.0
"""Bound of the soft clipping: outliers approach this or its negative."""


@dataclass(frozen=True)
class MlpInputs:
    """A fitted map from features to inputs, in this order: numbers, indicators, categories.

    Attributes
    ----------
    numbers, gaps
        Matrix columns of the numbers, and those of them with missing values, which have a
        missing indicator.
    centres, spreads
        Median and interquartile range of each number.
    categories
        Matrix column -> codes with their own input; the column's last input is for all others.
    features
        Number of matrix columns.
    """

    numbers: tuple[int, ...]
    gaps: tuple[int, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    categories: Mapping[int, tuple[int, ...]]
    features: int

    @classmethod
    def fit(cls, X: Floats, categorical: tuple[int, ...]) -> MlpInputs:
        """Fit scales and codes to a matrix (n, features) with codes in the categorical columns."""
        numbers = tuple(i for i in range(X.shape[1]) if i not in categorical)
        scales = [_scale(X[:, i]) for i in numbers]
        max_categories = min(_MAX_CATEGORIES, _MAX_ONE_HOT // max(1, len(categorical)))
        max_categories = max(_MIN_CATEGORIES, max_categories)
        return cls(
            numbers,
            tuple(i for i in numbers if np.isnan(X[:, i]).any()),
            tuple(centre for centre, _ in scales),
            tuple(spread for _, spread in scales),
            {i: _frequent_codes(X[:, i], max_categories) for i in categorical},
            X.shape[1],
        )

    def transform(self, X: Floats) -> npt.NDArray[np.float32]:
        """The inputs (n, inputs) of rows (n, features)."""
        parts = [self._scale_numbers(X), np.isnan(X[:, self.gaps])]
        for column, codes in self.categories.items():
            parts.append(np.eye(len(codes) + 1)[_one_hot_positions(X[:, column], codes)])
        return np.hstack(parts).astype(np.float32)

    def layer(self, weights: Floats, biases: Floats) -> Callable[[Floats], Floats]:
        """The first layer (inputs, width) as a function of rows, with look-ups for categories."""
        numbers, gaps = len(self.numbers), len(self.gaps)
        number_weights, gap_weights, code_weights = np.split(weights, [numbers, numbers + gaps])
        columns = list(self.categories)
        places, each = self._input_by_code, np.arange(len(columns))

        def look_up(X: Floats) -> npt.NDArray[np.intp]:
            last = places.shape[1] - 1
            codes = X[:, columns]
            unknown = ~((codes >= 0) & (codes < last))
            return places[each, np.where(unknown, last, codes).astype(np.intp)]

        def sums(X: Floats) -> Floats:
            if X.shape[1] != self.features:
                msg = f"a matrix of shape {X.shape} for {self.features} features"
                raise ValueError(msg)
            total = np.einsum("ij,jk->ik", self._scale_numbers(X), number_weights) + biases
            if gaps:
                total += np.einsum(
                    "ij,jk->ik", np.isnan(X[:, self.gaps]).astype(float), gap_weights
                )
            if len(X) == 1:
                return np.asarray(total + code_weights[look_up(X)[0]].sum(axis=0))
            for column_places in look_up(X).T:
                total += code_weights[column_places]
            return np.asarray(total)

        return sums

    @cached_property
    def _input_by_code(self) -> npt.NDArray[np.intp]:
        """Position of each code's input among all category inputs, (columns, codes + 1).

        The last entry of a row is for codes without their own input.
        """
        highest = max([max(codes, default=-1) for codes in self.categories.values()], default=-1)
        positions = np.empty((len(self.categories), highest + 2), dtype=np.intp)
        first = 0
        for row, codes in zip(positions, self.categories.values(), strict=True):
            row[:] = first + len(codes)
            row[list(codes)] = first + np.arange(len(codes))
            first += len(codes) + 1
        return positions

    @cached_property
    def feature_of_input(self) -> npt.NDArray[np.intp]:
        """The feature of each input, (inputs,)."""
        features = [*self.numbers, *self.gaps]
        for column, codes in self.categories.items():
            features += [column] * (len(codes) + 1)
        return np.array(features, dtype=np.intp)

    def to_json(self) -> dict[str, Any]:
        """The map as plain values, which ``from_json`` reads."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**named, "categories": list(self.categories.items())}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> MlpInputs:
        """Build the map from the values of ``to_json``.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the values are malformed.
        """
        inputs = cls(
            tuple(map(int, tree["numbers"])),
            tuple(map(int, tree["gaps"])),
            tuple(map(float, tree["centres"])),
            tuple(map(float, tree["spreads"])),
            {int(i): tuple(map(int, codes)) for i, codes in tree["categories"]},
            int(tree["features"]),
        )
        columns = {*inputs.numbers, *inputs.gaps, *inputs.categories}
        if columns and not (min(columns) >= 0 and max(columns) < inputs.features):
            msg = f"a column outside of {inputs.features} features"
            raise ValueError(msg)
        if not len(inputs.numbers) == len(inputs.centres) == len(inputs.spreads):
            msg = "scales of another number of columns"
            raise ValueError(msg)
        return inputs

    def _scale_numbers(self, X: Floats) -> Floats:
        numbers = X[:, self.numbers]
        with np.errstate(over="ignore"):  # infinities are clipped below
            scaled = (numbers - np.array(self.centres)) / np.array(self.spreads)
        scaled = np.where(np.isnan(scaled), 0.0, np.clip(scaled, -1e6, 1e6))
        return np.asarray(scaled / np.sqrt(1.0 + (scaled / _BOUND) ** 2))


def _scale(column: Floats) -> tuple[float, float]:
    """Median and interquartile range; half the whole range if that is 0, else 1."""
    finite = np.clip(column[np.isfinite(column)], -_LARGEST, _LARGEST)
    if not len(finite):
        return 0.0, 1.0
    low, first, centre, third, high = np.quantile(finite, [0.0, 0.25, 0.5, 0.75, 1.0])
    return float(centre), float(third - first) or float(high - low) / 2 or 1.0


def _frequent_codes(column: Floats, limit: int) -> tuple[int, ...]:
    codes, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return tuple(int(c) for c in np.sort(codes[np.argsort(-counts, kind="stable")[:limit]]))


def _one_hot_positions(column: Floats, codes: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Position of each row's code (n,) among ``codes``; the next position for all other codes."""
    if not codes:
        return np.zeros(len(column), dtype=np.intp)
    sorted_codes = np.array(codes, dtype=np.float64)
    position = np.minimum(np.searchsorted(sorted_codes, column), len(sorted_codes) - 1)
    return np.where(sorted_codes[position] == column, position, len(sorted_codes))
