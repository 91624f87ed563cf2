"""Stage train: select the ensemble, fit it on train and validation, and write the bundle."""

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
from mlops_cli.params.train import Ensemble
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
    from mlops_cli.training.cv_scorer import CvScorer

__all__ = ["run"]

_ROWS_TO_COMPARE = 500
_SHRINKAGE_POWERS = (0.75, 0.5, 0.25, 0.0)


@dataclass(frozen=True)
class _Selection:
    """The selected ensemble, with its validation score, calibrator and threshold.

    Attributes
    ----------
    numbers, candidates, weights
        Index, entry in tune's ``best.json`` and weight of each selected candidate.
    score
        Validation score of the calibrated ensemble.
    calibrator
        Calibrator of the weighted mean; None: not calibrated.
    threshold
        Probability from which on a row is positive; None unless the task is binary.
    """

    numbers: tuple[int, ...]
    candidates: tuple[dict[str, Any], ...]
    weights: tuple[float, ...]
    score: float
    calibrator: Calibrator | None
    threshold: float | None


@dataclass(frozen=True)
class _Context:
    """Settings, tune's result, and the train and validation rows.

    Attributes
    ----------
    tune_result
        Content of tune's ``best.json``.
    plan
        Folds and rows of the search.
    data
        Train and validation rows.
    scorer
        Scorer of predictions for the validation rows.
    tune_folder
        Folder of tune's output.
    """

    params: Params
    tune_result: dict[str, Any]
    plan: SearchPlan
    metric: Metric
    data: TrainingData
    labels: LabelCodec
    scorer: CvScorer
    tune_folder: Path


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Select the ensemble, fit it on all train and validation rows, and write the bundle.

    Raises
    ------
    NotFound
        If tune hasn't run.
    """
    from threadpoolctl import threadpool_limits

    tune_result = read_json(layout.tuning / "best.json")
    metric = lookup(tune_result["metric"], params.task.type)
    program = read_json(layout.program)
    plan = SearchPlan(tune_result["folds"], tune_result["rows"])
    data = load_training_data(params.split, params.train, layout)
    labels = LabelCodec.fit(data.targets["train"], params.task.type, params.task.positive)
    scorer = data.scorer(plan, labels, metric, params.project.seed)
    context = _Context(params, tune_result, plan, metric, data, labels, scorer, layout.tuning)
    progress.update("weighing the best trials")
    selection = _select(context, read_predictions(layout.tuning / "predictions.npy"))
    encoder = Encoder.fit(data.all_rows, data.kinds)
    with threadpool_limits(limits=1, user_api="blas"):
        members = _limit_size(_fit_members(context, selection, progress), params.train.ensemble)
    bundle = Bundle(
        members=tuple(members),
        encoder=encoder,
        labels=labels,
        task=params.task.type,
        threshold=selection.threshold,
        calibrator=selection.calibrator,
        program=program,
        signature=_signature(data.all_rows, encoder, labels),
        facts=_facts(context, selection),
    )
    save(bundle, layout.fitted)
    return _summary(context, selection, members)


def _select(context: _Context, predictions: npt.NDArray[np.float32]) -> _Selection:
    """Select the ensemble, then fit the calibrator and threshold of its weighted mean."""
    params, candidates = context.params, context.tune_result["contenders"]
    families = [c["family"] for c in candidates]
    ensemble, max_members = params.train.ensemble, context.tune_result["members"]
    weights = select_ensemble(
        families,
        list(predictions),
        context.scorer,
        context.plan,
        ensemble,
        max_members,
        seed=params.project.seed,
    )
    mean = np.zeros(predictions.shape[1:])
    for number, weight in weights.items():
        mean += weight * predictions[number]
    calibrator = None
    if params.train.calibrate:
        # With a time split, validation is one season only, whose level differs from the next.
        allow_shift = params.split.strategy != "time"
        calibrator = fit_calibrator(
            context.scorer.y, mean, seed=params.project.seed, allow_shift=allow_shift
        )
    calibrator = _guard_calibrator(context, mean, calibrator)
    if calibrator is not None:
        mean = calibrator(mean)
    threshold = None
    if params.task.type == "binary":
        threshold = best_threshold(context.scorer.y, mean[:, 1], params.task.cost)
    return _Selection(
        tuple(weights),
        tuple(candidates[i] for i in weights),
        tuple(weights.values()),
        context.scorer(mean),
        calibrator,
        threshold,
    )


def _guard_calibrator(
    context: _Context, mean: Floats, calibrator: Calibrator | None
) -> Calibrator | None:
    """The calibrator, or one that shrinks towards a constant if the constant scores better."""
    y = context.labels.encode(context.data.targets["train"])
    classes = len(context.labels.classes)
    constant = baselines.constant(y, classes, context.metric.name, len(mean))
    calibrated = mean if calibrator is None else calibrator(mean)
    if context.scorer.gain(calibrated) >= context.scorer.gain(constant):
        return calibrator
    calibrators = [_shrinking_calibrator(constant, power, classes) for power in _SHRINKAGE_POWERS]
    return max(calibrators, key=lambda each: context.scorer.gain(each(mean)))


def _shrinking_calibrator(constant: Floats, power: float, classes: int) -> Calibrator:
    if classes:
        return Calibrator("prior", {"power": power, "shares": constant[0].tolist()})
    intercept = (1.0 - power) * float(constant[0])
    return Calibrator("line", {"slope": power, "intercept": intercept})


def _fit_members(context: _Context, selection: _Selection, progress: Progress) -> list[Member]:
    """Fit the members; with few rows each member has several models, as single fits vary."""
    params, data = context.params, context.data
    objective = data.final_objective(
        context.plan,
        context.labels,
        context.metric,
        seed=params.project.seed,
        patience=params.train.early_stopping,
    )
    refits = [
        FinalFit(
            Candidate(c["family"], c["settings"]),
            c["iterations"],
            seed_copies(c["family"], context.plan, params.train.ensemble),
        )
        for c in selection.candidates
    ]
    models: dict[int, list[FittedModel]] = {}
    for i, (number, refit) in enumerate(zip(selection.numbers, refits, strict=True)):
        if refit.copies is None:
            folder, family = context.tune_folder / "fits" / str(number), refit.candidate.family
            fold_models = load_fold_models(folder, family, len(objective.folds))
            models |= {} if fold_models is None else {i: fold_models}
    missing = [i for i in range(len(refits)) if i not in models]

    def done(number: int) -> None:
        progress.update(f"fitting on {len(data.all_rows):,} rows", number, len(missing))

    done(0)
    models |= dict(zip(missing, objective.refit([refits[i] for i in missing], done), strict=True))
    return [
        member
        for i, (refit, weight) in enumerate(zip(refits, selection.weights, strict=True))
        for member in _to_members(refit, models[i], weight, objective.X[:_ROWS_TO_COMPARE])
    ]


def _to_members(
    refit: FinalFit, fits: Sequence[FittedModel], weight: float, X: Floats
) -> list[Member]:
    """One member per model; models without randomness predict the same and become one member."""
    distinct = list({fitted.predict(X).tobytes(): fitted for fitted in fits}.values())
    family, settings = refit.candidate.family, refit.candidate.settings
    each = weight / len(distinct)
    return [Member(family, f, each, settings, f.iterations) for f in distinct]


def _limit_size(members: list[Member], ensemble: Ensemble | bool) -> list[Member]:
    """Drop members with the smallest weights, then shorten the last, until the files fit."""
    if not isinstance(ensemble, Ensemble):
        return members
    max_bytes = ensemble.megabytes * 1e6
    sizes = [sum(map(len, m.fitted.to_files().values())) for m in members]
    order = sorted(range(len(members)), key=lambda i: (-members[i].weight, i))
    while len(order) > 1 and sum(sizes[i] for i in order) > max_bytes:
        order.pop()
    selected = [members[i] for i in sorted(order)]
    if sizes[order[0]] > max_bytes:
        fitted = FAMILIES[selected[0].family].shorten(
            selected[0].fitted, max_bytes / sizes[order[0]]
        )
        selected = [replace(selected[0], fitted=fitted, iterations=fitted.iterations)]
    total = sum(m.weight for m in selected)
    return [replace(m, weight=round(m.weight / total, 9)) for m in selected]


def _signature(frame: pl.DataFrame, encoder: Encoder, labels: LabelCodec) -> dict[str, Any]:
    """Signature: kind, type, and categories or range of each input, and the output's classes."""
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


