"""Features from Polars columns to the one numeric matrix that every learner reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_cli.errors import DataRefused, nearest
from mlops_cli.models.text_encoder import TextEncoder

__all__ = ["MOST_CATEGORIES", "Encoder"]

MOST_CATEGORIES = 254
"""Kept per column: with the shared code that is 255, what 8-bit histograms of boosters hold."""
_FEW = 8
"""Up to so many rows, look-ups in Python are faster than starting a Polars query."""


@dataclass(frozen=True)
class Encoder:
    """A fitted map from named features to columns of float64; NaN stands for missing.

    Numbers stay as they are (infinities are missing), booleans are 0 and 1. A category is its
    rank by falling frequency, ties by value. A column with more than ``MOST_CATEGORIES``
    categories keeps the most frequent; all others, seen or not, share the code that follows.
    Elsewhere a category that was not seen is missing. A free text becomes several columns.

    Parameters
    ----------
    kinds
        Feature name -> number, boolean, category or text, in the matrix's column order.
    categories
        Category feature -> kept categories; a category's position is its code.
    pooled
        Category features in which rarer categories share a code.
    texts
        Text feature -> its encoder.
    """

    kinds: Mapping[str, str]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pooled: frozenset[str] = frozenset()
    texts: Mapping[str, TextEncoder] = field(default_factory=dict)

    @classmethod
    def fit(cls, frame: pl.DataFrame, kinds: Mapping[str, str]) -> Encoder:
        """Learn the categories of a frame.

        Raises
        ------
        DataRefused
            If a feature is not in the frame.
        """
        _present(frame, kinds)
        categories: dict[str, tuple[str, ...]] = {}
        pooled = set()
        texts = {
            name: TextEncoder.fit(frame.get_column(name).cast(pl.String).to_list())
            for name, kind in kinds.items()
            if kind == "text"
        }
        for name, kind in kinds.items():
            if kind != "category":
                continue
            column = frame.get_column(name).cast(pl.String).drop_nulls().alias("value")
            counts = column.value_counts(name="n").sort(["n", "value"], descending=[True, False])
            categories[name] = tuple(counts["value"].head(MOST_CATEGORIES).to_list())
            if len(counts) > MOST_CATEGORIES:
                pooled.add(name)
        return cls(dict(kinds), categories, frozenset(pooled), texts)

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The feature of each column of the matrix; a text has several."""
        widths = {name: text.width for name, text in self.texts.items()}
        return tuple(name for name in self.kinds for _ in range(widths.get(name, 1)))

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the category features among the matrix's columns."""
        return tuple(i for i, name in enumerate(self.owners) if self.kinds[name] == "category")

    @cached_property
    def starts(self) -> list[int]:
        """The first column of each feature."""
        first: dict[str, int] = {}
        for at, name in enumerate(self.owners):
            first.setdefault(name, at)
        return list(first.values())

    def by_feature(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Figures of the matrix's columns (..., columns), summed up by feature."""
        if not self.texts or not values.shape[-1]:
            return values
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1))

    def transform(self, frame: pl.DataFrame) -> npt.NDArray[np.float64]:
        """The matrix (rows, features), float64, row-major.

        Raises
        ------
        DataRefused
            If a feature is not in the frame, or cannot be read as its kind.
        """
        _present(frame, self.kinds)
        if len(frame) <= _FEW and (rows := self._by_row(frame)) is not None:
            return rows
        try:
            encoded = frame.select(self._expressions)
        except pl.exceptions.PolarsError:
            others = [name for name in self.kinds if name not in self.texts]
            encoded = pl.DataFrame({name: self._alone(frame, name) for name in others})
        matrix = encoded.to_numpy(order="c")
        plain = np.ascontiguousarray(matrix, dtype=np.float64).reshape(len(frame), encoded.width)
        return self._with_texts(plain, frame) if self.texts else plain

    def _with_texts(
        self, plain: npt.NDArray[np.float64], frame: pl.DataFrame
    ) -> npt.NDArray[np.float64]:
        """The matrix from the columns of all other features, and the texts of the frame."""
        owner = np.array(self.owners)
        whole = np.empty((len(frame), len(owner)))
        whole[:, ~np.isin(owner, list(self.texts))] = plain
        for name, text in self.texts.items():
            column = frame.get_column(name).cast(pl.String)
            whole[:, owner == name] = text.transform(column.to_list())
        return whole

    def _by_row(self, frame: pl.DataFrame) -> npt.NDArray[np.float64] | None:
        """The matrix of a few rows, by look-ups in Python; None where a type needs a cast."""
        schema = frame.schema
        plain = all(
            schema[name] == pl.String
            if kind in ("category", "text")
            else schema[name].is_numeric() or schema[name] == pl.Boolean
            for name, kind in self.kinds.items()
        )
        if not plain:
            return None
        matrix = np.full((len(frame), len(self.owners)), np.nan)
        for row, values in enumerate(frame.iter_rows(named=True)):
            matrix[row] = self.encode(values)
        return matrix

    def encode(self, values: Mapping[str, Any]) -> list[float]:
        """One row of the matrix: a category or text is text, else a number or boolean.

        None is missing.
        """
        row: list[float] = []
        for name in self.kinds:
            value = values[name]
            if self.texts and name in self.texts:
                row += self.texts[name].transform([value])[0].tolist()
            elif value is None:
                row.append(nan)
            elif (codes := self._codes.get(name)) is not None:
                row.append(codes.get(value, self._others[name]))
            else:
                row.append(float(value) if isfinite(value) else nan)
        return row

    def transform_columns(
        self, columns: Mapping[str, Sequence[Any] | pl.Series]
    ) -> npt.NDArray[np.float64]:
        """The matrix (rows, features) from columns of plain values, as ``encode`` takes them.

        For the rows of requests, where starting a Polars query takes longer than the work. Numbers
        of many rows are better given as Series.
        """
        rows = len(columns[next(iter(self.kinds))])
        matrix = np.empty((len(self.owners), rows))
        for at, name in zip(self.starts, self.kinds, strict=True):
            values = columns[name]
            if self.texts and name in self.texts:
                found = self.texts[name].transform(list(values)).T
                matrix[at : at + len(found)] = found
            elif (codes := self._codes.get(name)) is not None:
                other = self._others[name]
                matrix[at] = [nan if v is None else codes.get(v, other) for v in values]
            elif isinstance(values, pl.Series):
                matrix[at] = values.to_numpy()
            else:
                matrix[at] = values  # None becomes NaN
        matrix = matrix.T.copy()
        matrix[~np.isfinite(matrix)] = nan
        return matrix

    def _alone(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """One column, so that an error can name it."""
        kind = self.kinds[name]
        try:
            return frame.select(self._expression(name, kind)).to_series()
        except pl.exceptions.PolarsError as error:
            raise DataRefused(
                f"feature {name!r} is {frame.schema[name]} and cannot be read as a {kind}: "
                f"{str(error).splitlines()[0]}",
                "Give values of the type that the model was trained with.",
            ) from None

    @cached_property
    def _expressions(self) -> list[pl.Expr]:
        return [self._expression(name, kind) for name, kind in self.kinds.items() if kind != "text"]

    @cached_property
    def _codes(self) -> dict[str, dict[str, float]]:
        """Category feature -> category -> code."""
        return {
            name: {category: float(code) for code, category in enumerate(kept)}
            for name, kept in self.categories.items()
        }

    @cached_property
    def _others(self) -> dict[str, float]:
        """Category feature -> what a category without a code of its own becomes."""
        return {
            name: float(len(kept)) if name in self.pooled and kept else nan
            for name, kept in self.categories.items()
        }

    def _expression(self, name: str, kind: str) -> pl.Expr:
        column = pl.col(name)
        if kind != "category":
            value = column.cast(pl.Float64)
            return pl.when(value.is_finite()).then(value).alias(name)
        kept = self.categories[name]
        if not kept:
            return pl.repeat(None, pl.len(), dtype=pl.Float64).alias(name)
        other = float(len(kept)) if name in self.pooled else None
        text = column.cast(pl.String)
        codes = text.replace_strict(
            list(kept), [float(c) for c in range(len(kept))], default=other, return_dtype=pl.Float64
        )
        return pl.when(text.is_not_null()).then(codes).alias(name)

    def to_json(self) -> dict[str, Any]:
        """As plain values; ``from_json`` reads them."""
        features = []
        for name, kind in self.kinds.items():
            entry: dict[str, Any] = {"name": name, "kind": kind}
            if kind == "category":
                entry |= {"categories": list(self.categories[name]), "pooled": name in self.pooled}
            if kind == "text":
                entry["text"] = self.texts[name].to_json()
            features.append(entry)
        return {"features": features}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Encoder:
        """From what ``to_json`` gave."""
        features = tree["features"]
        named = [f for f in features if f["kind"] == "category"]
        return cls(
            {f["name"]: f["kind"] for f in features},
            {f["name"]: tuple(f["categories"]) for f in named},
            frozenset(f["name"] for f in named if f["pooled"]),
            {f["name"]: TextEncoder.from_json(f["text"]) for f in features if f["kind"] == "text"},
        )


def _present(frame: pl.DataFrame, kinds: Mapping[str, str]) -> None:
    given = dict.fromkeys(frame.columns)
    for name in kinds:
        if name not in given:
            raise DataRefused(
                f"feature {name!r} is not among the {len(given)} columns given",
                nearest(name, given),
            )
