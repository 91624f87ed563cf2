"""`mlops monitor`: evaluates each version in a window; the production version's verdict counts."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams, MlopsError, NotFound, nearest
from mlops_cli.events import open_reader
from mlops_cli.events.project_log import log_url
from mlops_cli.monitoring.evaluate_window import WindowEvaluation, evaluate_window
from mlops_cli.monitoring.findings import MonitoringFinding
from mlops_cli.monitoring.history import MonitoringHistory
from mlops_cli.monitoring.load_baseline import load_baseline
from mlops_cli.monitoring.read_window import Span, read_window
from mlops_cli.monitoring.train_serve_skew import find_skew
from mlops_cli.registry.select_version import WORKSPACE, select_model
from mlops_cli.reporting import count_noun

if TYPE_CHECKING:
    from mlops_cli.events.reader import Reader, TimeColumn, VersionCounts
    from mlops_cli.layout import Layout
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.params import Params
    from mlops_cli.params.monitor import Monitor
    from mlops_cli.registry.select_version import SelectedModel
    from mlops_cli.reporting import Progress

__all__ = ["MonitorOptions", "MonitoringReport", "monitor"]

_CLOCK_TOLERANCE = 300.0
"""Seconds that another machine's clock may be ahead of this one's."""


@dataclass(frozen=True)
class MonitorOptions:
    """Options of a monitoring run.

    Attributes
    ----------
    since, until
        The window ``[since, until)``; by default `monitor.window` up to the newest prediction.
    version
        By default the one in `retrain.stage`, and any other that made predictions in the window.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    version: str | None = None


@dataclass(frozen=True)
class MonitoringReport:
    """A verdict with its evidence; ``to_json`` is its stable form."""

    run_at: dt.datetime
    name: str
    version: str
    since: dt.datetime
    until: dt.datetime
    time_kind: str
    evaluation: WindowEvaluation
    version_counts: Sequence[VersionCounts] = ()
    other_versions: dict[str, WindowEvaluation] = field(default_factory=dict)
    previous_verdicts: Sequence[dict[str, Any]] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """``drift``, ``degraded``, both or none."""
        return self.evaluation.problems

    @property
    def status(self) -> str:
        """``ok``, ``drift``, ``degraded``, ``drift and degraded``, or ``not judged``."""
        rows = self.evaluation.results["rows"]
        unjudged = self.evaluation.results.get("estimate") is None
        return " and ".join(self.problems) or ("not judged" if unjudged or not rows else "ok")

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "format": 1,
            "at": self.run_at.isoformat(timespec="seconds"),
            "model": self.name,
            "version": self.version,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "time": self.time_kind,
            "status": self.status,
            "found": list(self.problems),
            "findings": [finding.to_json() for finding in self.evaluation.findings],
            **self.evaluation.results,
            "versions": [counts._asdict() for counts in self.version_counts],
            "others": {
                number: {
                    "found": list(evaluation.problems),
                    "findings": [finding.to_json() for finding in evaluation.findings],
                    **evaluation.results,
                }
                for number, evaluation in self.other_versions.items()
            },
        }

    def verdict(self) -> dict[str, Any]:
        """Short form for the history, which plots and retraining use."""
        report = self.to_json()
        keys = ("at", "model", "version", "since", "until", "time", "status", "found", "rows")
        performance, estimate = report["performance"] or {}, report["estimate"] or {}
        return {
            **{key: report[key] for key in keys},
            "findings": [f for f in report["findings"] if f["means"] != "note"],
            "figures": {n: entry["figure"] for n, entry in performance.get("figures", {}).items()},
            "estimate": {key: estimate.get(key) for key in ("figures", "check", "trusted")},
            "coverage": performance.get("complete_coverage"),
            "judged": performance.get("judged", False),
            "latency": report["latency"],
        }


