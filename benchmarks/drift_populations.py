"""Populations from which the drift benchmarks draw references and windows.

Rows are drawn with replacement, so references and windows of any size are independent samples of
one distribution.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlops_cli.data.atomic_files import read_json
from mlops_cli.drift.reference import Reference, label_frame, output_frame
from mlops_cli.layout import TARGET, Layout
from mlops_cli.splitting.reader import feature_kinds

ROOT = Path(__file__).resolve().parent.parent
SKLEARN = {
    "breast_cancer": "binary",
    "diabetes": "regression",
    "wine": "multiclass",
    "digits": "multiclass",
}
NAMES = ("flights", *SKLEARN, "shop")
_ROUNDS = 40


@dataclass(frozen=True)
class Population:
    """A population of rows, and a model.

    Parameters
    ----------
    rows
        Features and ``_target`` of one half of the data set, which the model hasn't seen.
    kinds
        Feature -> number, boolean or category.
    task, classes
        binary, multiclass or regression; the labels in order.
    model
        A LightGBM model of the other half.
    """

    name: str
    rows: pl.DataFrame
    kinds: dict[str, str]
    task: str
    classes: tuple[str, ...]
    model: Any

    def draw(self, rows: int, rng: np.random.Generator) -> pl.DataFrame:
        """Draw independent rows."""
        return self.rows[rng.integers(0, self.rows.height, rows)]

    def predict(self, frame: pl.DataFrame) -> np.ndarray:
        """Predict in the form of ``Bundle.predict``."""
        predictions = np.asarray(
            self.model.predict(numeric_matrix(frame, self.kinds), num_threads=1)
        )
        return (
            np.column_stack([1 - predictions, predictions])
            if self.task == "binary"
            else predictions
        )

    def reference(self, rows: int, rng: np.random.Generator) -> Reference:
        """Profile of ``rows`` drawn rows."""
        reference_rows = self.draw(rows, rng)
        outputs = output_frame(self.predict(self.draw(rows, rng)), self.classes)
        return Reference.from_rows(
            reference_rows, self.kinds, reference_rows[TARGET], outputs, self.task, seed=1
        )

    def window(self, reference: Reference, frame: pl.DataFrame) -> dict[str, Any]:
        """Profiles of a window, as keyword arguments of ``compare``."""
        return {
            "inputs": reference.inputs.profile_frame(frame),
            "outputs": reference.outputs.profile_frame(
                output_frame(self.predict(frame), self.classes)
            ),
            "labels": reference.labels.profile_frame(label_frame(frame[TARGET], self.task)),
        }


@cache
def load_population(name: str) -> Population:
    """Load a population by its name."""
    if name == "flights":
        layout = Layout(ROOT)
        kinds = feature_kinds(read_json(layout.program))
        splits = [pl.read_parquet(layout.split(s)) for s in ("train", "validation")]
        rows = pl.concat(splits).select([*kinds, TARGET]).sample(40_000, seed=1)
        return _fit_population(name, rows, kinds, "binary")
    if name == "shop":
        return _fit_population(name, _shop(40_000), dict(SHOP), "binary")
    from sklearn import datasets

    data_set = getattr(datasets, f"load_{name}")(as_frame=True)
    rows = pl.from_pandas(data_set.data).with_columns(pl.Series(TARGET, data_set.target.to_numpy()))
    kinds = {c: "number" for c in rows.columns if c != TARGET}
    return _fit_population(name, rows, kinds, SKLEARN[name])


SHOP = {
    "price": "number", "weight": "number", "items": "number", "age": "number", "rating": "number",
    "country": "category", "device": "category", "brand": "category",
    "member": "boolean", "gift": "boolean",
}  # fmt: skip


def _shop(rows: int) -> pl.DataFrame:
    """Orders with skewed numbers, many brands, missing values, and dependent columns."""
    rng = np.random.default_rng(8)
    country = rng.choice(["at", "de", "fr", "it", "no"], rows, p=[0.3, 0.3, 0.2, 0.15, 0.05])
    level = np.select([country == "at", country == "de", country == "no"], [1.0, 1.1, 1.9], 0.9)
    age = rng.normal(42, 12, rows).clip(18, 95).round()
    price = rng.lognormal(3, 0.8, rows) * level
    member = rng.random(rows) < np.where(age > 45, 0.6, 0.2)
    chance = 1 / (1 + np.exp(-(0.03 * (age - 42) + 1.2 * member - 0.015 * (price - 30))))
    return pl.DataFrame(
        {
            "price": price,
            "weight": price * 0.05 + rng.gamma(2, 1, rows),
            "items": rng.poisson(2, rows) + 1,
            "age": age,
            "rating": np.where(rng.random(rows) < 0.3, np.nan, rng.integers(1, 6, rows)),
            "country": country,
            "device": rng.choice(["app", "phone", "desktop"], rows, p=[0.45, 0.35, 0.2]),
            "brand": [f"brand {b}" for b in (rng.random(rows) ** 3 * 400).astype(int)],
            "member": member,
            "gift": rng.random(rows) < 0.1,
            TARGET: rng.random(rows) < chance,
        }
    )


def numeric_matrix(frame: pl.DataFrame, kinds: dict[str, str]) -> np.ndarray:
    """Convert features to numbers; categories become a hash that is the same in each process."""
    columns = []
    for name, kind in kinds.items():
        if name not in frame.columns:
            columns.append(np.full(frame.height, np.nan))
        elif kind == "category":
            text = frame[name].cast(pl.String)
            codes = {t: float(zlib.crc32(t.encode()) % 997) for t in text.drop_nulls().unique()}
            numbers = text.replace_strict(codes, default=None, return_dtype=pl.Float64)
            columns.append(numbers.fill_null(np.nan).to_numpy())
        else:
            numbers = frame[name].cast(pl.Float64, strict=False)
            columns.append(numbers.fill_null(np.nan).to_numpy())
    return np.column_stack(columns)


def _fit_population(name: str, rows: pl.DataFrame, kinds: dict[str, str], task: str) -> Population:
    import lightgbm

    rng = np.random.default_rng(3)
    order = rng.permutation(rows.height)
    training_rows, other_rows = rows[order[::2]], rows[order[1::2]]
    target = training_rows[TARGET]
    classes: tuple[str, ...] = ()
    y = target.cast(pl.Float64).to_numpy() if task == "regression" else None
    if y is None:
        text = target.cast(pl.String)
        classes = tuple(sorted(text.unique()))
        y = text.replace_strict(list(classes), list(range(len(classes)))).to_numpy()
        other_rows = other_rows.with_columns(pl.col(TARGET).cast(pl.String))
    settings = {"objective": task, "num_leaves": 15, "num_threads": 1, "verbosity": -1, "seed": 1}
    settings |= {"num_class": len(classes)} if task == "multiclass" else {}
    data = lightgbm.Dataset(numeric_matrix(training_rows, kinds), y, params={"verbosity": -1})
    return Population(
        name, other_rows, kinds, task, classes, lightgbm.train(settings, data, _ROUNDS)
    )
