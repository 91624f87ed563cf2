"""`mlops monitor`: judges each version of a window; that of the one in production counts."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams, MlopsError, NotFound, nearest
from mlops_cli.events import open_reader
from mlops_cli.events.open_log import log_url
from mlops_cli.monitoring.evaluate_window import WindowEvaluation, evaluate_window
from mlops_cli.monitoring.findings import MonitoringFinding
from mlops_cli.monitoring.history import MonitoringHistory
from mlops_cli.monitoring.load_baseline import load_baseline
from mlops_cli.monitoring.read_window import Span, read_window
from mlops_cli.monitoring.train_serve_skew import find_skew
from mlops_cli.registry.select_version import WORKSPACE, select_model
from mlops_cli.reporting import count_noun

if TYPE_CHECKING:
    from mlops_cli.events.reader import By, Reader, VersionCounts
    from mlops_cli.layout import Layout
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.params import Params
    from mlops_cli.params.monitoring import Monitor
    from mlops_cli.registry.select_version import SelectedModel
    from mlops_cli.reporting import Progress

__all__ = ["MonitorOptions", "MonitoringReport", "monitor"]

_SKEW = 300.0
"""Seconds that another machine's clock may be ahead of this one's."""


@dataclass(frozen=True)
class MonitorOptions:
    """What is asked for.

    Attributes
    ----------
    since, until
        The window ``[since, until)``; by default `monitor.window` up to the newest prediction.
    version
        By default the one in `retrain.stage`, and whatever else made predictions in the window.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    version: str | None = None


@dataclass(frozen=True)
class MonitoringReport:
    """A verdict, with all that it rests on; ``to_json`` is its stable form."""

    at: dt.datetime
    name: str
    version: str
    since: dt.datetime
    until: dt.datetime
    time: str
    judgement: WindowEvaluation
    mix: Sequence[VersionCounts] = ()
    others: dict[str, WindowEvaluation] = field(default_factory=dict)
    former: Sequence[dict[str, Any]] = ()

    @property
    def found(self) -> tuple[str, ...]:
        """``drift``, ``degraded``, both or none."""
        return self.judgement.found

    @property
    def status(self) -> str:
        """``ok``, ``drift``, ``degraded``, ``drift and degraded``, or ``not judged``."""
        rows = self.judgement.facts["rows"]
        unjudged = self.judgement.facts.get("estimate") is None
        return " and ".join(self.found) or ("not judged" if unjudged or not rows else "ok")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "format": 1,
            "at": self.at.isoformat(timespec="seconds"),
            "model": self.name,
            "version": self.version,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "time": self.time,
            "status": self.status,
            "found": list(self.found),
            "findings": [finding.to_json() for finding in self.judgement.findings],
            **self.judgement.facts,
            "versions": [mixed._asdict() for mixed in self.mix],
            "others": {
                number: {
                    "found": list(judged.found),
                    "findings": [finding.to_json() for finding in judged.findings],
                    **judged.facts,
                }
                for number, judged in self.others.items()
            },
        }

    def verdict(self) -> dict[str, Any]:
        """What the history keeps: short, for plots over time and for retraining."""
        whole = self.to_json()
        kept = ("at", "model", "version", "since", "until", "time", "status", "found", "rows")
        performance, estimate = whole["performance"] or {}, whole["estimate"] or {}
        return {
            **{key: whole[key] for key in kept},
            "findings": [f for f in whole["findings"] if f["means"] != "note"],
            "figures": {n: of["figure"] for n, of in performance.get("figures", {}).items()},
            "estimate": {key: estimate.get(key) for key in ("figures", "check", "trusted")},
            "coverage": performance.get("complete_coverage"),
            "judged": performance.get("judged", False),
            "latency": whole["latency"],
        }


def monitor(
    params: Params, layout: Layout, wanted: MonitorOptions, progress: Progress
) -> MonitoringReport:
    """Judge a window, and append the verdict to the history.

    Raises
    ------
    NotFound
        If there is no event log, or no such version.
    SourceUnreadable
        If the log's database can't be reached, or goes away.
    BadParams
        If the section `monitor` doesn't fit the model.
    """
    now = time.time()
    reader = open_reader(log_url(), layout)
    verdicts = MonitoringHistory(layout)
    try:
        rules = params.monitor
        by = rules.by
        span, notes = _span(reader, rules, wanted, by, now)
        mix = reader.mix(span.since, span.until, by=by)
        first = _first(params, layout, wanted, mix, progress)
        former = [v for v in verdicts.history() if v["version"] == first.number]
        judgement = _judged(params, layout, reader, span, first, progress, former)
        others = _others(params, layout, reader, span, mix, first, wanted, progress)
        apart = reader.apart(span.since if by == "at" else None)
    finally:
        reader.close()
    labels = {"contradicting": apart.contradicting, "unknown": apart.unknown}
    notes += _told(apart.contradicting, apart.unknown, mix, first.number)
    report = MonitoringReport(
        dt.datetime.fromtimestamp(now, dt.UTC),
        first.name,
        first.number,
        dt.datetime.fromtimestamp(span.since, dt.UTC),
        dt.datetime.fromtimestamp(span.until, dt.UTC),
        rules.time,
        judgement.with_more(notes, labels=labels),
        mix,
        others,
        former,
    )
    verdicts.add(report.verdict())
    return report


