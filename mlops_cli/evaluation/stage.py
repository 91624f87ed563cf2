"""The evaluate stage: the model against two baselines on the test split, also by slice.

Reads ``project.seed``, ``task`` and ``evaluate`` of the parameters. The test split is used
here for the first time. Metrics that need a class (accuracy, F1) take the most probable one; the
confusion plot and the costs use the model's own threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, write_json
from mlops_cli.errors import BadParams, DataRefused, nearest
from mlops_cli.evaluation import plots as curves
from mlops_cli.evaluation.baseline_comparison import compare_with_baselines
from mlops_cli.evaluation.error_analysis import measure_fairness, worst_segments
from mlops_cli.evaluation.performance_estimation import validate_estimates
from mlops_cli.evaluation.permutation_importance import (
    MAX_SHUFFLED_FEATURES,
    largest,
    permutation_importance,
)
from mlops_cli.evaluation.reliability import reliability_curves
from mlops_cli.evaluation.scored_split import ScoredSplit
from mlops_cli.evaluation.shap import mean_contributions
from mlops_cli.evaluation.slice_finder import MAX_PAIRED_COLUMNS
from mlops_cli.evaluation.slice_metrics import break_down, worst
from mlops_cli.evaluation.tables import evaluation_tables
from mlops_cli.layout import TARGET, TIME
from mlops_cli.metrics.catalog import default_metrics, lookup
from mlops_cli.metrics.costs import cost_matrix, weigh_threshold
from mlops_cli.metrics.weighted import row_weights
from mlops_cli.models import bundle as bundles
from mlops_cli.reporting import Summary, figure_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.bootstrap import Comparison
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["run"]

# Independent streams of random numbers from the project's one seed.
_INTERVALS, _SLICES, _SHUFFLES, _DOTS, _SEGMENTS, _GROUPS, _ORDERS, _ESTIMATES = range(8)
_MAX_FEATURES = 20
"""Maximum features in lists by importance."""
_HEADLINE_METRICS = 4
"""Number of metrics in the headline file."""
_MAX_CLASSES = 50
"""Maximum classes of a confusion matrix in the report."""


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Evaluate the model; write ``metrics``, ``headline``, ``evaluation`` and ``plots``.

    Raises
    ------
    BadParams
        If a metric is unknown or not for the task, or a slice column doesn't exist.
    DataRefused
        If the test split is empty, or holds a class that the model doesn't know.
    """
    from threadpoolctl import threadpool_limits

    # The rounding of BLAS depends on the number of threads.
    with threadpool_limits(limits=1, user_api="blas"):
        case = _score_test_split(params, layout, progress)
        progress.update("fitting the baselines")
        training_rows = _read_training_rows(case, layout)
        comparison = compare_with_baselines(case, training_rows, _INTERVALS, progress)
        importances = _measure_importance(case, progress)
        slices = _break_down_slices(case, progress)
        report = _report(case, comparison, slices, importances)
        report |= _analyse_errors(case, progress)
        report |= _validate_for_monitoring(case, progress)
    plots = {
        **_plot_points(case),
        "importance.json": curves.importance(importances["permutation"]),
        "shap.json": curves.importance(report["shap"]["mean"], "contribution"),
    }
    with atomic_write(layout.plots) as folder:
        folder.mkdir()
        for name, points in plots.items():
            (folder / name).write_text(curves.to_text(points), encoding="utf-8")
    write_json(layout.evaluation, report)
    write_json(layout.metrics, _metrics(case, comparison))
    write_json(layout.headline, _headline(case, comparison))
    return _summary(case, comparison, report)


def _score_test_split(params: Params, layout: Layout, progress: Progress) -> ScoredSplit:
    kind = params.task.type
    names = params.evaluate.metrics or default_metrics(kind)
    for name in names:
        lookup(name, kind)
    test = parquet.scan(layout.split("test"))
    columns = [c for c in test.collect_schema().names() if not c.startswith("_")]
    _require_columns("slices", params.evaluate.slices, columns)
    _require_columns("protected", params.evaluate.protected, columns)
    weight = params.evaluate.weight
    _require_columns("weight", () if weight is None else (weight,), columns)
    progress.update("loading the model and the test split")
    bundle = bundles.load(layout.fitted)
    frame = test.collect()
    if not len(frame):
        raise DataRefused(
            "the test split has no rows, so nothing can be evaluated",
            "Give the test split a share or a time range that holds rows, under `split`.",
        )
    y = bundle.labels.encode(frame[TARGET], "the test split")
    progress.update(f"scoring {len(frame):,} test rows")
    costs = cost_matrix(params.task, bundle.labels.classes)
    metrics = tuple(lookup(name, kind, costs) for name in names)
    weights = None if weight is None else row_weights(frame[weight], weight)
    prediction = bundle.predict(frame)
    settings, seed = params.evaluate, params.project.seed
    return ScoredSplit(params.task, settings, seed, bundle, frame, y, prediction, metrics, weights)


