"""Data sets to draw references and windows from, for the false alarms and the injected faults.

A world is a population of rows. References and windows are drawn from it with replacement, so
that both are independent rows of the same distribution, however many are asked for.
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
class World:
    """A population, and a model of it.

    Parameters
    ----------
    rows
        Features and ``_target``, and half of them unseen by the model.
    kinds
        Feature -> number, boolean or category.
    task, classes
        binary, multiclass or regression; the labels in order.
    model
        A LightGBM of the other half.
    """

    name: str
    rows: pl.DataFrame
    kinds: dict[str, str]
    task: str
    classes: tuple[str, ...]
    model: Any

    def draw(self, rows: int, rng: np.random.Generator) -> pl.DataFrame:
        """Independent rows."""
        return self.rows[rng.integers(0, self.rows.height, rows)]

    def predict(self, frame: pl.DataFrame) -> np.ndarray:
        """What the model says, as ``Bundle.predict`` gives it."""
        found = np.asarray(self.model.predict(matrix(frame, self.kinds), num_threads=1))
        return np.column_stack([1 - found, found]) if self.task == "binary" else found

    def reference(self, rows: int, rng: np.random.Generator) -> Reference:
        """The profile of so many rows."""
        known = self.draw(rows, rng)
        outputs = output_frame(self.predict(self.draw(rows, rng)), self.classes)
        return Reference.from_rows(known, self.kinds, known[TARGET], outputs, self.task, seed=1)

    def window(self, reference: Reference, frame: pl.DataFrame) -> dict[str, Any]:
        """The profiles of a window, as ``compare`` takes them."""
        return {
            "inputs": reference.inputs.profile_frame(frame),
            "outputs": reference.outputs.profile_frame(
                output_frame(self.predict(frame), self.classes)
            ),
            "labels": reference.labels.profile_frame(label_frame(frame[TARGET], self.task)),
        }


@cache
def world(name: str) -> World:
    """A data set by its name."""
    if name == "flights":
        layout = Layout(ROOT)
        kinds = feature_kinds(read_json(layout.program))
        splits = [pl.read_parquet(layout.split(s)) for s in ("train", "validation")]
        rows = pl.concat(splits).select([*kinds, TARGET]).sample(40_000, seed=1)
        return _made(name, rows, kinds, "binary")
    if name == "shop":
        return _made(name, _shop(40_000), dict(SHOP), "binary")
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")(as_frame=True)
    rows = pl.from_pandas(found.data).with_columns(pl.Series(TARGET, found.target.to_numpy()))
    kinds = {c: "number" for c in rows.columns if c != TARGET}
    return _made(name, rows, kinds, SKLEARN[name])


SHOP = {
    "price": "number", "weight": "number", "items": "number", "age": "number", "rating": "number",
    "country": "category", "device": "category", "brand": "category",
    "member": "boolean", "gift": "boolean",
}  # fmt: skip


def _shop(rows: int) -> pl.DataFrame:
    """Orders with skewed numbers, many brands, missing values, and columns that go together."""
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


def matrix(frame: pl.DataFrame, kinds: dict[str, str]) -> np.ndarray:
    """Numbers as they are, names by a hash that is the same everywhere."""
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


def _made(name: str, rows: pl.DataFrame, kinds: dict[str, str], task: str) -> World:
    import lightgbm

    rng = np.random.default_rng(3)
    half = rng.permutation(rows.height)
    known, rest = rows[half[::2]], rows[half[1::2]]
    target = known[TARGET]
    classes: tuple[str, ...] = ()
    y = target.cast(pl.Float64).to_numpy() if task == "regression" else None
    if y is None:
        text = target.cast(pl.String)
        classes = tuple(sorted(text.unique()))
        y = text.replace_strict(list(classes), list(range(len(classes)))).to_numpy()
        rest = rest.with_columns(pl.col(TARGET).cast(pl.String))
    settings = {"objective": task, "num_leaves": 15, "num_threads": 1, "verbosity": -1, "seed": 1}
    settings |= {"num_class": len(classes)} if task == "multiclass" else {}
    data = lightgbm.Dataset(matrix(known, kinds), y, params={"verbosity": -1})
    return World(name, rest, kinds, task, classes, lightgbm.train(settings, data, _ROUNDS))
