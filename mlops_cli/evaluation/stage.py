"""The evaluate stage: the model on the test split, against two baselines and slice by slice.

Reads ``project.seed``, ``task`` and ``evaluate`` of the parameters. The test split is opened
here for the first time. Metrics that need a class (accuracy, F1) take the most probable one; the
confusion plot and the costs go by the model's own threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, write_json
from mlops_cli.errors import BadParams, DataRefused, nearest
from mlops_cli.evaluation import plots as curves
from mlops_cli.evaluation.error_analysis import measure_fairness, worst_segments
from mlops_cli.evaluation.performance_estimation import validate_estimates
from mlops_cli.evaluation.permutation_importance import CANDIDATES, largest, permutation_importance
from mlops_cli.evaluation.reliability import reliability_curves
from mlops_cli.evaluation.shap import mean_contributions
from mlops_cli.evaluation.slice_finder import PAIRED
from mlops_cli.evaluation.slice_metrics import break_down, worst
from mlops_cli.evaluation.tables import evaluation_tables
from mlops_cli.layout import TARGET, TIME
from mlops_cli.metrics.bootstrap import Bootstrap, Comparison, compare
from mlops_cli.metrics.catalog import BEST_BY_MEDIAN, default_metrics, lookup
from mlops_cli.metrics.costs import cost_matrix, weigh_threshold
from mlops_cli.metrics.weighted import row_weights
from mlops_cli.models import baselines
from mlops_cli.models import bundle as bundles
from mlops_cli.reporting import Summary, figure_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.catalog import Floats, Metric, Truth
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["run"]

# Independent streams of random numbers from the project's one seed.
_INTERVALS, _SLICES, _SHUFFLES, _DOTS, _SEGMENTS, _GROUPS, _ORDERS, _GUESSES = range(8)
_SHOWN = 20
_SHOWN_METRICS = 4
"""So many features are listed by importance."""
_MATRIX = 50
"""A confusion matrix of more classes is not written out."""


@dataclass(frozen=True)
class _Case:
    """The test split as the model sees it: frame, truth (n,), prediction, and by what to judge."""

    params: Params
    bundle: Bundle
    frame: pl.DataFrame
    y: Truth
    prediction: Floats
    metrics: tuple[Metric, ...]
    weights: Floats | None = None

    @property
    def names(self) -> list[str]:
        """The classes as text."""
        return [str(label) for label in self.bundle.labels.classes]

    @property
    def threshold(self) -> float:
        """From which probability on a binary decision is yes."""
        return 0.5 if self.bundle.threshold is None else self.bundle.threshold

    @property
    def decided(self) -> Truth:
        """Class codes (n,), in a binary task by the threshold."""
        return self.bundle.decide(self.prediction)

    def seed(self, stream: int) -> list[int]:
        """Seed one of the random streams."""
        return [self.params.project.seed, stream]

    def bootstrap(self, stream: int) -> Bootstrap:
        """How intervals are drawn in one of the random streams."""
        wanted = self.params.evaluate
        return Bootstrap(wanted.resamples, wanted.confidence, self.seed(stream))


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Write ``layout.metrics``, ``headline``, ``evaluation`` and ``plots``.

    Raises
    ------
    BadParams
        If a metric is unknown or unfit for the task, or a slice column isn't there.
    DataRefused
        If the test split is empty, or holds a class that the model doesn't know.
    """
    from threadpoolctl import threadpool_limits

    # BLAS rounds otherwise with another number of threads.
    with threadpool_limits(limits=1, user_api="blas"):
        case = _open(params, layout, progress)
        found = _compare(case, layout, progress)
        shuffled = _importance(case, progress)
        columns = _slices(case, progress)
        report = _report(case, found, columns, shuffled)
        report |= _found_out(case, progress)
        report |= _for_monitoring(case, progress)
    plots = {
        **_plots(case),
        "importance.json": curves.importance(shuffled["permutation"]),
        "shap.json": curves.importance(report["shap"]["mean"], "contribution"),
    }
    with atomic_write(layout.plots) as folder:
        folder.mkdir()
        for name, points in plots.items():
            (folder / name).write_text(curves.to_text(points), encoding="utf-8")
    write_json(layout.evaluation, report)
    write_json(layout.metrics, _metrics(case, found))
    write_json(layout.headline, _headline(case, found))
    return _summary(case, found, report)


def _open(params: Params, layout: Layout, progress: Progress) -> _Case:
    kind = params.task.type
    names = params.evaluate.metrics or default_metrics(kind)
    for name in names:
        lookup(name, kind)
    test = parquet.scan(layout.split("test"))
    columns = [c for c in test.collect_schema().names() if not c.startswith("_")]
    _known("slices", params.evaluate.slices, columns)
    _known("protected", params.evaluate.protected, columns)
    weight = params.evaluate.weight
    _known("weight", () if weight is None else (weight,), columns)
    progress.update("loading the model and the test split")
    bundle = bundles.load(layout.fitted)
    frame = test.collect()
    if not len(frame):
        raise DataRefused(
            "the test split has no rows, so nothing can be judged",
            "Give the test split a share or a time range that holds rows, under `split`.",
        )
    y = bundle.labels.encode(frame[TARGET], "the test split")
    progress.update(f"scoring {len(frame):,} test rows")
    costs = cost_matrix(params.task, bundle.labels.classes)
    metrics = tuple(lookup(name, kind, costs) for name in names)
    weights = None if weight is None else row_weights(frame[weight], weight)
    return _Case(params, bundle, frame, y, bundle.predict(frame), metrics, weights)


