"""A small project after the split stage, for tests of tune and train."""

import json

import numpy as np
import polars as pl

from mlops_cli.layout import Layout
from mlops_cli.params import Params

BUNDLED = {
    "binary": "load_breast_cancer",
    "multiclass": "load_wine",
    "regression": "load_diabetes",
}


def make_params(task, **sections):
    """Make parameters with a task and further sections."""
    return Params.model_validate(
        {
            "project": {"name": "small", "seed": 5},
            "task": task if isinstance(task, dict) else {"type": task},
            "ingest": {"sources": {"table": {"uri": "table.csv"}}},
            "featurize": {"base": "table", "target": "y", "features": {"x": "x"}},
            "register": {"name": "small"},
            **sections,
        }
    )


def make_splits(root, kind):
    """Split a data set of scikit-learn, with a category and missing values added."""
    from sklearn import datasets

    X, y = getattr(datasets, BUNDLED[kind])(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X))
    X, y = X[order][:, :8], y[order]
    frame = pl.DataFrame(X, schema=[f"f{i}" for i in range(X.shape[1])]).with_columns(
        pl.Series("group", rng.choice(["a", "b", "c"], len(X))),
        pl.Series("flag", rng.random(len(X)) < 0.5),
        pl.Series("_target", y.astype(float) if kind == "regression" else y.astype(str)),
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("_row"),
        pl.Series("_time", np.arange(len(X)) * 3_600_000_000).cast(pl.Datetime("us", "UTC")),
        f0=pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.col("f0")),
    )
    layout = Layout(root)
    layout.splits.mkdir(parents=True)
    cut = len(frame) * 2 // 3
    frame[:cut].write_parquet(layout.split("train"))
    frame[cut:].write_parquet(layout.split("validation"))
    kinds = {f"f{i}": "number" for i in range(X.shape[1])}
    kinds |= {"group": "category", "flag": "boolean"}
    layout.program.write_text(json.dumps({"features": kinds, "rules": "opaque"}))
    return layout
