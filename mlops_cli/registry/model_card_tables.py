"""Tables of the model card: metrics, groups, segments, feature importance and fairness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_cli.registry.markdown import literal, table
from mlops_cli.reporting import figure_text

Tree = Mapping[str, Any]

__all__ = ["analyses", "fairness"]

_SLICES, _FEATURES = 24, 10
"""Maximum number of rows in a table; evaluation.json has all of them."""
_BASELINES = ("constant", "linear")


def analyses(metrics: Tree, evaluation: Tree) -> str:
    """Metrics overall, by group and by feature, from `metrics.json` and `evaluation.json`."""
    parts = ["### Overall", _overall(metrics, evaluation["metrics"])]
    threshold = evaluation.get("threshold")
    if threshold:
        parts += ["### Decisions", _decisions(threshold)]
    for column, report in evaluation["slices"].items():
        parts += [f"### By {literal(column)}", _by_slice(evaluation["metrics"], report)]
    # Reports of earlier releases have neither segments nor fairness.
    segments = evaluation.get("worst_segments", {}).get("found")
    if segments:
        parts += ["### Worst segments", _segments(evaluation, segments)]
    importance = evaluation["importance"]["permutation"]
    if importance:
        rows = [[literal(f), f"{loss:.4g}"] for f, loss in list(importance.items())[:_FEATURES]]
        metric = evaluation["importance"]["metric"]
        parts += ["### What counts", table(["feature shuffled", f"loss in {metric}"], rows)]
    return "\n\n".join(parts)


def fairness(evaluation: Tree) -> list[str]:
    """A table of the gaps for each protected column."""
    parts = []
    for column, report in evaluation.get("fairness", {}).items():
        rows = [
            [measure.replace("_", " "), figure_text(gap, "")]
            for measure, gap in report["gaps"].items()
        ]
        text = table(["gap between groups", "value"], rows) if rows else "There is one group only."
        parts += [f"### Fairness by {literal(column)}", text]
    return parts


def _overall(metrics: Tree, metric_names: Sequence[str]) -> str:
    names = ["model", *_BASELINES, *(f"gain_over_{name}" for name in _BASELINES)]
    rows = [
        [metric, *(figure_text(metrics[name].get(metric), "") for name in names)]
        for metric in metric_names
    ]
    return table(["metric", *(name.replace("_", " ") for name in names)], rows)


def _decisions(threshold: Tree) -> str:
    costs = [
        [decision.replace("_", " "), f"{cost:.4g}"]
        for decision, cost in threshold["cost_per_row"].items()
    ]
    cells = ", ".join(
        f"{n:,} {cell.replace('_', ' ')}" for cell, n in threshold["confusion"].items()
    )
    return f"{table(['decision', 'cost of a row'], costs)}\n\nAt the threshold: {cells}."


def _by_slice(metrics: Sequence[str], report: Tree) -> str:
    first, *others = metrics
    groups = report["judged"]
    if not groups:
        return "No group has enough rows to be judged."
    rows = [
        [
            literal(part["value"]),
            f"{part['rows']:,}",
            figure_text(part.get("interval"), ""),
            *(f"{part['metrics'][m]:.4g}" if m in part["metrics"] else "" for m in others),
        ]
        for part in groups[:_SLICES]
    ]
    more = len(groups) - _SLICES
    return table(["group", "rows", first, *others], rows) + (
        f"\n\n{more} more groups are in `evaluation.json`." if more > 0 else ""
    )


def _segments(evaluation: Tree, segments: Sequence[Tree]) -> str:
    first = evaluation["metrics"][0]
    rows = [
        [
            " and ".join(f"{literal(c)} = {literal(v)}" for c, v in part["where"].items()),
            f"{part['rows']:,}",
            figure_text(part["metrics"].get(first), ""),
        ]
        for part in segments
    ]
    tried = evaluation["worst_segments"]["tried"]
    return (
        f"Of {tried:,} segments that were tried, these are worse than all other rows for certain "
        f"(corrected for their number).\n\n{table(['where', 'rows', first], rows)}"
    )