def _known(key: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    for name in wanted:
        if name not in columns:
            raise BadParams(
                f"evaluate.{key} names {name!r}, which is no feature and no kept column "
                "(params.yaml)",
                nearest(name, columns),
            )


def _compare(case: _Case, layout: Layout, progress: Progress) -> Comparison:
    """Judge model, constant and linear baseline on the same resamples."""
    import polars as pl

    from mlops_cli.models.families import TaskInfo

    progress.update("fitting the baselines")
    encoder, labels = case.bundle.encoder, case.bundle.labels
    known = pl.concat(
        [
            parquet.scan(layout.split(name)).select([*encoder.kinds, TARGET]).collect()
            for name in ("train", "validation")
        ]
    )
    y = labels.encode(known[TARGET], "the train and validation splits")
    classes = len(labels.classes)
    task = TaskInfo(case.params.task.type, classes, encoder.categorical)
    seed = case.params.project.seed
    linear = baselines.linear(encoder.transform(known), y, task, seed)
    linear_prediction = linear.predict(encoder.transform(case.frame))

    figures: dict[str, dict[str, Any]] = {"model": {}, "constant": {}, "linear": {}}
    gains: dict[str, dict[str, Any]] = {"constant": {}, "linear": {}}
    resamples = case.params.evaluate.resamples
    # Regression has two constants, each the best one for its metrics; the seed is the same, and
    # so are the resamples.
    for metrics in _by_constant(case.metrics):
        constant = baselines.constant(y, classes, metrics[0].name, len(case.y))
        part = compare(
            metrics,
            case.y,
            {"model": case.prediction, "constant": constant, "linear": linear_prediction},
            case.bootstrap(_INTERVALS),
            weights=case.weights,
            report=lambda done: progress.update("bootstrap", done, resamples),
        )
        for name, of in part.figures.items():
            figures[name] |= of
        for name, of in part.gains.items():
            gains[name] |= of
    return Comparison(figures, gains)


def _by_constant(metrics: tuple[Metric, ...]) -> list[list[Metric]]:
    medians = [m for m in metrics if m.name in BEST_BY_MEDIAN]
    means = [m for m in metrics if m.name not in BEST_BY_MEDIAN]
    return [group for group in (means, medians) if group]


def _own_importance(case: _Case) -> dict[str, float]:
    """Feature -> its share of the importance by the members' own account."""
    members = case.bundle.members
    total = sum(member.weight for member in members)
    shares = sum(m.fitted.importances * (m.weight / total) for m in members)
    by_feature = case.bundle.encoder.by_feature(np.asarray(shares))
    return dict(zip(case.bundle.encoder.kinds, by_feature.tolist(), strict=True))


def _importance(case: _Case, progress: Progress) -> dict[str, dict[str, float]]:
    """Importance by feature: the model's own account (``own``), and by shuffling."""
    own = _own_importance(case)
    features = list(own)
    candidates = features if len(features) <= CANDIDATES else list(largest(own, CANDIDATES))
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
    ranked = {"own": largest(own, _SHOWN), "permutation": largest(losses, _SHOWN)}
    return {k: {f: round(v, 6) + 0.0 for f, v in of.items()} for k, of in ranked.items()}


def _found_out(case: _Case, progress: Progress) -> dict[str, Any]:
    """Contributions of features, worst segments, and fairness."""
    wanted, features = case.params.evaluate, list(case.bundle.encoder.kinds)
    progress.update("contributions of features")
    shap = mean_contributions(
        case.bundle, case.frame, rows=wanted.shap_rows, most=_SHOWN, seed=case.seed(_ORDERS)
    )
    progress.update("searching the worst segments")
    named = [*features, *wanted.slices, *wanted.protected]
    if len(set(named)) > PAIRED:
        # Pairs are tried of the first columns only.
        shares = _own_importance(case)
        features.sort(key=lambda feature: -shares[feature])
        named = [*wanted.slices, *wanted.protected, *features]
    segments = worst_segments(
        case.frame.select(list(dict.fromkeys(named))),
        case.y,
        case.prediction,
        case.metrics[0],
        wanted,
        seed=case.seed(_SEGMENTS),
        weights=case.weights,
    )
    decided = case.decided if case.names else None
    progress.update("protected groups")
    groups = measure_fairness(
        case.frame.select(list(dict.fromkeys(wanted.protected))),
        case.y,
        case.prediction,
        decided,
        case.names,
        wanted,
        seed=case.seed(_GROUPS),
    )
    return {"shap": shap, "worst_segments": segments, "fairness": groups}


def _for_monitoring(case: _Case, progress: Progress) -> dict[str, Any]:
    """What came true of what was predicted, and how well performance can be estimated by it."""
    progress.update("estimating performance without labels")
    order = np.arange(len(case.y))
    if TIME in case.frame.columns:
        order = case.frame[TIME].arg_sort().to_numpy()
    curves = reliability_curves(case.y, case.prediction, case.names)
    found = validate_estimates(
        case.metrics, case.y[order], case.prediction[order], curves, seed=case.seed(_GUESSES)
    )
    estimates = {name: proof.to_json() for name, proof in found.items()}
    return {"reliability": curves, "estimates": estimates}


def _slices(case: _Case, progress: Progress) -> dict[str, Any]:
    wanted = case.params.evaluate
    columns = {}
    for done, name in enumerate(wanted.slices):
        progress.update(f"slices of {name}", done, len(wanted.slices))
        columns[name] = break_down(
            case.frame[name],
            case.y,
            case.prediction,
            case.metrics,
            least_rows=wanted.slice_rows,
            bootstrap=case.bootstrap(_SLICES),
            weights=case.weights,
        )
    return columns


def _metrics(case: _Case, found: Comparison) -> dict[str, Any]:
    figures = {name: _rounded(of) for name, of in found.figures.items()}
    gains = {f"gain_over_{name}": _rounded(of) for name, of in found.gains.items()}
    return {**figures, **gains, "rows": len(case.y)}


def _headline(case: _Case, found: Comparison) -> dict[str, float]:
    """A few figures: each is a column of `dvc exp show`."""
    model = _rounded(found.figures["model"])
    shown = {name: figure["value"] for name, figure in list(model.items())[:_SHOWN_METRICS]}
    gain = _rounded(found.gains.get("linear", {})).get(case.metrics[0].name)
    return {**shown, **({"gain_over_linear": gain["value"]} if gain else {}), "rows": len(case.y)}


def _rounded(figures: Any) -> dict[str, dict[str, float]]:
    return {name: interval.rounded() for name, interval in figures.items()}


def _report(
    case: _Case, found: Comparison, columns: dict[str, Any], shuffled: dict[str, Any]
) -> dict[str, Any]:
    wanted, task = case.params.evaluate, case.params.task
    report: dict[str, Any] = {
        "task": task.type,
        "rows": len(case.y),
        "window": _window(case.frame),
        "metrics": [m.name for m in case.metrics],
        "undefined": [m.name for m in case.metrics if m.name not in found.figures["model"]],
        "confidence": wanted.confidence,
        "resamples": wanted.resamples,
    }
    if task.type == "binary":
        positive = case.prediction[:, 1]
        weighed = weigh_threshold(case.y, positive, case.threshold, task.cost, case.weights)
        report["threshold"] = {"positive": case.names[1], **weighed}
    if 0 < len(case.names) <= _MATRIX:
        report["confusion"] = {"classes": case.names, "actual_by_predicted": _matrix(case)}
    report["slices"] = columns
    report["worst_slice"] = worst(columns, case.metrics[0])
    report["importance"] = {"metric": case.metrics[0].name, **shuffled}
    return report


def _matrix(case: _Case) -> list[list[int]]:
    k = len(case.names)
    cells = np.bincount(case.y.astype(np.intp) * k + case.decided.astype(np.intp), minlength=k * k)
    rows: list[list[int]] = cells.reshape(k, k).tolist()
    return rows


def _window(frame: pl.DataFrame) -> dict[str, str] | None:
    if TIME not in frame.columns:
        return None
    first, last = frame.select(low=frame[TIME].min(), high=frame[TIME].max()).row(0)
    return {"first": first.isoformat(), "last": last.isoformat()}


def _plots(case: _Case) -> dict[str, curves.Points]:
    """Points by file name, of what was predicted."""
    if case.params.task.type == "regression":
        values = case.y.astype(float)
        return {"residuals.json": curves.residuals(values, case.prediction, case.seed(_DOTS))}
    return {
        **curves.of_probabilities(case.params.task, case.y, case.prediction),
        "confusion.json": curves.confusion(case.y, case.decided, case.names),
    }


def _summary(case: _Case, found: Comparison, report: dict[str, Any]) -> Summary:
    first = case.metrics[0].name
    warnings = [
        f"{name} is not defined on the test split and is left out" for name in report["undefined"]
    ]
    if len(np.unique(case.y)) == 1 and case.names:
        only = case.names[int(case.y[0])]
        warnings.insert(0, f"all {len(case.y):,} test rows are of the class {only!r}")
    figures = {name: {m: vars(i) for m, i in of.items()} for name, of in found.figures.items()}
    return Summary(
        headline=f"{first} {figure_text(figures['model'].get(first))} on {len(case.y):,} test rows",
        tables=tuple(evaluation_tables(figures, report)),
        warnings=tuple(warnings),
        facts={"rows": len(case.y), "metrics": _rounded(found.figures["model"])},
    )