def monitor(
    params: Params, layout: Layout, options: MonitorOptions, progress: Progress
) -> MonitoringReport:
    """Evaluate a window, and append the verdict to the history.

    Raises
    ------
    NotFound
        If there is no event log, or no such version.
    SourceUnreadable
        If the log's database can't be reached, or the connection is lost.
    BadParams
        If the section `monitor` doesn't fit the model.
    """
    now = time.time()
    reader = open_reader(log_url(), layout)
    history = MonitoringHistory(layout)
    try:
        rules = params.monitor
        by = rules.by
        span, notes = _choose_span(reader, rules, options, by, now)
        version_counts = reader.count_by_version(span.since, span.until, time_column=by)
        main = _select_main(params, layout, options, version_counts, progress)
        previous_verdicts = [v for v in history.verdicts() if v["version"] == main.number]
        evaluation = _evaluate_version(
            params, layout, reader, span, main, progress, previous_verdicts
        )
        others = _evaluate_others(
            params, layout, reader, span, version_counts, main, options, progress
        )
        conflicts = reader.count_conflicts(span.since if by == "at" else None)
    finally:
        reader.close()
    labels = {"contradicting": conflicts.contradicting, "unknown": conflicts.unknown}
    notes += _make_notes(conflicts.contradicting, conflicts.unknown, version_counts, main.number)
    report = MonitoringReport(
        dt.datetime.fromtimestamp(now, dt.UTC),
        main.name,
        main.number,
        dt.datetime.fromtimestamp(span.since, dt.UTC),
        dt.datetime.fromtimestamp(span.until, dt.UTC),
        rules.time,
        evaluation.with_findings(notes, labels=labels),
        version_counts,
        others,
        previous_verdicts,
    )
    history.add(report.verdict())
    return report


def _choose_span(
    reader: Reader, rules: Monitor, options: MonitorOptions, by: TimeColumn, now: float
) -> tuple[Span, list[MonitoringFinding]]:
    """Choose the window; warn of predictions with a time in the future."""
    notes = []
    # Moments may be in the future; the times of requests may not.
    limit = now + _CLOCK_TOLERANCE if by == "at" else None
    until = None if options.until is None else options.until.timestamp()
    if by == "at" and (last := reader.newest_time()) is not None and last >= now + _CLOCK_TOLERANCE:
        ahead = sum(m.rows for m in reader.count_by_version(now + _CLOCK_TOLERANCE))
        message = (
            f"{ahead:,} predictions have a time in the future, up to {last - now:,.0f} s ahead: a "
            "service's clock is wrong; they are left out unless --until asks for them."
        )
        notes.append(MonitoringFinding("clock", "warning", message))
    if until is None:
        newest = reader.newest_time(limit, time_column=by)
        # The window excludes its end, and the newest prediction belongs to it.
        until = (now if newest is None else newest) + 1e-6
    end = dt.datetime.fromtimestamp(until, dt.UTC)
    since = subtract(end, rules.window).timestamp() if options.since is None else None
    if options.since is not None:
        since = options.since.timestamp()
    assert since is not None  # noqa: S101 - one of both
    return Span(since, until, by), notes


def _select_main(
    params: Params,
    layout: Layout,
    options: MonitorOptions,
    version_counts: Sequence[VersionCounts],
    progress: Progress,
) -> SelectedModel:
    """Select the version whose verdict counts."""
    if options.version is not None:
        return select_model(params, layout, options.version, progress)
    try:
        return select_model(params, layout, params.retrain.stage, progress)
    except NotFound:
        # The stage is empty: take the version that responded most, because people rely on it.
        versions = [m.version for m in version_counts if m.role != "shadow"]
        if not versions:
            raise
        return select_model(params, layout, versions[0], progress)