def _span(
    reader: Reader, rules: Monitor, wanted: MonitorOptions, by: By, now: float
) -> tuple[Span, list[MonitoringFinding]]:
    """The window, and what is strange about the log's times."""
    notes = []
    # Moments lie ahead by nature; when something was asked for doesn't.
    limit = now + _SKEW if by == "at" else None
    until = None if wanted.until is None else wanted.until.timestamp()
    if by == "at" and (last := reader.newest()) is not None and last >= now + _SKEW:
        ahead = sum(m.rows for m in reader.mix(now + _SKEW))
        said = (
            f"{ahead:,} predictions bear a time in the future, up to {last - now:,.0f} s ahead: a "
            "service's clock is wrong; they are left out unless --until asks for them."
        )
        notes.append(MonitoringFinding("clock", "warning", said))
    if until is None:
        newest = reader.newest(limit, by=by)
        # The window is open at its end, and the newest one belongs to it.
        until = (now if newest is None else newest) + 1e-6
    end = dt.datetime.fromtimestamp(until, dt.UTC)
    since = subtract(end, rules.window).timestamp() if wanted.since is None else None
    if wanted.since is not None:
        since = wanted.since.timestamp()
    assert since is not None  # noqa: S101 - one of both
    return Span(since, until, by), notes


def _first(
    params: Params,
    layout: Layout,
    wanted: MonitorOptions,
    mix: Sequence[VersionCounts],
    progress: Progress,
) -> SelectedModel:
    """The version whose verdict counts."""
    if wanted.version is not None:
        return select_model(params, layout, wanted.version, progress)
    try:
        return select_model(params, layout, params.retrain.stage, progress)
    except NotFound:
        # Nothing is in the stage: what answered most is what people rely on.
        answered = [m.version for m in mix if m.role != "shadow"]
        if not answered:
            raise
        return select_model(params, layout, answered[0], progress)


def _judged(
    params: Params,
    layout: Layout,
    reader: Reader,
    span: Span,
    version: SelectedModel,
    progress: Progress,
    former: Sequence[dict[str, Any]] = (),
) -> WindowEvaluation:
    basis = load_baseline(version.folder, params)
    rules = params.monitor
    _known(rules, basis)
    taken = read_window(
        reader,
        span,
        version.number,
        basis,
        slices=rules.slices,
        sample=rules.skew_rows,
        progress=progress,
    )
    progress.update(f"judging {len(taken.window):,} predictions of {version.number}")
    checks = [v["estimate"]["check"] for v in former if v["estimate"].get("check")]
    judged = evaluate_window(
        taken.window,
        basis,
        rules,
        seed=params.project.seed,
        former=checks[-1] if checks else None,
    )
    more = []
    if taken.unread:
        said = (
            f"{taken.unread:,} predictions don't have the {len(basis.kinds)} features and the "
            f"output of {version.number}, and are left out."
        )
        more.append(MonitoringFinding("unread", "warning", said))
    if taken.strange:
        labels = count_noun(taken.strange, "label")
        said = f"{labels} of none of the model's classes: taken as missing."
        more.append(MonitoringFinding("labels", "warning", said, details={"of": "strange"}))
    compared = None
    if rules.skew_rows and len(taken.window) >= rules.min_rows:
        progress.update("computing logged rows again")
        compared = find_skew(version.folder, layout, taken.sample)
        more += compared.findings
    return judged.with_more(more, skew=None if compared is None else compared.to_json())


def _known(rules: Monitor, basis: Baseline) -> None:
    for name in rules.slices:
        if name not in basis.kinds:
            raise BadParams(
                f"monitor.slices names {name!r}, which is no feature (params.yaml)",
                nearest(name, basis.kinds),
            )


def _others(
    params: Params,
    layout: Layout,
    reader: Reader,
    span: Span,
    mix: Sequence[VersionCounts],
    first: SelectedModel,
    wanted: MonitorOptions,
    progress: Progress,
) -> dict[str, WindowEvaluation]:
    """The other versions of the window, each by itself."""
    if wanted.version is not None:
        return {}
    found = {}
    for number in dict.fromkeys(m.version for m in mix if m.version != first.number):
        try:
            other = select_model(params, layout, number, progress)
            found[number] = _judged(params, layout, reader, span, other, progress)
        except (NotFound, BadParams) as error:
            rows = sum(m.rows for m in mix if m.version == number)
            said = f"{number} made {rows:,} predictions and isn't judged: {_plain(error)}."
            found[number] = WindowEvaluation(
                [MonitoringFinding("version", "note", said)], {"rows": rows}
            )
    return found


def _plain(error: MlopsError) -> str:
    return error.message.rstrip(".")


def _told(
    contradicting: int, unknown: int, mix: Sequence[VersionCounts], number: str
) -> list[MonitoringFinding]:
    notes = []
    if contradicting:
        said = f"{count_noun(contradicting, 'label')} against an earlier one: the last counts."
        notes.append(MonitoringFinding("labels", "note", said, details={"of": "contradicting"}))
    if unknown:
        said = f"{count_noun(unknown, 'label')} of no prediction in the log."
        notes.append(MonitoringFinding("labels", "note", said, details={"of": "unknown"}))
    if len({m.version for m in mix}) > 1:
        rows = sum(m.rows for m in mix)
        own = sum(m.rows for m in mix if m.version == number)
        said = (
            f"Several versions made predictions; the verdict is of {number} ({own:,} of {rows:,}), "
            "the others are judged by themselves."
        )
        notes.append(MonitoringFinding("version", "note", said))
    if number == WORKSPACE:
        notes.append(MonitoringFinding("version", "note", "The model of the last run is judged."))
    return notes
