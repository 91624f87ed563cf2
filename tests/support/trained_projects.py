"""Small projects with a trained model, for tests of the later stages."""

import datetime as dt

import numpy as np
import polars as pl
import sklearn.datasets

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import write_json
from mlops_cli.layout import ROW, TARGET, TIME, Layout
from mlops_cli.models import bundle
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.params import Params

DATA = {"binary": "breast_cancer", "multiclass": "wine", "regression": "diabetes"}
LABELS = {"binary": ["malignant", "benign"], "multiclass": ["red", "rosé", "white"]}


def make_table(task):
    """Make a table from a data set of scikit-learn, with a time, a kept column and a category."""
    data_set = getattr(sklearn.datasets, f"load_{DATA[task]}")()
    rows = np.random.default_rng(0).permutation(len(data_set.target))
    table = pl.DataFrame(
        {f"x{i}": data_set.data[rows, i] for i in range(6)}
        | {TARGET: data_set.target[rows], ROW: rows.astype(np.uint32)}
    )
    if task in LABELS:
        table = table.with_columns(pl.col(TARGET).replace_strict(dict(enumerate(LABELS[task]))))
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return table.with_columns(
        pl.Series(TIME, [start + dt.timedelta(hours=i) for i in range(len(rows))]),
        pl.Series("site", np.where(rows % 3 == 0, "north", "south")),
        pl.Series("kind", np.where(rows % 4 == 0, "b", "a")),
        pl.when(pl.col(ROW) % 11 != 0).then("x1").alias("x1"),
    )


def make_params(task, /, **sections):
    return Params.model_validate(
        {
            "project": {"name": "p", "seed": 7},
            "task": {"type": task},
            "ingest": {"sources": {"t": {"uri": "t.csv"}}},
            "featurize": {"base": "t", "target": "y"},
            "evaluate": {"resamples": 40, "slices": ["site", "x0"], "slice_rows": 20},
            "register": {"name": "model"},
        }
        | sections
    )


def train_project(root, task, family="lightgbm", table=None, rounds=20):
    """Write splits, reports and a fitted bundle below ``root``.

    The last 30% of the rows are the test split.
    """
    layout = Layout(root)
    table = make_table(task) if table is None else table
    cuts = [0, len(table) // 2, len(table) * 7 // 10, len(table)]
    names = ("train", "validation", "test")
    for name, low, high in zip(names, cuts, cuts[1:], strict=False):
        parquet.write(table[low:high], layout.split(name))
    fitted_rows = table[: cuts[2]]
    labels = LabelCodec.fit(fitted_rows[TARGET], task)
    encoder = Encoder.fit(fitted_rows, {f"x{i}": "number" for i in range(6)} | {"kind": "category"})
    model_family = FAMILIES[family]
    settings = {name: setting.default for name, setting in model_family.space.items()}
    fitted = model_family.fit(
        FitRequest(
            encoder.transform(fitted_rows),
            labels.encode(fitted_rows[TARGET]),
            TaskInfo(task, len(labels.classes), encoder.categorical),
            settings,
            seed=0,
            rounds=rounds if model_family.rounds else None,
        )
    )
    threshold = 0.4 if task == "binary" else None
    members = (bundle.Member(family, fitted, settings=settings, iterations=fitted.iterations),)
    facts = {
        "project": "p",
        "window": _window(fitted_rows),
        "rows": {"train": cuts[1], "validation": cuts[2] - cuts[1]},
        "seed": 7,
        "versions": {"mlops-cli": "0.1.0"},
    }
    program = {
        "features": encoder.kinds,
        "rules": {"base": "t", "target": "y > 0"},
        "sources": {"t": {"schema": {"y": "Float64", "day": "Date"}, "time": None, "known_at": {}}},
    }
    model_bundle = bundle.Bundle(
        members, encoder, labels, task, threshold, program=program, facts=facts
    )
    bundle.save(model_bundle, layout.fitted)
    _reports(layout, dict(zip(names, np.diff(cuts).tolist(), strict=True)))
    return layout


def _window(fitted_rows):
    if TIME not in fitted_rows.columns:
        return None
    return [fitted_rows[TIME].min().isoformat(), fitted_rows[TIME].max().isoformat()]


def _reports(layout, rows):
    """Write the reports of the earlier stages."""
    source = {"uri": "t.csv", "sha256": "0" * 64, "rows": sum(rows.values())}
    source |= {"time_column": None, "time_min": None, "time_max": None}
    write_json(layout.ingest_manifest, {"until": None, "sources": {"t": source}})
    splits = {name: {"rows": n, "target": {"a": 0.25, "b": 0.75}} for name, n in rows.items()}
    write_json(layout.split_report, {"strategy": "random", "splits": splits})
    fate = {"read": 600, "removed by clean": 0, "unlabelled": {"lost": 3}, "labelled": 597}
    write_json(layout.feature_report, {"rows": fate})