def _facts(context: _Context, selection: _Selection) -> dict[str, Any]:
    frame, window = context.data.all_rows, None
    if TIME in frame.columns:
        times = frame[TIME].drop_nulls()
        window = [t.isoformat() for t in (times.min(), times.max())] if len(times) else None  # type: ignore[union-attr]
    libraries = ("numpy", "polars", "scikit-learn", "lightgbm", "skops")
    first = selection.candidates[0]
    return {
        "project": context.params.project.name,
        "family": first["family"],
        "settings": first["settings"],
        "iterations": first["iterations"],
        "seed": context.params.project.seed,
        "rows": context.data.row_counts,
        "features": len(context.data.kinds),
        "window": window,
        "validation": {"metric": context.metric.name, "score": round(selection.score, 6)},
        "versions": {"mlops-cli": mlops_cli.__version__, **{n: version(n) for n in libraries}},
    }


def _summary(context: _Context, selection: _Selection, members: Sequence[Member]) -> Summary:
    rows = sum(context.data.row_counts.values())
    families = dict.fromkeys(c["family"] for c in selection.candidates)
    facts: dict[str, Any] = {
        "family": selection.candidates[0]["family"],
        "members": len(members),
        "iterations": selection.candidates[0]["iterations"],
        "rows": rows,
        "metric": context.metric.name,
        "validation_score": round(selection.score, 6),
        "calibrator": selection.calibrator and selection.calibrator.kind,
    }
    if selection.threshold is not None:
        facts["threshold"] = round(selection.threshold, 6)
    member_rows = [
        (c["trial"] + 1, c["family"], f"{w:.2f}", f"{c['score']:.4f}", c["iterations"] or "")
        for c, w in zip(selection.candidates, selection.weights, strict=True)
    ]
    validated = "cross-validated" if context.plan.cross_validated else "validation"
    columns = ("trial", "family", "weight", context.metric.name, "iterations")
    return Summary(
        headline=f"{' + '.join(families)} fitted on {rows:,} rows; {validated} "
        f"{context.metric.name} {selection.score:.4f}",
        tables=(Table("Members", columns, tuple(member_rows)),),
        warnings=_note_linear(context, families),
        facts=facts,
    )


def _note_linear(context: _Context, families: Collection[str]) -> tuple[str, ...]:
    """A note why the model is linear, if the search's best trial is of another family."""
    best = context.tune_result["contenders"][0]["family"]
    if best == LINEAR or {*families} != {LINEAR}:
        return ()
    reason = f"what {best} or several models gain over it is within a standard error"
    return (f"the model is linear: {reason}",)