def _require_columns(key: str, names: Sequence[str], columns: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            raise BadParams(
                f"evaluate.{key} names {name!r}, which is no feature and no kept column "
                "(params.yaml)",
                nearest(name, columns),
            )


def _read_training_rows(case: ScoredSplit, layout: Layout) -> pl.DataFrame:
    import polars as pl

    columns = [*case.bundle.encoder.kinds, TARGET]
    return pl.concat(
        [
            parquet.scan(layout.split(name)).select(columns).collect()
            for name in ("train", "validation")
        ]
    )


def _model_importance(case: ScoredSplit) -> dict[str, float]:
    """Map each feature to its share of the importance that the members report themselves."""
    members = case.bundle.members
    total = sum(member.weight for member in members)
    shares = sum(m.fitted.importances * (m.weight / total) for m in members)
    by_feature = case.bundle.encoder.sum_by_feature(np.asarray(shares))
    return dict(zip(case.bundle.encoder.kinds, by_feature.tolist(), strict=True))


def _measure_importance(case: ScoredSplit, progress: Progress) -> dict[str, dict[str, float]]:
    """Measure importance by feature: by the model itself (``own``), and by permutation."""
    own = _model_importance(case)
    features = list(own)
    candidates = (
        features
        if len(features) <= MAX_SHUFFLED_FEATURES
        else list(largest(own, MAX_SHUFFLED_FEATURES))
    )
    losses = permutation_importance(
        case.bundle.predict,
        case.frame,
        case.y,
        candidates,
        case.metrics[0],
        seed=case.seed(_SHUFFLES),
        weights=case.weights,
        report=lambda done: progress.update("shuffling features", done, len(candidates)),
    )
    ranked = {"own": largest(own, _MAX_FEATURES), "permutation": largest(losses, _MAX_FEATURES)}
    return {
        k: {f: round(v, 6) + 0.0 for f, v in importances.items()}
        for k, importances in ranked.items()
    }


def _analyse_errors(case: ScoredSplit, progress: Progress) -> dict[str, Any]:
    """Compute SHAP contributions, worst segments, and fairness."""
    rules, features = case.settings, list(case.bundle.encoder.kinds)
    progress.update("contributions of features")
    shap = mean_contributions(
        case.bundle,
        case.frame,
        rows=rules.shap_rows,
        max_features=_MAX_FEATURES,
        seed=case.seed(_ORDERS),
    )
    progress.update("searching the worst segments")
    columns = [*features, *rules.slices, *rules.protected]
    if len(set(columns)) > MAX_PAIRED_COLUMNS:
        # Only the first columns are tried in pairs: put the most important ones first.
        shares = _model_importance(case)
        features.sort(key=lambda feature: -shares[feature])
        columns = [*rules.slices, *rules.protected, *features]
    segments = worst_segments(
        case.frame.select(list(dict.fromkeys(columns))),
        case.y,
        case.prediction,
        case.metrics[0],
        rules,
        seed=case.seed(_SEGMENTS),
        weights=case.weights,
    )
    decisions = case.decisions if case.names else None
    progress.update("protected groups")
    fairness = measure_fairness(
        case.frame.select(list(dict.fromkeys(rules.protected))),
        case.y,
        case.prediction,
        decisions,
        case.names,
        rules,
        seed=case.seed(_GROUPS),
    )
    return {"shap": shap, "worst_segments": segments, "fairness": fairness}


def _validate_for_monitoring(case: ScoredSplit, progress: Progress) -> dict[str, Any]:
    """Compute reliability curves, and how accurate performance estimation is with them."""
    progress.update("estimating performance without labels")
    order = np.arange(len(case.y))
    if TIME in case.frame.columns:
        order = case.frame[TIME].arg_sort().to_numpy()
    reliability = reliability_curves(case.y, case.prediction, case.names)
    validated = validate_estimates(
        case.metrics, case.y[order], case.prediction[order], reliability, seed=case.seed(_ESTIMATES)
    )
    estimates = {name: estimate.to_json() for name, estimate in validated.items()}
    return {"reliability": reliability, "estimates": estimates}


def _break_down_slices(case: ScoredSplit, progress: Progress) -> dict[str, Any]:
    rules = case.settings
    slices = {}
    for done, name in enumerate(rules.slices):
        progress.update(f"slices of {name}", done, len(rules.slices))
        slices[name] = break_down(
            case.frame[name],
            case.y,
            case.prediction,
            case.metrics,
            min_rows=rules.slice_rows,
            bootstrap=case.bootstrap(_SLICES),
            weights=case.weights,
        )
    return slices


def _metrics(case: ScoredSplit, comparison: Comparison) -> dict[str, Any]:
    figures = {name: _round(intervals) for name, intervals in comparison.figures.items()}
    gains = {f"gain_over_{name}": _round(intervals) for name, intervals in comparison.gains.items()}
    return {**figures, **gains, "rows": len(case.y)}


def _headline(case: ScoredSplit, comparison: Comparison) -> dict[str, float]:
    """Choose a few figures: each is a column of `dvc exp show`."""
    model = _round(comparison.figures["model"])
    values = {name: figure["value"] for name, figure in list(model.items())[:_HEADLINE_METRICS]}
    gain = _round(comparison.gains.get("linear", {})).get(case.metrics[0].name)
    return {**values, **({"gain_over_linear": gain["value"]} if gain else {}), "rows": len(case.y)}


def _round(figures: Any) -> dict[str, dict[str, float]]:
    return {name: interval.to_json() for name, interval in figures.items()}


def _report(
    case: ScoredSplit, comparison: Comparison, slices: dict[str, Any], importances: dict[str, Any]
) -> dict[str, Any]:
    rules, task = case.settings, case.task
    report: dict[str, Any] = {
        "task": task.type,
        "rows": len(case.y),
        "window": _time_window(case.frame),
        "metrics": [m.name for m in case.metrics],
        "undefined": [m.name for m in case.metrics if m.name not in comparison.figures["model"]],
        "confidence": rules.confidence,
        "resamples": rules.resamples,
    }
    if task.type == "binary":
        positive = case.prediction[:, 1]
        threshold_costs = weigh_threshold(case.y, positive, case.threshold, task.cost, case.weights)
        report["threshold"] = {"positive": case.names[1], **threshold_costs}
    if 0 < len(case.names) <= _MAX_CLASSES:
        report["confusion"] = {
            "classes": case.names,
            "actual_by_predicted": _confusion_matrix(case),
        }
    report["slices"] = slices
    report["worst_slice"] = worst(slices, case.metrics[0])
    report["importance"] = {"metric": case.metrics[0].name, **importances}
    return report


def _confusion_matrix(case: ScoredSplit) -> list[list[int]]:
    k = len(case.names)
    cells = np.bincount(
        case.y.astype(np.intp) * k + case.decisions.astype(np.intp), minlength=k * k
    )
    rows: list[list[int]] = cells.reshape(k, k).tolist()
    return rows


def _time_window(frame: pl.DataFrame) -> dict[str, str] | None:
    if TIME not in frame.columns:
        return None
    first, last = frame.select(low=frame[TIME].min(), high=frame[TIME].max()).row(0)
    return {"first": first.isoformat(), "last": last.isoformat()}


def _plot_points(case: ScoredSplit) -> dict[str, curves.Points]:
    """Compute plot points of predictions, by file name."""
    if case.task.type == "regression":
        values = case.y.astype(float)
        return {"residuals.json": curves.residuals(values, case.prediction, case.seed(_DOTS))}
    return {
        **curves.plot_probabilities(case.task, case.y, case.prediction),
        "confusion.json": curves.confusion(case.y, case.decisions, case.names),
    }


def _summary(case: ScoredSplit, comparison: Comparison, report: dict[str, Any]) -> Summary:
    first = case.metrics[0].name
    warnings = [
        f"{name} is not defined on the test split and is left out" for name in report["undefined"]
    ]
    if len(np.unique(case.y)) == 1 and case.names:
        class_name = case.names[int(case.y[0])]
        warnings.insert(0, f"all {len(case.y):,} test rows are of the class {class_name!r}")
    figures = {
        name: {m: vars(interval) for m, interval in intervals.items()}
        for name, intervals in comparison.figures.items()
    }
    return Summary(
        headline=f"{first} {figure_text(figures['model'].get(first))} on {len(case.y):,} test rows",
        tables=tuple(evaluation_tables(figures, report)),
        warnings=tuple(warnings),
        facts={"rows": len(case.y), "metrics": _round(comparison.figures["model"])},
    )
