"""Small projects whose model is already trained, for what comes after training."""

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


def frame(task):
    """A bundled data set with a time, a kept column, missing values and a category."""
    found = getattr(sklearn.datasets, f"load_{DATA[task]}")()
    rows = np.random.default_rng(0).permutation(len(found.target))
    table = pl.DataFrame(
        {f"x{i}": found.data[rows, i] for i in range(6)}
        | {TARGET: found.target[rows], ROW: rows.astype(np.uint32)}
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


def params(task, /, **sections):
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


def trained(root, task, family="lightgbm", table=None, rounds=20):
    """Write splits, what is known of them, and a fitted bundle below ``root``.

    The last 30% of the rows are the test split.
    """
    layout = Layout(root)
    table = frame(task) if table is None else table
    cuts = [0, len(table) // 2, len(table) * 7 // 10, len(table)]
    names = ("train", "validation", "test")
    for name, low, high in zip(names, cuts, cuts[1:], strict=False):
        parquet.write(table[low:high], layout.split(name))
    known = table[: cuts[2]]
    labels = LabelCodec.fit(known[TARGET], task)
    encoder = Encoder.fit(known, {f"x{i}": "number" for i in range(6)} | {"kind": "category"})
    chosen = FAMILIES[family]
    settings = {name: setting.default for name, setting in chosen.space.items()}
    fitted = chosen.fit(
        FitRequest(
            encoder.transform(known),
            labels.encode(known[TARGET]),
            TaskInfo(task, len(labels.classes), encoder.categorical),
            settings,
            seed=0,
            rounds=rounds if chosen.rounds else None,
        )
    )
    threshold = 0.4 if task == "binary" else None
    members = (bundle.Member(family, fitted, settings=settings, iterations=fitted.iterations),)
    facts = {
        "project": "p",
        "window": _window(known),
        "rows": {"train": cuts[1], "validation": cuts[2] - cuts[1]},
        "seed": 7,
        "versions": {"mlops-cli": "0.1.0"},
    }
    program = {
        "features": encoder.kinds,
        "rules": {"base": "t", "target": "y > 0"},
        "sources": {"t": {"schema": {"y": "Float64", "day": "Date"}, "time": None, "known_at": {}}},
    }
    made = bundle.Bundle(members, encoder, labels, task, threshold, program=program, facts=facts)
    bundle.save(made, layout.fitted)
    _reports(layout, dict(zip(names, np.diff(cuts).tolist(), strict=True)))
    return layout


def _window(known):
    if TIME not in known.columns:
        return None
    return [known[TIME].min().isoformat(), known[TIME].max().isoformat()]


def _reports(layout, rows):
    """What the stages before training say of the data."""
    source = {"uri": "t.csv", "sha256": "0" * 64, "rows": sum(rows.values())}
    source |= {"time_column": None, "time_min": None, "time_max": None}
    write_json(layout.ingest_manifest, {"until": None, "sources": {"t": source}})
    splits = {name: {"rows": n, "target": {"a": 0.25, "b": 0.75}} for name, n in rows.items()}
    write_json(layout.split_report, {"strategy": "random", "splits": splits})
    fate = {"read": 600, "removed by clean": 0, "unlabelled": {"lost": 3}, "labelled": 597}
    write_json(layout.feature_report, {"rows": fate})
