"""Learning curve (fewer training rows) and staleness (older training rows) of a model."""

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

_MIN_ROWS = 30
"""Minimum rows of a fit."""


def learning(case: StudyContext, progress: Progress) -> StudyResult:
    """Refit on repeatedly halved rows; each training set is part of the next larger one."""
    total = min(case.options.max_rows, len(case.training_rows))
    sizes = [total // 2**halvings for halvings in range(max(0, case.options.steps), -1, -1)]
    parts, frame = [], case.training_rows
    for size in reversed(sizes):
        frame = case.sample_rows(frame, size)
        parts.append((str(size), frame))
    points, comparison = _fit_on_parts(case, list(reversed(parts)), progress)
    half = points[-2]["rows"] if len(points) > 1 else None
    gain = comparison.gains.get(str(half), {}).get(case.metric.name) if half else None
    headline = f"{case.metric.name} {points[-1]['shown']} on {points[-1]['rows']:,} rows"
    if gain:
        headline += f"; better by {format_cell(gain)} than on half of them"
    report = _report(case, points) | ({"gain_of_the_last_half": gain.to_json()} if gain else {})
    return StudyResult(report, _summary(case, "Learning curve", headline, points, report, "rows"))


def staleness(case: StudyContext, progress: Progress) -> StudyResult:
    """Refit on older and older training rows, each set over a span of the same length.

    Raises
    ------
    DataRefused
        If rows have no time, or the training rows span too few steps.
    """
    import polars as pl

    if TIME not in case.training_rows.columns:
        raise DataRefused(
            "rows have no time, so none are older than others",
            "Name the base source's time under ingest.sources.",
        )
    timed_rows = case.training_rows.filter(pl.col(TIME).is_not_null()).sort(
        TIME, maintain_order=True
    )
    steps = case.options.steps
    if steps < 1:
        raise Usage(f"--steps is {steps}", "Give at least 1.")
    ends = _end_times(timed_rows[TIME].max(), case.options.step, steps)
    first: Any = timed_rows[TIME].min()
    oldest = timed_rows.filter(pl.col(TIME) <= ends[-1])
    if len(oldest) < _MIN_ROWS:
        raise DataRefused(
            f"the training rows begin at {first}, too late for {steps} steps of "
            f"{case.options.step} back from {ends[0]}",
            "Give fewer --steps, or a shorter --step.",
        )
    parts = []
    for step, end in enumerate(ends):
        begin = first + (end - ends[-1])
        rows = timed_rows.filter(pl.col(TIME).is_between(begin, end))
        parts.append(
            (f"{step} x {case.options.step}", case.sample_rows(rows, case.options.max_rows))
        )
    points, comparison = _fit_on_parts(case, list(reversed(parts)), progress)
    for point, end in zip(points, reversed(ends), strict=True):
        point["until"] = end.isoformat()
    points.reverse()
    metric = case.metric.name
    for point in points[1:]:
        gain = comparison.gains[point["training"]].get(metric)
        if gain:
            point["loss"] = gain.to_json()
    worst = points[-1]
    headline = f"{metric} {points[0]['shown']} on the newest rows, {worst['shown']} on the oldest"
    report = _report(case, points) | {"step": case.options.step}
    return StudyResult(report, _summary(case, "Staleness", headline, points, report, "until"))


def _end_times(last: Any, step: str, steps: int) -> Sequence[dt.datetime]:
    import polars as pl

    try:
        column = pl.Series([last]).to_frame("t")
        ends = [last]
        for _ in range(steps):
            column = column.select(pl.col("t").dt.offset_by(f"-{step}"))
            ends.append(column.item())
    except pl.exceptions.PolarsError:
        raise Usage(
            f"--step is {step!r}, which is no span", "Give one such as 7d or 1mo."
        ) from None
    return ends


def _fit_on_parts(
    case: StudyContext, parts: list[tuple[str, pl.DataFrame]], progress: Progress
) -> tuple[list[dict[str, Any]], Comparison]:
    """Refit on each part, and compare the others with the last one."""
    features = list(case.bundle.encoder.kinds)
    parts = [
        (n, part) for n, part in parts if len(part) >= _MIN_ROWS and case.has_all_classes(part)
    ]
    if not parts:
        raise DataRefused(
            "there are too few training rows, or a class is missing among them",
            "Give more --rows, or fewer --steps.",
        )
    predictions = {}
    for done, (name, part) in enumerate(reversed(parts)):
        progress.update(f"fitting on {len(part):,} rows", done, len(parts))
        predictions[name] = case.refit(part, features).predict(case.test)
    progress.update("comparing")
    comparison = case.compare(predictions)
    points: list[dict[str, Any]] = []
    for name, part in parts:
        figure = comparison.figures[name].get(case.metric.name)
        points.append(
            {"training": name, "rows": len(part), "shown": format_cell(figure)}
            | (figure.to_json() if figure else {})
        )
    return points, comparison


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
    rows = tuple(
        (point[first], *([point["rows"]] if first != "rows" else []), point["shown"])
        for point in points
    )
    return Summary(headline=headline, tables=(Table(title, columns, rows),), facts=report)
