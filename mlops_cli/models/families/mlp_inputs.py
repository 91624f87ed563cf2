"""What a network is fed: numbers scaled and softly clipped, where they are missing, categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.fit_request import Floats

__all__ = ["MlpInputs"]

_MOST_CATEGORIES = 64
"""One-hot: so many codes of a feature have an input of their own; rarer and unseen ones share."""
_MOST_ONE_HOT = 300
_FEWEST_CATEGORIES = 5
_LARGEST = 1e100
"""Of numbers beyond this, differences may not fit into a float."""
_BOUND = 3.0
"""Numbers approach this and its negative, however wild they are."""


@dataclass(frozen=True)
class MlpInputs:
    """Features as inputs, in the order: numbers, where each is missing, categories.

    Attributes
    ----------
    numbers
        Columns of the matrix, and of those the ones with missing values (``gaps``).
    centres, spreads
        Of each number: median, and distance of the quartiles.
    categories
        Column -> the codes that have an input of their own; the last input is for all others.
    features
        Columns of the matrix.
    """

    numbers: tuple[int, ...]
    gaps: tuple[int, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    categories: Mapping[int, tuple[int, ...]]
    features: int

    @classmethod
    def fit(cls, X: Floats, categorical: tuple[int, ...]) -> MlpInputs:
        """Learn scales and codes from a matrix (n, features) with codes in categorical columns."""
        numbers = tuple(i for i in range(X.shape[1]) if i not in categorical)
        scales = [_scale(X[:, i]) for i in numbers]
        most = min(_MOST_CATEGORIES, _MOST_ONE_HOT // max(1, len(categorical)))
        most = max(_FEWEST_CATEGORIES, most)
        return cls(
            numbers,
            tuple(i for i in numbers if np.isnan(X[:, i]).any()),
            tuple(centre for centre, _ in scales),
            tuple(spread for _, spread in scales),
            {i: _frequent(X[:, i], most) for i in categorical},
            X.shape[1],
        )

    def transform(self, X: Floats) -> npt.NDArray[np.float32]:
        """The inputs (n, inputs) of rows (n, features)."""
        parts = [self._scaled(X), np.isnan(X[:, self.gaps])]
        for column, codes in self.categories.items():
            parts.append(np.eye(len(codes) + 1)[_places(X[:, column], codes)])
        return np.hstack(parts).astype(np.float32)

    def layer(self, weights: Floats, biases: Floats) -> Callable[[Floats], Floats]:
        """A first layer (inputs, width) as a function of rows: a category's input is a look-up."""
        numbers, gaps = len(self.numbers), len(self.gaps)
        of_numbers, of_gaps, of_codes = np.split(weights, [numbers, numbers + gaps])
        columns = list(self.categories)
        places, each = self._by_code, np.arange(len(columns))

        def looked_up(X: Floats) -> npt.NDArray[np.intp]:
            last = places.shape[1] - 1
            codes = X[:, columns]
            strange = ~((codes >= 0) & (codes < last))
            return places[each, np.where(strange, last, codes).astype(np.intp)]

        def sums(X: Floats) -> Floats:
            if X.shape[1] != self.features:
                msg = f"a matrix of shape {X.shape} for {self.features} features"
                raise ValueError(msg)
            total = np.einsum("ij,jk->ik", self._scaled(X), of_numbers) + biases
            if gaps:
                total += np.einsum("ij,jk->ik", np.isnan(X[:, self.gaps]).astype(float), of_gaps)
            if len(X) == 1:
                return np.asarray(total + of_codes[looked_up(X)[0]].sum(axis=0))
            for of_column in looked_up(X).T:
                total += of_codes[of_column]
            return np.asarray(total)

        return sums

    @cached_property
    def _by_code(self) -> npt.NDArray[np.intp]:
        """The place of each category's input among those of all, (columns, codes + 1).

        The last is for codes that have none of their own.
        """
        most = max([max(codes, default=-1) for codes in self.categories.values()], default=-1)
        found = np.empty((len(self.categories), most + 2), dtype=np.intp)
        first = 0
        for row, codes in zip(found, self.categories.values(), strict=True):
            row[:] = first + len(codes)
            row[list(codes)] = first + np.arange(len(codes))
            first += len(codes) + 1
        return found

    @cached_property
    def owners(self) -> npt.NDArray[np.intp]:
        """The feature that each input is of, (inputs,)."""
        found = [*self.numbers, *self.gaps]
        for column, codes in self.categories.items():
            found += [column] * (len(codes) + 1)
        return np.array(found, dtype=np.intp)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**named, "categories": list(self.categories.items())}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> MlpInputs:
        """From what ``to_json`` gave; ValueError, KeyError or TypeError where it isn't that."""
        found = cls(
            tuple(map(int, tree["numbers"])),
            tuple(map(int, tree["gaps"])),
            tuple(map(float, tree["centres"])),
            tuple(map(float, tree["spreads"])),
            {int(i): tuple(map(int, codes)) for i, codes in tree["categories"]},
            int(tree["features"]),
        )
        known = {*found.numbers, *found.gaps, *found.categories}
        if known and not (min(known) >= 0 and max(known) < found.features):
            msg = f"a column outside of {found.features} features"
            raise ValueError(msg)
        if not len(found.numbers) == len(found.centres) == len(found.spreads):
            msg = "scales of another number of columns"
            raise ValueError(msg)
        return found

    def _scaled(self, X: Floats) -> Floats:
        given = X[:, self.numbers]
        with np.errstate(over="ignore"):  # what is too large is cut off below
            scaled = (given - np.array(self.centres)) / np.array(self.spreads)
        scaled = np.where(np.isnan(scaled), 0.0, np.clip(scaled, -1e6, 1e6))
        return np.asarray(scaled / np.sqrt(1.0 + (scaled / _BOUND) ** 2))


def _scale(column: Floats) -> tuple[float, float]:
    """Median, and the distance of the quartiles, or where that is 0 half that of the ends."""
    known = np.clip(column[np.isfinite(column)], -_LARGEST, _LARGEST)
    if not len(known):
        return 0.0, 1.0
    low, first, centre, third, high = np.quantile(known, [0.0, 0.25, 0.5, 0.75, 1.0])
    return float(centre), float(third - first) or float(high - low) / 2 or 1.0


def _frequent(column: Floats, most: int) -> tuple[int, ...]:
    codes, counts = np.unique(column[~np.isnan(column)], return_counts=True)
    return tuple(int(c) for c in np.sort(codes[np.argsort(-counts, kind="stable")[:most]]))


def _places(column: Floats, codes: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """The place of each row's code (n,) among the known ones; behind the last for all others."""
    if not codes:
        return np.zeros(len(column), dtype=np.intp)
    known = np.array(codes, dtype=np.float64)
    place = np.minimum(np.searchsorted(known, column), len(known) - 1)
    return np.where(known[place] == column, place, len(known))
