"""Who is told what: each finding once, and again where it lasts for `monitor.alerts.repeat`."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops_cli.data.durations import subtract
from mlops_cli.errors import MlopsError
from mlops_cli.monitoring import alert_channels
from mlops_cli.monitoring.history import MonitoringHistory

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.monitoring.findings import MonitoringFinding
    from mlops_cli.monitoring.monitor import MonitoringReport
    from mlops_cli.params.monitoring import Alerts, Email

__all__ = ["Told", "send_alerts"]

_SHOWN = 20

Told = tuple[str, int, str | None]
"""Channel, how many findings it was told, and why it couldn't be, or not wholly."""

_Send = Callable[[Sequence["MonitoringFinding"]], str | None]
"""Sends findings; gives what went wrong although they were sent."""


def send_alerts(wanted: Alerts, layout: Layout, report: MonitoringReport) -> list[Told]:
    """Send what is new to every channel; a channel that fails is told the same the next time.

    A finding that isn't there any more is forgotten, and told anew when it comes back; unless the
    window wasn't judged, which says nothing about it.
    """
    verdicts = MonitoringHistory(layout)
    told = verdicts.told()
    whose = f"{report.name}@{report.version}"
    now = {f.key: f for f in report.judgement.findings if f.means in wanted.when}
    if report.status != "not judged":
        told = {
            key: at
            for key, at in told.items()
            if not (about := _finding(key, whose)) or about in now
        }
    done: list[Told] = []
    for channel, send in _channels(wanted, report).items():
        due = [
            finding
            for key, finding in now.items()
            if _is_due(told.get(f"{channel}|{whose}|{key}"), report.at, wanted.repeat)
        ]
        if not due:
            continue
        try:
            trouble = send(due)
        except MlopsError as error:
            done.append((channel, 0, error.message))
            continue
        told |= {f"{channel}|{whose}|{f.key}": report.at.isoformat() for f in due}
        done.append((channel, len(due), trouble))
    try:
        verdicts.tell(told)
    except (OSError, MlopsError) as error:
        done.append((".mlops/monitor", 0, f"what was told can't be written down: {error}"))
    return done


def _finding(key: str, whose: str) -> str | None:
    """The finding of a channel's key, if it is one about this version."""
    _, _, rest = key.partition("|")
    about, _, finding = rest.partition("|")
    return finding if about == whose else None


def _is_due(last: str | None, now: dt.datetime, repeat: str | None) -> bool:
    try:
        at = dt.datetime.fromisoformat(last or "")
    except ValueError:
        return True
    return repeat is not None and at.replace(tzinfo=at.tzinfo or dt.UTC) <= subtract(now, repeat)


def _channels(wanted: Alerts, report: MonitoringReport) -> dict[str, _Send]:
    """Those that are set up, by name."""
    environment, found = os.environ, dict[str, _Send]()
    for channel, variable, content in (
        ("webhook", "MLOPS_ALERT_WEBHOOK", _plain),
        ("slack", "MLOPS_ALERT_SLACK", _slack),
    ):
        if url := environment.get(variable):
            found[channel] = partial(_post, url, variable, content, report)
    if (email := wanted.email) is not None:
        found["e-mail"] = partial(_mail, email, environment.get("MLOPS_SMTP_PASSWORD"), report)
    return found


def _post(
    url: str,
    variable: str,
    content: Callable[[MonitoringReport, Sequence[MonitoringFinding]], Mapping[str, Any]],
    report: MonitoringReport,
    due: Sequence[MonitoringFinding],
) -> None:
    alert_channels.post(url, content(report, due), variable)


def _mail(
    email: Email, password: str | None, report: MonitoringReport, due: Sequence[MonitoringFinding]
) -> str | None:
    headline = _headline(report)
    refused = alert_channels.send(email, password, headline, f"{headline}\n\n{_listed(due)}\n")
    return f"{refused} of {len(email.to)} addresses were refused" if refused else None


def _headline(report: MonitoringReport) -> str:
    return f"{report.name} {report.version}: {' and '.join(report.found) or report.status}"


def _listed(due: Sequence[MonitoringFinding]) -> str:
    lines = [f"- {finding.sentence}" for finding in due[:_SHOWN]]
    if len(due) > _SHOWN:
        lines.append(f"... and {len(due) - _SHOWN} more")
    return "\n".join(lines)


def _plain(report: MonitoringReport, due: Sequence[MonitoringFinding]) -> Mapping[str, Any]:
    return {
        "event": "mlops.monitor",
        "model": report.name,
        "version": report.version,
        "status": report.status,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "findings": [finding.to_json() for finding in due],
    }


def _slack(report: MonitoringReport, due: Sequence[MonitoringFinding]) -> Mapping[str, Any]:
    # Slack's own marks: https://api.slack.com/reference/surfaces/formatting#escaping
    marks = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    lines = _listed(due).translate(marks)
    headline = _headline(report).translate(marks)
    return {
        "text": headline,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _headline(report)[:150]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": lines[:3000]}},
        ],
    }
