"""Alerts: sends each finding once per channel, and again after `monitor.alerts.repeat`."""

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
    from mlops_cli.params.monitor import Alerts, Email

__all__ = ["ChannelResult", "send_alerts"]

_SHOWN = 20

ChannelResult = tuple[str, int, str | None]
"""Channel, number of findings that were sent to it, and why sending failed, wholly or partly."""

_Send = Callable[[Sequence["MonitoringFinding"]], str | None]
"""Sends findings; returns what went wrong although they were sent, or None."""


def send_alerts(settings: Alerts, layout: Layout, report: MonitoringReport) -> list[ChannelResult]:
    """Send new findings to every channel; a channel that fails gets them again the next time.

    A finding that has disappeared is forgotten, and sent again when it returns. If the window
    wasn't evaluated, no finding is forgotten, because nothing is known about it.
    """
    history = MonitoringHistory(layout)
    sent_at = history.sent_times()
    version = f"{report.name}@{report.version}"
    findings = {f.key: f for f in report.evaluation.findings if f.severity in settings.when}
    if report.status != "not judged":
        sent_at = {
            key: moment
            for key, moment in sent_at.items()
            if not (finding_key := _finding_key(key, version)) or finding_key in findings
        }
    results: list[ChannelResult] = []
    for channel, send in _channels(settings, report).items():
        due = [
            finding
            for key, finding in findings.items()
            if _is_due(sent_at.get(f"{channel}|{version}|{key}"), report.run_at, settings.repeat)
        ]
        if not due:
            continue
        try:
            failure = send(due)
        except MlopsError as error:
            results.append((channel, 0, error.message))
            continue
        sent_at |= {f"{channel}|{version}|{f.key}": report.run_at.isoformat() for f in due}
        results.append((channel, len(due), failure))
    try:
        history.record_sent(sent_at)
    except (OSError, MlopsError) as error:
        results.append((".mlops/monitor", 0, f"sent alerts can't be recorded: {error}"))
    return results


def _finding_key(key: str, wanted_version: str) -> str | None:
    """The finding in a channel's key, if it is about this version."""
    _, _, rest = key.partition("|")
    version, _, finding = rest.partition("|")
    return finding if version == wanted_version else None


def _is_due(last: str | None, now: dt.datetime, repeat: str | None) -> bool:
    try:
        moment = dt.datetime.fromisoformat(last or "")
    except ValueError:
        return True
    return repeat is not None and moment.replace(tzinfo=moment.tzinfo or dt.UTC) <= subtract(
        now, repeat
    )


def _channels(settings: Alerts, report: MonitoringReport) -> dict[str, _Send]:
    """Channels that are configured, by name."""
    environment, channels = os.environ, dict[str, _Send]()
    for channel, variable, content in (
        ("webhook", "MLOPS_ALERT_WEBHOOK", _webhook_content),
        ("slack", "MLOPS_ALERT_SLACK", _slack_content),
    ):
        if url := environment.get(variable):
            channels[channel] = partial(_post_to_webhook, url, variable, content, report)
    if (email := settings.email) is not None:
        channels["e-mail"] = partial(
            _send_email, email, environment.get("MLOPS_SMTP_PASSWORD"), report
        )
    return channels


def _post_to_webhook(
    url: str,
    variable: str,
    content: Callable[[MonitoringReport, Sequence[MonitoringFinding]], Mapping[str, Any]],
    report: MonitoringReport,
    due: Sequence[MonitoringFinding],
) -> None:
    alert_channels.post(url, content(report, due), variable)


def _send_email(
    email: Email, password: str | None, report: MonitoringReport, due: Sequence[MonitoringFinding]
) -> str | None:
    headline = _headline(report)
    refused = alert_channels.send(
        email, password, headline, f"{headline}\n\n{_list_findings(due)}\n"
    )
    return f"{refused} of {len(email.to)} addresses were refused" if refused else None


def _headline(report: MonitoringReport) -> str:
    return f"{report.name} {report.version}: {' and '.join(report.problems) or report.status}"


def _list_findings(due: Sequence[MonitoringFinding]) -> str:
    lines = [f"- {finding.sentence}" for finding in due[:_SHOWN]]
    if len(due) > _SHOWN:
        lines.append(f"... and {len(due) - _SHOWN} more")
    return "\n".join(lines)


def _webhook_content(
    report: MonitoringReport, due: Sequence[MonitoringFinding]
) -> Mapping[str, Any]:
    return {
        "event": "mlops.monitor",
        "model": report.name,
        "version": report.version,
        "status": report.status,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "findings": [finding.to_json() for finding in due],
    }


def _slack_content(report: MonitoringReport, due: Sequence[MonitoringFinding]) -> Mapping[str, Any]:
    # Slack's special characters: https://api.slack.com/reference/surfaces/formatting#escaping
    escapes = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
    lines = _list_findings(due).translate(escapes)
    headline = _headline(report).translate(escapes)
    return {
        "text": headline,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _headline(report)[:150]}},
            {"type": "section", "text": {"type": "mrkdwn", "text": lines[:3000]}},
        ],
    }
