"""Stage train: the best trials' models, weighted, fitted on train and validation, and bundled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import mlops_cli
from mlops_cli.data.atomic_files import read_json
from mlops_cli.layout import TIME
from mlops_cli.metrics.catalog import Metric, lookup
from mlops_cli.metrics.threshold import best_threshold
from mlops_cli.models import baselines
from mlops_cli.models.bundle import Bundle, Member, save
from mlops_cli.models.calibration import Calibrator, fit_calibrator
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES
from mlops_cli.models.labels import LabelCodec
from mlops_cli.params.modelling import Ensemble
from mlops_cli.reporting import Summary, Table
from mlops_cli.training.dataset import TrainingData, load_training_data
from mlops_cli.training.model_selection import LINEAR, seed_copies, select_ensemble
from mlops_cli.training.objective import FinalFit
from mlops_cli.training.search.search_space import Candidate
from mlops_cli.training.search.trial_artifacts import load_fold_models, read_predictions
from mlops_cli.training.time_budget import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.catalog import Floats
    from mlops_cli.models.families import FittedModel
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress
    from mlops_cli.training.judge import CvScorer

__all__ = ["run"]

_ROWS_TO_COMPARE = 500
_SHRUNK = (0.75, 0.5, 0.25, 0.0)


@dataclass(frozen=True)
class _Choice:
    """Which contenders, with which weights, and what the rows that decide say of them together."""

    numbers: tuple[int, ...]
    contenders: tuple[dict[str, Any], ...]
    weights: tuple[float, ...]
    score: float
    calibrator: Calibrator | None
    threshold: float | None


@dataclass(frozen=True)
class _Case:
    """What tune found, and the rows that may teach."""

    params: Params
    found: dict[str, Any]
    plan: SearchPlan
    metric: Metric
    known: TrainingData
    labels: LabelCodec
    judge: CvScorer
    tuning: Path


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Weigh tune's contenders, fit them on all known rows, and write the bundle.

    Raises
    ------
    NotFound
        If tune hasn't run.
    """
    from threadpoolctl import threadpool_limits

    found = read_json(layout.tuning / "best.json")
    metric = lookup(found["metric"], params.task.type)
    program = read_json(layout.program)
    plan = SearchPlan(found["folds"], found["rows"])
    known = load_training_data(params.split, params.train, layout)
    labels = LabelCodec.fit(known.targets["train"], params.task.type, params.task.positive)
    judge = known.judge(plan, labels, metric, params.project.seed)
    case = _Case(params, found, plan, metric, known, labels, judge, layout.tuning)
    progress.update("weighing the best trials")
    choice = _choose(case, read_predictions(layout.tuning / "predictions.npy"))
    encoder = Encoder.fit(known.both, known.kinds)
    with threadpool_limits(limits=1, user_api="blas"):
        members = _bounded(_fitted(case, choice, progress), params.train.ensemble)
    bundle = Bundle(
        members=tuple(members),
        encoder=encoder,
        labels=labels,
        task=params.task.type,
        threshold=choice.threshold,
        calibrator=choice.calibrator,
        program=program,
        signature=_signature(known.both, encoder, labels),
        facts=_facts(case, choice),
    )
    save(bundle, layout.fitted)
    return _summary(case, choice, members)