def _evaluate_version(
    params: Params,
    layout: Layout,
    reader: Reader,
    span: Span,
    version: SelectedModel,
    progress: Progress,
    previous_verdicts: Sequence[dict[str, Any]] = (),
) -> WindowEvaluation:
    baseline = load_baseline(version.folder, params)
    rules = params.monitor
    _check_slices(rules, baseline)
    data = read_window(
        reader,
        span,
        version.number,
        baseline,
        slices=rules.slices,
        sample_rows=rules.skew_rows,
        progress=progress,
    )
    progress.update(f"judging {len(data.window):,} predictions of {version.number}")
    checks = [v["estimate"]["check"] for v in previous_verdicts if v["estimate"].get("check")]
    evaluation = evaluate_window(
        data.window,
        baseline,
        rules,
        seed=params.project.seed,
        previous_check=checks[-1] if checks else None,
    )
    findings = []
    if data.unreadable_rows:
        message = (
            f"{data.unreadable_rows:,} predictions don't have the {len(baseline.kinds)} features "
            f"and the output of {version.number}, and are left out."
        )
        findings.append(MonitoringFinding("unread", "warning", message))
    if data.unknown_labels:
        labels = count_noun(data.unknown_labels, "label")
        message = f"{labels} of none of the model's classes: taken as missing."
        findings.append(MonitoringFinding("labels", "warning", message, details={"of": "strange"}))
    skew = None
    if rules.skew_rows and len(data.window) >= rules.min_rows:
        progress.update("computing logged rows again")
        skew = find_skew(version.folder, layout, data.sample)
        findings += skew.findings
    return evaluation.with_findings(findings, skew=None if skew is None else skew.to_json())


def _check_slices(rules: Monitor, baseline: Baseline) -> None:
    for name in rules.slices:
        if name not in baseline.kinds:
            raise BadParams(
                f"monitor.slices names {name!r}, which is no feature (params.yaml)",
                nearest(name, baseline.kinds),
            )


def _evaluate_others(
    params: Params,
    layout: Layout,
    reader: Reader,
    span: Span,
    version_counts: Sequence[VersionCounts],
    main: SelectedModel,
    options: MonitorOptions,
    progress: Progress,
) -> dict[str, WindowEvaluation]:
    """Evaluate the other versions of the window, each by itself."""
    if options.version is not None:
        return {}
    evaluations = {}
    for number in dict.fromkeys(m.version for m in version_counts if m.version != main.number):
        try:
            other = select_model(params, layout, number, progress)
            evaluations[number] = _evaluate_version(params, layout, reader, span, other, progress)
        except (NotFound, BadParams) as error:
            rows = sum(m.rows for m in version_counts if m.version == number)
            message = (
                f"{number} made {rows:,} predictions and isn't judged: {_without_period(error)}."
            )
            evaluations[number] = WindowEvaluation(
                [MonitoringFinding("version", "note", message)], {"rows": rows}
            )
    return evaluations


def _without_period(error: MlopsError) -> str:
    return error.message.rstrip(".")


def _make_notes(
    contradicting: int, unknown: int, version_counts: Sequence[VersionCounts], version: str
) -> list[MonitoringFinding]:
    notes = []
    if contradicting:
        message = (
            f"{count_noun(contradicting, 'label')} contradicting an earlier one: the last counts."
        )
        notes.append(MonitoringFinding("labels", "note", message, details={"of": "contradicting"}))
    if unknown:
        message = f"{count_noun(unknown, 'label')} of no prediction in the log."
        notes.append(MonitoringFinding("labels", "note", message, details={"of": "unknown"}))
    if len({m.version for m in version_counts}) > 1:
        rows = sum(m.rows for m in version_counts)
        own = sum(m.rows for m in version_counts if m.version == version)
        message = (
            f"Several versions made predictions; the verdict is of {version} ({own:,} of "
            f"{rows:,}), the others are judged by themselves."
        )
        notes.append(MonitoringFinding("version", "note", message))
    if version == WORKSPACE:
        notes.append(MonitoringFinding("version", "note", "The model of the last run is judged."))
    return notes
