"""Predictions of flights with bare LightGBM and Polars: what `mlops predict` is held against.

Written as a practitioner would who has the model's file and its lists of categories, and puts the
probabilities into memory. Raw flights get their features from plain_flights.py.

    python plain_booster.py features BUNDLE FILE
    python plain_booster.py raw BUNDLE FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import lightgbm
import numpy as np
import plain_flights
import polars as pl


def predict(bundle: Path, features: pl.DataFrame) -> np.ndarray:
    """Probabilities of a table of features."""
    columns = []
    for feature in json.loads((bundle / "encoder.json").read_text())["features"]:
        column = pl.col(feature["name"])
        if feature["kind"] == "category":
            kept = feature["categories"]
            other = len(kept) if feature["pooled"] else None
            codes = column.replace_strict(kept, range(len(kept)), default=other)
            column = pl.when(column.is_not_null()).then(codes)
        columns.append(column.cast(pl.Float64).alias(feature["name"]))
    matrix = features.select(columns).to_numpy()
    booster = lightgbm.Booster(model_file=next(bundle.glob("members/0-lightgbm/model.txt")))
    return booster.predict(np.ascontiguousarray(matrix))


if __name__ == "__main__":
    what, folder, given = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what == "features":
        table = pl.read_parquet(given)
    else:
        names = ("flights", "weather", "planes", "airports")
        table = plain_flights.features(*(pl.read_parquet(given / f"{n}.parquet") for n in names))
    found = predict(folder, table)
    print(f"{len(found)} {found.mean():.6f}")