def _choose(case: _Case, predictions: npt.NDArray[np.float32]) -> _Choice:
    """Weights by greedy selection, then what to make of the weighted mean."""
    params, contenders = case.params, case.found["contenders"]
    families = [c["family"] for c in contenders]
    bounds, most = params.train.ensemble, case.found["members"]
    weights = select_ensemble(
        families,
        list(predictions),
        case.judge,
        case.plan,
        bounds,
        most,
        seed=params.project.seed,
    )
    mean = np.zeros(predictions.shape[1:])
    for number, weight in weights.items():
        mean += weight * predictions[number]
    calibrator = None
    if params.train.calibrate:
        # A validation split that follows in time is one season: its level isn't that of the next.
        shifts = params.split.strategy != "time"
        calibrator = fit_calibrator(case.judge.y, mean, seed=params.project.seed, shifts=shifts)
    calibrator = _guarded(case, mean, calibrator)
    if calibrator is not None:
        mean = calibrator(mean)
    threshold = None
    if params.task.type == "binary":
        threshold = best_threshold(case.judge.y, mean[:, 1], params.task.cost)
    return _Choice(
        tuple(weights),
        tuple(contenders[i] for i in weights),
        tuple(weights.values()),
        case.judge(mean),
        calibrator,
        threshold,
    )


def _guarded(case: _Case, mean: Floats, calibrator: Calibrator | None) -> Calibrator | None:
    """The calibrator, or one that shrinks towards a constant where that is better."""
    y = case.labels.encode(case.known.targets["train"])
    classes = len(case.labels.classes)
    constant = baselines.constant(y, classes, case.metric.name, len(mean))
    bent = mean if calibrator is None else calibrator(mean)
    if case.judge.gain(bent) >= case.judge.gain(constant):
        return calibrator
    shrunk = [_shrinking(constant, power, classes) for power in _SHRUNK]
    return max(shrunk, key=lambda each: case.judge.gain(each(mean)))


def _shrinking(constant: Floats, power: float, classes: int) -> Calibrator:
    if classes:
        return Calibrator("prior", {"power": power, "shares": constant[0].tolist()})
    away = (1.0 - power) * float(constant[0])
    return Calibrator("line", {"slope": power, "intercept": away})


def _fitted(case: _Case, choice: _Choice, progress: Progress) -> list[Member]:
    """The members: several models each where rows are few and fits are unsteady."""
    params, known = case.params, case.known
    problem = known.all_of(
        case.plan,
        case.labels,
        case.metric,
        seed=params.project.seed,
        patience=params.train.early_stopping,
    )
    refits = [
        FinalFit(
            Candidate(c["family"], c["settings"]),
            c["iterations"],
            seed_copies(c["family"], case.plan, params.train.ensemble),
        )
        for c in choice.contenders
    ]
    made: dict[int, list[FittedModel]] = {}
    for i, (number, refit) in enumerate(zip(choice.numbers, refits, strict=True)):
        if refit.copies is None:
            folder, family = case.tuning / "fits" / str(number), refit.candidate.family
            found = load_fold_models(folder, family, len(problem.folds))
            made |= {} if found is None else {i: found}
    missing = [i for i in range(len(refits)) if i not in made]

    def done(number: int) -> None:
        progress.update(f"fitting on {len(known.both):,} rows", number, len(missing))

    done(0)
    made |= dict(zip(missing, problem.refit([refits[i] for i in missing], done), strict=True))
    return [
        member
        for i, (refit, weight) in enumerate(zip(refits, choice.weights, strict=True))
        for member in _members(refit, made[i], weight, problem.X[:_ROWS_TO_COMPARE])
    ]


def _members(
    refit: FinalFit, fits: Sequence[FittedModel], weight: float, X: Floats
) -> list[Member]:
    """One for each model; models that predict the same, as nothing in them is drawn, are one."""
    distinct = list({fitted.predict(X).tobytes(): fitted for fitted in fits}.values())
    family, settings = refit.candidate.family, refit.candidate.settings
    each = weight / len(distinct)
    return [Member(family, f, each, settings, f.iterations) for f in distinct]


