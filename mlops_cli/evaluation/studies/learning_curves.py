"""What more rows, or newer ones, are worth: the model fitted on fewer, or on older ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused, Usage
from mlops_cli.evaluation.studies.base import StudyResult, format_cell
from mlops_cli.layout import TIME
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    import polars as pl

    from mlops_cli.evaluation.studies.base import StudyContext
    from mlops_cli.metrics.bootstrap import Comparison
    from mlops_cli.reporting import Progress

__all__ = ["learning", "staleness"]

_LEAST = 30
"""On fewer rows nothing is fitted."""


def learning(case: StudyContext, progress: Progress) -> StudyResult:
    """Halve the rows again and again; each training set is part of the next larger one."""
    total = min(case.options.rows, len(case.known))
    sizes = [total // 2**halved for halved in range(max(0, case.options.steps), -1, -1)]
    parts, frame = [], case.known
    for size in reversed(sizes):
        frame = case.drawn(frame, size)
        parts.append((str(size), frame))
    points, found = _fitted(case, list(reversed(parts)), progress)
    half = points[-2]["rows"] if len(points) > 1 else None
    gain = found.gains.get(str(half), {}).get(case.metric.name) if half else None
    headline = f"{case.metric.name} {points[-1]['shown']} on {points[-1]['rows']:,} rows"
    if gain:
        headline += f"; better by {format_cell(gain)} than on half of them"
    report = _report(case, points) | ({"gain_of_the_last_half": gain.rounded()} if gain else {})
    return StudyResult(report, _summary(case, "Learning curve", headline, points, report, "rows"))


def staleness(case: StudyContext, progress: Progress) -> StudyResult:
    """Move the training rows back in time, over a span of the same length each.

    Raises
    ------
    DataRefused
        If rows have no time, or the training rows don't span so many steps.
    """
    import polars as pl

    if TIME not in case.known.columns:
        raise DataRefused(
            "rows have no time, so none are older than others",
            "Name the base source's time under ingest.sources.",
        )
    known = case.known.filter(pl.col(TIME).is_not_null()).sort(TIME, maintain_order=True)
    steps = case.options.steps
    if steps < 1:
        raise Usage(f"--steps is {steps}", "Give at least 1.")
    ends = _moments(known[TIME].max(), case.options.step, steps)
    first: Any = known[TIME].min()
    oldest = known.filter(pl.col(TIME) <= ends[-1])
    if len(oldest) < _LEAST:
        raise DataRefused(
            f"the training rows begin at {first}, too late for {steps} steps of "
            f"{case.options.step} back from {ends[0]}",
            "Give fewer --steps, or a shorter --step.",
        )
    parts = []
    for step, end in enumerate(ends):
        begin = first + (end - ends[-1])
        held = known.filter(pl.col(TIME).is_between(begin, end))
        parts.append((f"{step} x {case.options.step}", case.drawn(held, case.options.rows)))
    points, found = _fitted(case, list(reversed(parts)), progress)
    for point, end in zip(points, reversed(ends), strict=True):
        point["until"] = end.isoformat()
    points.reverse()
    metric = case.metric.name
    for point in points[1:]:
        gain = found.gains[point["training"]].get(metric)
        if gain:
            point["loss"] = gain.rounded()
    worst = points[-1]
    headline = f"{metric} {points[0]['shown']} on the newest rows, {worst['shown']} on the oldest"
    report = _report(case, points) | {"step": case.options.step}
    return StudyResult(report, _summary(case, "Staleness", headline, points, report, "until"))


def _moments(last: Any, step: str, steps: int) -> Sequence[dt.datetime]:
    import polars as pl

    try:
        column = pl.Series([last]).to_frame("t")
        moments = [last]
        for _ in range(steps):
            column = column.select(pl.col("t").dt.offset_by(f"-{step}"))
            moments.append(column.item())
    except pl.exceptions.PolarsError:
        raise Usage(
            f"--step is {step!r}, which is no span", "Give one such as 7d or 1mo."
        ) from None
    return moments


def _fitted(
    case: StudyContext, parts: list[tuple[str, pl.DataFrame]], progress: Progress
) -> tuple[list[dict[str, Any]], Comparison]:
    """Fit on each part; the last is what the others are compared with."""
    features = list(case.bundle.encoder.kinds)
    parts = [(n, part) for n, part in parts if len(part) >= _LEAST and case.learnable(part)]
    if not parts:
        raise DataRefused(
            "there are too few training rows, or a class is missing among them",
            "Give more --rows, or fewer --steps.",
        )
    predictions = {}
    for done, (name, part) in enumerate(reversed(parts)):
        progress.update(f"fitting on {len(part):,} rows", done, len(parts))
        predictions[name] = case.refitted(part, features).predict(case.test)
    progress.update("comparing")
    found = case.judged(predictions)
    points: list[dict[str, Any]] = []
    for name, part in parts:
        figure = found.figures[name].get(case.metric.name)
        points.append(
            {"training": name, "rows": len(part), "shown": format_cell(figure)}
            | (figure.rounded() if figure else {})
        )
    return points, found


def _report(case: StudyContext, points: list[dict[str, Any]]) -> dict[str, Any]:
    plain = [{k: v for k, v in point.items() if k != "shown"} for point in points]
    return {"metric": case.metric.name, "judged_on": len(case.test), "points": plain}


def _summary(
    case: StudyContext,
    title: str,
    headline: str,
    points: list[dict[str, Any]],
    report: dict[str, Any],
    first: str,
) -> Summary:
    columns = (first, *(["rows"] if first != "rows" else []), case.metric.name)
    rows = tuple((p[first], *([p["rows"]] if first != "rows" else []), p["shown"]) for p in points)
    return Summary(headline=headline, tables=(Table(title, columns, rows),), facts=report)
