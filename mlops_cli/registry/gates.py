"""Gates between an evaluated model and its approval: each one a figure, a limit and a verdict.

A gate that was asked for and cannot be judged (its metric isn't defined on the test rows, or no
slice is large enough) refuses: approval rests on what was shown.
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
    from mlops_cli.params.modelling import Gates

__all__ = ["Evidence", "GateResult", "check_gates"]


@dataclass(frozen=True)
class GateResult:
    """What one gate found.

    Attributes
    ----------
    name
        Such as ``limits.roc_auc``, as it stands under ``register.gates``.
    figure
        What was found; None where it cannot be judged.
    limit
        What was asked for.
    passed
        Whether the figure keeps to the limit.
    reason
        One sentence.
    """

    name: str
    figure: float | None
    limit: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class Evidence:
    """What the gates judge by.

    Attributes
    ----------
    task
        binary, multiclass or regression.
    evaluated
        The metrics that were asked for.
    metrics
        ``model``, ``gain_over_constant`` and ``gain_over_linear``: metric -> value, low, high.
    slices
        Column -> ``judged``: slices with ``value``, ``rows`` and ``metrics``.
    families
        The families of the model's members.
    bytes
        Size of the bundle.
    milliseconds
        Median time to score one row; None where it wasn't measured.
    fairness
        Protected column -> ``gaps``: measure -> value, low, high.
    """

    task: str
    evaluated: Sequence[str]
    metrics: Mapping[str, Any]
    slices: Mapping[str, Any]
    families: frozenset[str]
    bytes: int
    milliseconds: float | None = None
    fairness: Mapping[str, Any] = field(default_factory=dict)


def check_gates(gates: Gates, evidence: Evidence) -> tuple[GateResult, ...]:
    """Judge every gate that is given, in the order of ``params.yaml``.

    Raises
    ------
    BadParams
        If a gate names a metric that is unknown, unfit for the task or not evaluated, or asks
        for slices where none are.
    """
    results = [_limit(name, limit, evidence) for name, limit in gates.limits.items()]
    if gates.beats_baselines is not None:
        results.append(_beats_baselines(gates.beats_baselines, evidence))
    if gates.worst_slice is not None:
        results.append(_worst_slice(gates.worst_slice.metric, gates.worst_slice.limit, evidence))
    results += [_fairness(name, limit, evidence) for name, limit in gates.fairness.items()]
    if gates.megabytes is not None:
        results.append(_at_most("megabytes", evidence.bytes / 1e6, gates.megabytes, "MB"))
    if gates.milliseconds is not None:
        measured = evidence.milliseconds
        results.append(_at_most("milliseconds", measured, gates.milliseconds, "ms for one row"))
    return tuple(results)


def _metric(name: str, place: str, evidence: Evidence) -> Metric:
    metric = lookup(name, evidence.task)
    if name not in evidence.evaluated:
        raise BadParams(
            f"register.gates.{place} names {name!r}, which was not evaluated (params.yaml)",
            nearest(name, evidence.evaluated) + f" Or add {name!r} to evaluate.metrics.",
        )
    return metric


def _verdict(name: str, metric: Metric, figure: float | None, limit: float) -> GateResult:
    if figure is None:
        reason = f"{metric.name} is not defined on what it had to be judged by"
        return GateResult(name, None, limit, passed=False, reason=reason)
    passed = metric.reaches(figure, limit)
    bound = "at least" if metric.maximise else "at most"
    reason = f"{metric.name} is {figure:.4g}, and {bound} {limit:.4g} is asked for"
    return GateResult(name, figure, limit, passed, reason)


def _limit(name: str, limit: float, evidence: Evidence) -> GateResult:
    metric = _metric(name, "limits", evidence)
    found = evidence.metrics["model"].get(name)
    return _verdict(f"limits.{name}", metric, found and found["value"], limit)


def _beats_baselines(name: str, evidence: Evidence) -> GateResult:
    """Ask that the low end of the paired gain over each baseline is above zero.

    A model of linear members only is of the linear baseline's own kind, at best tuned a little
    better, and choosing it is right where nothing beats it. So it has to beat the constant, and
    only must not be shown to be worse than the linear baseline: the gain's high end must not
    be below zero.
    """
    _metric(name, "beats_baselines", evidence)
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


def _worst_slice(name: str, limit: float, evidence: Evidence) -> GateResult:
    metric = _metric(name, "worst_slice.metric", evidence)
    if not evidence.slices:
        raise BadParams(
            "register.gates.worst_slice is given, but there are no slices (params.yaml)",
            "Name columns under evaluate.slices, or remove the gate.",
        )
    found = worst(evidence.slices, metric)
    if found is None:
        return _verdict("worst_slice", metric, None, limit)
    result = _verdict("worst_slice", metric, found["figure"], limit)
    where = f"the worst slice is {found['column']} = {found['value']}: "
    return replace(result, reason=where + result.reason)


def _fairness(name: str, limit: float, evidence: Evidence) -> GateResult:
    """The measure of the protected column in which it is worst."""
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
        column: of["gaps"][name]["value"]
        for column, of in evidence.fairness.items()
        if name in of["gaps"]
    }
    if len(gaps) < len(evidence.fairness):
        column = next(c for c in evidence.fairness if c not in gaps)
        reason = f"it is not defined for the groups of {column} on the test rows"
        return GateResult(gate, None, limit, passed=False, reason=reason)
    worst_ = min(gaps, key=lambda c: gaps[c]) if ratio else max(gaps, key=lambda c: gaps[c])
    found = gaps[worst_]
    bound, passed = ("at least", found >= limit) if ratio else ("at most", found <= limit)
    reason = f"between groups of {worst_} it is {found:.4g}, and {bound} {limit:.4g} is asked for"
    return GateResult(gate, found, limit, passed, reason)


def _at_most(name: str, figure: float | None, limit: float, unit: str) -> GateResult:
    if figure is None:
        return GateResult(name, None, limit, passed=False, reason="it was not measured")
    reason = f"{figure:.3g} {unit}, and at most {limit:.3g} is asked for"
    return GateResult(name, figure, limit, figure <= limit, reason)