def _bounded(members: list[Member], bounds: Ensemble | bool) -> list[Member]:
    """Without the lightest members, as long as the files are too large; the last ends earlier."""
    if not isinstance(bounds, Ensemble):
        return members
    most = bounds.megabytes * 1e6
    sizes = [sum(map(len, m.fitted.to_files().values())) for m in members]
    order = sorted(range(len(members)), key=lambda i: (-members[i].weight, i))
    while len(order) > 1 and sum(sizes[i] for i in order) > most:
        order.pop()
    kept = [members[i] for i in sorted(order)]
    if sizes[order[0]] > most:
        fitted = FAMILIES[kept[0].family].shortened(kept[0].fitted, most / sizes[order[0]])
        kept = [replace(kept[0], fitted=fitted, iterations=fitted.iterations)]
    total = sum(m.weight for m in kept)
    return [replace(m, weight=round(m.weight / total, 9)) for m in kept]


def _signature(frame: pl.DataFrame, encoder: Encoder, labels: LabelCodec) -> dict[str, Any]:
    """What goes in (kind, type, and categories or range as trained on) and what comes out."""
    inputs: dict[str, Any] = {}
    for name, kind in encoder.kinds.items():
        column = frame[name]
        entry: dict[str, Any] = {"kind": kind, "type": str(column.dtype)}
        if kind == "category":
            entry["categories"] = list(encoder.categories[name])
        elif kind == "number":
            values = column.cast(pl.Float64)
            values = values.filter(values.is_finite())
            entry |= {"min": values.min(), "max": values.max()}
        entry["missing"] = round(column.null_count() / len(column), 6)
        inputs[name] = entry
    output = {"type": labels.type}
    if labels.classes:
        output |= {"classes": list(labels.classes)}  # type: ignore[dict-item]
    return {"inputs": inputs, "output": output}


def _facts(case: _Case, choice: _Choice) -> dict[str, Any]:
    both, window = case.known.both, None
    if TIME in both.columns:
        times = both[TIME].drop_nulls()
        window = [t.isoformat() for t in (times.min(), times.max())] if len(times) else None  # type: ignore[union-attr]
    libraries = ("numpy", "polars", "scikit-learn", "lightgbm", "skops")
    first = choice.contenders[0]
    return {
        "project": case.params.project.name,
        "family": first["family"],
        "settings": first["settings"],
        "iterations": first["iterations"],
        "seed": case.params.project.seed,
        "rows": case.known.rows,
        "features": len(case.known.kinds),
        "window": window,
        "validation": {"metric": case.metric.name, "score": round(choice.score, 6)},
        "versions": {"mlops-cli": mlops_cli.__version__, **{n: version(n) for n in libraries}},
    }


def _summary(case: _Case, choice: _Choice, members: Sequence[Member]) -> Summary:
    rows = sum(case.known.rows.values())
    families = dict.fromkeys(c["family"] for c in choice.contenders)
    facts: dict[str, Any] = {
        "family": choice.contenders[0]["family"],
        "members": len(members),
        "iterations": choice.contenders[0]["iterations"],
        "rows": rows,
        "metric": case.metric.name,
        "validation_score": round(choice.score, 6),
        "calibrator": choice.calibrator and choice.calibrator.kind,
    }
    if choice.threshold is not None:
        facts["threshold"] = round(choice.threshold, 6)
    made = [
        (c["trial"] + 1, c["family"], f"{w:.2f}", f"{c['score']:.4f}", c["iterations"] or "")
        for c, w in zip(choice.contenders, choice.weights, strict=True)
    ]
    judged = "cross-validated" if case.plan.crossed else "validation"
    columns = ("trial", "family", "weight", case.metric.name, "iterations")
    return Summary(
        headline=f"{' + '.join(families)} fitted on {rows:,} rows; {judged} "
        f"{case.metric.name} {choice.score:.4f}",
        tables=(Table("Members", columns, tuple(made)),),
        warnings=_simpler(case, families),
        facts=facts,
    )


def _simpler(case: _Case, families: Collection[str]) -> tuple[str, ...]:
    """Why the model is linear where the search had another one before it."""
    best = case.found["contenders"][0]["family"]
    if best == LINEAR or {*families} != {LINEAR}:
        return ()
    gained = f"what {best} or several models gain over it is within a standard error"
    return (f"the model is linear: {gained}",)
