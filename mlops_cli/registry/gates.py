"""Gates: conditions that an evaluated model must meet to be approved.

Each gate compares one figure with a limit. A gate without a figure (its metric isn't defined on
the test rows, or no slice is large enough) fails: a model is approved only on evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, nearest
from mlops_cli.evaluation.fairness import MEASURES
from mlops_cli.evaluation.slice_metrics import worst
from mlops_cli.metrics.catalog import lookup
from mlops_cli.reporting import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.params.register import Gates

__all__ = ["Evidence", "GateResult", "check_gates"]


@dataclass(frozen=True)
class GateResult:
    """Result of one gate.

    Attributes
    ----------
    name
        Such as ``limits.roc_auc``: its key under ``register.gates``.
    figure
        The measured value; None if there is none.
    limit
        The required value.
    passed
        Whether the figure meets the limit.
    reason
        The result as one sentence.
    """

    name: str
    figure: float | None
    limit: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class Evidence:
    """Evaluation results and measurements that the gates check.

    Attributes
    ----------
    task
        binary, multiclass or regression.
    metric_names
        Names of the metrics that the evaluation was configured with.
    metrics
        ``model``, ``gain_over_constant`` and ``gain_over_linear``: metric -> value, low, high.
    slices
        Column -> ``judged``: slices with ``value``, ``rows`` and ``metrics``.
    families
        The families of the model's members.
    bundle_bytes
        Size of the bundle.
    milliseconds
        Median time to score one row; None if it wasn't measured.
    fairness
        Protected column -> ``gaps``: measure -> value, low, high.
    """

    task: str
    metric_names: Sequence[str]
    metrics: Mapping[str, Any]
    slices: Mapping[str, Any]
    families: frozenset[str]
    bundle_bytes: int
    milliseconds: float | None = None
    fairness: Mapping[str, Any] = field(default_factory=dict)


def check_gates(gates: Gates, evidence: Evidence) -> tuple[GateResult, ...]:
    """Check every gate that is configured, in the order of ``params.yaml``.

    Raises
    ------
    BadParams
        If a gate names a metric that is unknown, unfit for the task or not evaluated, or if it
        needs slices or protected columns and none are configured.
    """
    results = [_check_limit(name, limit, evidence) for name, limit in gates.limits.items()]
    if gates.beats_baselines is not None:
        results.append(_check_baselines(gates.beats_baselines, evidence))
    if gates.worst_slice is not None:
        results.append(
            _check_worst_slice(gates.worst_slice.metric, gates.worst_slice.limit, evidence)
        )
    results += [_check_fairness(name, limit, evidence) for name, limit in gates.fairness.items()]
    if gates.megabytes is not None:
        results.append(
            _check_at_most("megabytes", evidence.bundle_bytes / 1e6, gates.megabytes, "MB")
        )
    if gates.milliseconds is not None:
        measured = evidence.milliseconds
        results.append(
            _check_at_most("milliseconds", measured, gates.milliseconds, "ms for one row")
        )
    return tuple(results)


def _find_metric(name: str, place: str, evidence: Evidence) -> Metric:
    metric = lookup(name, evidence.task)
    if name not in evidence.metric_names:
        raise BadParams(
            f"register.gates.{place} names {name!r}, which was not evaluated (params.yaml)",
            nearest(name, evidence.metric_names) + f" Or add {name!r} to evaluate.metrics.",
        )
    return metric


def _check_metric(name: str, metric: Metric, figure: float | None, limit: float) -> GateResult:
    if figure is None:
        reason = f"{metric.name} is not defined on what it had to be judged by"
        return GateResult(name, None, limit, passed=False, reason=reason)
    passed = metric.reaches(figure, limit)
    bound = "at least" if metric.maximise else "at most"
    reason = f"{metric.name} is {figure:.4g} (required: {bound} {limit:.4g})"
    return GateResult(name, figure, limit, passed, reason)


def _check_limit(name: str, limit: float, evidence: Evidence) -> GateResult:
    metric = _find_metric(name, "limits", evidence)
    estimate = evidence.metrics["model"].get(name)
    return _check_metric(f"limits.{name}", metric, estimate and estimate["value"], limit)


def _check_baselines(name: str, evidence: Evidence) -> GateResult:
    """Require that the low end of the paired gain over each baseline is above zero.

    A model with only linear members is of the same kind as the linear baseline, at best tuned
    slightly better, and it is the right choice if nothing beats it. So it has to beat the constant
    baseline, but must only not be significantly worse than the linear one: the gain's high end
    must not be below zero.
    """
    _find_metric(name, "beats_baselines", evidence)
    gate, kind = "beats_baselines", frozenset({"linear"})
    constant: dict[str, float] | None = evidence.metrics["gain_over_constant"].get(name)
    linear: dict[str, float] | None = evidence.metrics["gain_over_linear"].get(name)
    if constant is None or linear is None:
        reason = f"the gain in {name} over the baselines is not defined on the test rows"
        return GateResult(gate, None, 0.0, passed=False, reason=reason)
    if evidence.families == kind:
        figure = constant["low"]
        passed = figure > 0 and linear["high"] >= 0
        tail = "; being linear itself, it need not be better than the linear one"
        required = "above 0 over the constant, and not all below 0 over the linear baseline"
    else:
        figure = min(constant["low"], linear["low"])
        passed = figure > 0
        tail, required = "", "above 0 over both"
    if not passed:
        tail += (
            f"; required: the whole interval {required} (more test rows narrow it; or leave "
            "beats_baselines out of register.gates)"
        )
    reason = (
        f"gain in {name} over the constant {figure_text(constant)}, over the linear baseline "
        f"{figure_text(linear)}{tail}"
    )
    return GateResult(gate, figure, 0.0, passed, reason)


def _check_worst_slice(name: str, limit: float, evidence: Evidence) -> GateResult:
    metric = _find_metric(name, "worst_slice.metric", evidence)
    if not evidence.slices:
        raise BadParams(
            "register.gates.worst_slice is given, but there are no slices (params.yaml)",
            "Name columns under evaluate.slices, or remove the gate.",
        )
    slice_entry = worst(evidence.slices, metric)
    if slice_entry is None:
        return _check_metric("worst_slice", metric, None, limit)
    result = _check_metric("worst_slice", metric, slice_entry["figure"], limit)
    where = f"the worst slice is {slice_entry['column']} = {slice_entry['value']}: "
    return replace(result, reason=where + result.reason)


def _check_fairness(name: str, limit: float, evidence: Evidence) -> GateResult:
    """Check a measure of fairness for the protected column with its worst value."""
    if name not in MEASURES:
        raise BadParams(
            f"register.gates.fairness names {name!r}, which is no measure of fairness "
            "(params.yaml)",
            nearest(name, MEASURES),
        )
    if not evidence.fairness:
        raise BadParams(
            "register.gates.fairness is given, but no column is protected (params.yaml)",
            "Name columns under evaluate.protected, or remove the gate.",
        )
    gate, ratio = f"fairness.{name}", name.endswith("_ratio")
    gaps = {
        column: report["gaps"][name]["value"]
        for column, report in evidence.fairness.items()
        if name in report["gaps"]
    }
    if len(gaps) < len(evidence.fairness):
        column = next(c for c in evidence.fairness if c not in gaps)
        reason = f"it is not defined for the groups of {column} on the test rows"
        return GateResult(gate, None, limit, passed=False, reason=reason)
    worst_column = min(gaps, key=lambda c: gaps[c]) if ratio else max(gaps, key=lambda c: gaps[c])
    gap = gaps[worst_column]
    bound, passed = ("at least", gap >= limit) if ratio else ("at most", gap <= limit)
    reason = f"between groups of {worst_column} it is {gap:.4g} (required: {bound} {limit:.4g})"
    return GateResult(gate, gap, limit, passed, reason)


def _check_at_most(name: str, figure: float | None, limit: float, unit: str) -> GateResult:
    if figure is None:
        return GateResult(name, None, limit, passed=False, reason="it was not measured")
    reason = f"{figure:.3g} {unit} (required: at most {limit:.3g})"
    return GateResult(name, figure, limit, figure <= limit, reason)
