"""Stage train: fit the best settings on train plus validation, and write the model bundle."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl

import mlops_cli
from mlops_cli.core.encoding import Encoder
from mlops_cli.core.labels import LabelCodec
from mlops_cli.core.learners import FAMILIES, Watch
from mlops_cli.core.metrics import Metric, lookup
from mlops_cli.core.objectives import fit_weights, task_info
from mlops_cli.core.threshold import best_threshold
from mlops_cli.layout import TARGET, TIME
from mlops_cli.reporting import Summary
from mlops_cli.store.bundle import Bundle, Member, save
from mlops_cli.store.files import read_json
from mlops_cli.store.splits import feature_kinds, read_split

if TYPE_CHECKING:
    from mlops_cli.core.learners import Fitted
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["run"]

_MORE_ROUNDS = 2.5
"""With all rows a model may grow so many times more rounds than while searching."""


@dataclass(frozen=True)
class _Choice:
    """What tune chose, what the first fit says about it, and by which metric."""

    family: str
    settings: dict[str, Any]
    metric: Metric
    score: float = 0.0
    iterations: int | None = None
    threshold: float | None = None


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Find rounds and threshold with validation held out, then fit on both splits."""
    chosen = read_json(layout.tuning / "best.json")
    metric = lookup(chosen["metric"], params.task.type)
    choice = _Choice(chosen["family"], chosen["settings"], metric)
    program = read_json(layout.program)
    kinds = feature_kinds(program)
    weight = params.train.weight
    train = read_split(layout, "train", kinds, also=weight)
    validation = read_split(layout, "validation", kinds, also=weight)
    labels = LabelCodec.fit(train[TARGET], params.task.type, params.task.positive)
    progress.update(f"fitting {choice.family} on {len(train):,} rows", done=0, total=2)
    choice = _held_out(params, choice, labels, train, validation, kinds=kinds)
    both = pl.concat([train, validation])
    progress.update(f"fitting {choice.family} on {len(both):,} rows", done=1, total=2)
    encoder = Encoder.fit(both, kinds)
    fitted = _fit(params, choice, labels, encoder, both)
    member = Member(choice.family, fitted, settings=choice.settings, iterations=fitted.iterations)
    bundle = Bundle(
        members=(member,),
        encoder=encoder,
        labels=labels,
        task=params.task.type,
        threshold=choice.threshold,
        program=program,
        signature=_signature(both, encoder, labels),
        facts=_facts(params, choice, train, validation, both, len(kinds)),
    )
    save(bundle, layout.fitted)
    return _summary(choice, fitted, len(both))


def _held_out(
    params: Params,
    choice: _Choice,
    labels: LabelCodec,
    train: pl.DataFrame,
    validation: pl.DataFrame,
    *,
    kinds: dict[str, str],
) -> _Choice:
    """The choice with its number of rounds, score and threshold, from validation alone."""
    encoder = Encoder.fit(train, kinds)
    X = encoder.transform(validation)
    y = labels.encode(validation[TARGET], "the validation split")
    sign = 1.0 if choice.metric.maximise else -1.0
    weight = fit_weights(validation, params.train.weight)
    patience = params.train.early_stopping
    watch = Watch(X, lambda p: sign * choice.metric(y, p, weight), patience=patience)
    fitted = _fit(params, choice, labels, encoder, train, watch=watch)
    prediction = fitted.predict(X)
    threshold = None
    if params.task.type == "binary":
        threshold = best_threshold(y, prediction[:, 1], params.task.cost)
    score = float(choice.metric(y, prediction, weight))
    return _Choice(
        choice.family, choice.settings, choice.metric, score, fitted.iterations, threshold
    )


def _fit(
    params: Params,
    choice: _Choice,
    labels: LabelCodec,
    encoder: Encoder,
    frame: pl.DataFrame,
    *,
    watch: Watch | None = None,
) -> Fitted:
    family = FAMILIES[choice.family]
    most = int(family.rounds * _MORE_ROUNDS) if family.rounds else None
    return family.fit(
        encoder.transform(frame),
        labels.encode(frame[TARGET]),
        task_info(params.task.type, len(labels.classes), params.train, encoder),
        choice.settings,
        seed=params.project.seed,
        watch=watch,
        iterations=most if watch else choice.iterations,
        weight=fit_weights(frame, params.train.weight),
    )


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


def _facts(
    params: Params,
    choice: _Choice,
    train: pl.DataFrame,
    validation: pl.DataFrame,
    both: pl.DataFrame,
    features: int,
) -> dict[str, Any]:
    window = None
    if TIME in both.columns:
        times = both[TIME].drop_nulls()
        window = [t.isoformat() for t in (times.min(), times.max())] if len(times) else None  # type: ignore[union-attr]
    libraries = ("numpy", "polars", "scikit-learn", "lightgbm", "skops")
    return {
        "project": params.project.name,
        "family": choice.family,
        "settings": choice.settings,
        "iterations": choice.iterations,
        "seed": params.project.seed,
        "rows": {"train": len(train), "validation": len(validation)},
        "features": features,
        "window": window,
        "validation": {"metric": choice.metric.name, "score": round(choice.score, 6)},
        "versions": {"mlops-cli": mlops_cli.__version__, **{n: version(n) for n in libraries}},
    }


def _summary(choice: _Choice, fitted: Fitted, rows: int) -> Summary:
    rounds = f", {fitted.iterations} rounds" if fitted.iterations else ""
    facts: dict[str, Any] = {
        "family": choice.family,
        "iterations": fitted.iterations,
        "rows": rows,
        "metric": choice.metric.name,
        "validation_score": round(choice.score, 6),
    }
    if choice.threshold is not None:
        facts["threshold"] = round(choice.threshold, 6)
    return Summary(
        headline=f"{choice.family} fitted on {rows:,} rows{rounds}; validation "
        f"{choice.metric.name} {choice.score:.4f} before validation was added",
        facts=facts,
    )
