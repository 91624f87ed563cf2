"""Feature encoder: Polars columns to the numeric matrix that all model families read."""

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

__all__ = ["MAX_CATEGORIES", "Encoder"]

MAX_CATEGORIES = 254
"""Categories kept per column: with the shared code 255, the limit of boosters' 8-bit histograms."""
_FEW_ROWS = 8
"""Up to this number of rows, look-ups in Python are faster than starting a Polars query."""


@dataclass(frozen=True)
class Encoder:
    """A fitted map from named features to float64 columns; NaN means missing.

    Numbers are unchanged, except that infinities are missing. Booleans are 0 and 1. The code of a
    category is its rank by descending frequency, ties by value. A column with more than
    ``MAX_CATEGORIES`` categories keeps the most frequent; all others, seen or unseen, share the
    next code. In other columns an unseen category is missing. A free text becomes several
    columns.

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
        """Learn the categories and text encoders from a frame.

        Raises
        ------
        DataRefused
            If a feature is not in the frame.
        """
        _refuse_missing(frame, kinds)
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
            categories[name] = tuple(counts["value"].head(MAX_CATEGORIES).to_list())
            if len(counts) > MAX_CATEGORIES:
                pooled.add(name)
        return cls(dict(kinds), categories, frozenset(pooled), texts)

    @cached_property
    def feature_of_column(self) -> tuple[str, ...]:
        """The feature of each matrix column; a text has several columns."""
        widths = {name: text.width for name, text in self.texts.items()}
        return tuple(name for name in self.kinds for _ in range(widths.get(name, 1)))

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of the category features among the matrix columns."""
        return tuple(
            i for i, name in enumerate(self.feature_of_column) if self.kinds[name] == "category"
        )

    @cached_property
    def first_columns(self) -> list[int]:
        """The first matrix column of each feature."""
        first: dict[str, int] = {}
        for position, name in enumerate(self.feature_of_column):
            first.setdefault(name, position)
        return list(first.values())

    def sum_by_feature(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values per matrix column (..., columns), summed by feature."""
        if not self.texts or not values.shape[-1]:
            return values
        return np.asarray(np.add.reduceat(values, self.first_columns, axis=-1))

    def transform(self, frame: pl.DataFrame) -> npt.NDArray[np.float64]:
        """The matrix (rows, features), float64, row-major.

        Raises
        ------
        DataRefused
            If a feature is not in the frame, or cannot be read as its kind.
        """
        _refuse_missing(frame, self.kinds)
        if len(frame) <= _FEW_ROWS and (rows := self._transform_rows(frame)) is not None:
            return rows
        try:
            encoded = frame.select(self._expressions)
        except pl.exceptions.PolarsError:
            others = [name for name in self.kinds if name not in self.texts]
            encoded = pl.DataFrame({name: self._encode_column(frame, name) for name in others})
        matrix = encoded.to_numpy(order="c")
        plain = np.ascontiguousarray(matrix, dtype=np.float64).reshape(len(frame), encoded.width)
        return self._insert_texts(plain, frame) if self.texts else plain

    def _insert_texts(
        self, plain: npt.NDArray[np.float64], frame: pl.DataFrame
    ) -> npt.NDArray[np.float64]:
        """The matrix from the columns of the other features and the encoded texts."""
        owner = np.array(self.feature_of_column)
        matrix = np.empty((len(frame), len(owner)))
        matrix[:, ~np.isin(owner, list(self.texts))] = plain
        for name, text in self.texts.items():
            column = frame.get_column(name).cast(pl.String)
            matrix[:, owner == name] = text.transform(column.to_list())
        return matrix

    def _transform_rows(self, frame: pl.DataFrame) -> npt.NDArray[np.float64] | None:
        """The matrix of a few rows, by look-ups in Python; None if a column needs a cast."""
        schema = frame.schema
        castless = all(
            schema[name] == pl.String
            if kind in ("category", "text")
            else schema[name].is_numeric() or schema[name] == pl.Boolean
            for name, kind in self.kinds.items()
        )
        if not castless:
            return None
        matrix = np.full((len(frame), len(self.feature_of_column)), np.nan)
        for row, values in enumerate(frame.iter_rows(named=True)):
            matrix[row] = self.encode(values)
        return matrix

    def encode(self, values: Mapping[str, Any]) -> list[float]:
        """Encode the values of one row as one row of the matrix.

        Values of categories and texts are strings, all others numbers or booleans. None is
        missing.
        """
        row: list[float] = []
        for name in self.kinds:
            value = values[name]
            if self.texts and name in self.texts:
                row += self.texts[name].transform([value])[0].tolist()
            elif value is None:
                row.append(nan)
            elif (codes := self._codes.get(name)) is not None:
                row.append(codes.get(value, self._fallback_codes[name]))
            else:
                row.append(float(value) if isfinite(value) else nan)
        return row

    def transform_columns(
        self, columns: Mapping[str, Sequence[Any] | pl.Series]
    ) -> npt.NDArray[np.float64]:
        """The matrix (rows, features) from columns of plain values, as for ``encode``.

        It is for the rows of requests, where starting a Polars query takes longer than the work.
        With many rows, pass numbers as a Series.
        """
        rows = len(columns[next(iter(self.kinds))])
        matrix = np.empty((len(self.feature_of_column), rows))
        for start, name in zip(self.first_columns, self.kinds, strict=True):
            values = columns[name]
            if self.texts and name in self.texts:
                encoded = self.texts[name].transform(list(values)).T
                matrix[start : start + len(encoded)] = encoded
            elif (codes := self._codes.get(name)) is not None:
                fallback = self._fallback_codes[name]
                matrix[start] = [nan if v is None else codes.get(v, fallback) for v in values]
            elif isinstance(values, pl.Series):
                matrix[start] = values.to_numpy()
            else:
                matrix[start] = values  # None becomes NaN
        matrix = matrix.T.copy()
        matrix[~np.isfinite(matrix)] = nan
        return matrix

    def _encode_column(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """Encode one column, so that an error can name it."""
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
            name: {category: float(code) for code, category in enumerate(categories)}
            for name, categories in self.categories.items()
        }

    @cached_property
    def _fallback_codes(self) -> dict[str, float]:
        """Category feature -> code of the categories without their own code."""
        return {
            name: float(len(categories)) if name in self.pooled and categories else nan
            for name, categories in self.categories.items()
        }

    def _expression(self, name: str, kind: str) -> pl.Expr:
        column = pl.col(name)
        if kind != "category":
            value = column.cast(pl.Float64)
            return pl.when(value.is_finite()).then(value).alias(name)
        categories = self.categories[name]
        if not categories:
            return pl.repeat(None, pl.len(), dtype=pl.Float64).alias(name)
        fallback = float(len(categories)) if name in self.pooled else None
        text = column.cast(pl.String)
        codes = text.replace_strict(
            list(categories),
            [float(c) for c in range(len(categories))],
            default=fallback,
            return_dtype=pl.Float64,
        )
        return pl.when(text.is_not_null()).then(codes).alias(name)

    def to_json(self) -> dict[str, Any]:
        """The encoder as plain values, which ``from_json`` reads."""
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
        """Build an encoder from the values of ``to_json``."""
        features = tree["features"]
        category_features = [f for f in features if f["kind"] == "category"]
        return cls(
            {f["name"]: f["kind"] for f in features},
            {f["name"]: tuple(f["categories"]) for f in category_features},
            frozenset(f["name"] for f in category_features if f["pooled"]),
            {f["name"]: TextEncoder.from_json(f["text"]) for f in features if f["kind"] == "text"},
        )


def _refuse_missing(frame: pl.DataFrame, kinds: Mapping[str, str]) -> None:
    columns = dict.fromkeys(frame.columns)
    for name in kinds:
        if name not in columns:
            raise DataRefused(
                f"feature {name!r} is not among the {len(columns)} columns given",
                nearest(name, columns),
            )
