"""The tables of a model card: how good a model is, of what groups, by which features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops_cli.registry.markdown import literal, table
from mlops_cli.reporting import figure_text

Tree = Mapping[str, Any]

__all__ = ["analyses", "fairness"]

_SLICES, _FEATURES = 24, 10
"""So many rows of a table are shown; evaluation.json has them all."""
_BASELINES = ("constant", "linear")


def analyses(metrics: Tree, evaluation: Tree) -> str:
    """Figures of the whole, of groups and of features, as `metrics.json` and `evaluation.json`."""
    parts = ["### Overall", _overall(metrics, evaluation["metrics"])]
    weighed = evaluation.get("threshold")
    if weighed:
        parts += ["### Decisions", _decisions(weighed)]
    for column, found in evaluation["slices"].items():
        parts += [f"### By {literal(column)}", _by_slice(evaluation["metrics"], found)]
    # A report of an earlier release has neither segments nor fairness.
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
    for column, found in evaluation.get("fairness", {}).items():
        rows = [
            [measure.replace("_", " "), figure_text(gap, "")]
            for measure, gap in found["gaps"].items()
        ]
        told = table(["gap between groups", "value"], rows) if rows else "There is one group only."
        parts += [f"### Fairness by {literal(column)}", told]
    return parts


def _overall(metrics: Tree, shown: Sequence[str]) -> str:
    names = ["model", *_BASELINES, *(f"gain_over_{name}" for name in _BASELINES)]
    rows = [
        [metric, *(figure_text(metrics[name].get(metric), "") for name in names)]
        for metric in shown
    ]
    return table(["metric", *(name.replace("_", " ") for name in names)], rows)


def _decisions(weighed: Tree) -> str:
    costs = [
        [way.replace("_", " "), f"{cost:.4g}"] for way, cost in weighed["cost_per_row"].items()
    ]
    cells = ", ".join(f"{n:,} {cell.replace('_', ' ')}" for cell, n in weighed["confusion"].items())
    return f"{table(['decision', 'cost of a row'], costs)}\n\nAt the threshold: {cells}."


def _by_slice(metrics: Sequence[str], found: Tree) -> str:
    first, *others = metrics
    judged = found["judged"]
    if not judged:
        return "No group has enough rows to be judged."
    rows = [
        [
            literal(part["value"]),
            f"{part['rows']:,}",
            figure_text(part.get("interval"), ""),
            *(f"{part['metrics'][m]:.4g}" if m in part["metrics"] else "" for m in others),
        ]
        for part in judged[:_SLICES]
    ]
    more = len(judged) - _SLICES
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
