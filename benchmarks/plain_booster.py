"""Predictions of flights with bare LightGBM and Polars, the baseline of `mlops predict`.

A hand-written script would look like this: it has the model's file and its lists of categories, and
keeps the probabilities in memory. plain_flights.py computes the features of raw flights.

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
    """Predict probabilities from a table of features."""
    columns = []
    for feature in json.loads((bundle / "encoder.json").read_text())["features"]:
        column = pl.col(feature["name"])
        if feature["kind"] == "category":
            categories = feature["categories"]
            default_code = len(categories) if feature["pooled"] else None
            codes = column.replace_strict(categories, range(len(categories)), default=default_code)
            column = pl.when(column.is_not_null()).then(codes)
        columns.append(column.cast(pl.Float64).alias(feature["name"]))
    matrix = features.select(columns).to_numpy()
    booster = lightgbm.Booster(model_file=next(bundle.glob("members/0-lightgbm/model.txt")))
    return booster.predict(np.ascontiguousarray(matrix))


if __name__ == "__main__":
    input_kind, bundle_folder, source = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if input_kind == "features":
        table = pl.read_parquet(source)
    else:
        names = ("flights", "weather", "planes", "airports")
        table = plain_flights.features(*(pl.read_parquet(source / f"{n}.parquet") for n in names))
    predictions = predict(bundle_folder, table)
    print(f"{len(predictions)} {predictions.mean():.6f}")
