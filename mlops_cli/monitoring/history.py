"""History of monitoring runs, for plots and retraining, and record of sent alerts."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import append_json_line, read_json, read_json_lines, write_json
from mlops_cli.errors import DataRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_cli.layout import Layout

__all__ = ["MonitoringHistory"]

_FORMAT = 1
_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)


class MonitoringHistory:
    """``.mlops/monitor/``: verdicts in ``history.jsonl``, and sent alerts in ``alerts.json``."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.work / "monitor"
        self._history = self._folder / "history.jsonl"
        self._alerts = self._folder / "alerts.json"

    def verdicts(self) -> list[dict[str, Any]]:
        """Former verdicts, oldest first; a line that a kill left incomplete is skipped."""
        return [e for e in read_json_lines(self._history) if e.get("format") == _FORMAT]

    def latest_verdict(self, version: str, min_rows: int = 0) -> dict[str, Any] | None:
        """A version's verdict on its newest window, even if it ran on older ones since.

        Only windows by the kind of time of the last run count. Of several verdicts on one window
        the last one counts. A window with fewer rows than ``min_rows`` wasn't evaluated, and
        counts only if there is no other.
        """
        entries = [e for e in self.verdicts() if e.get("version") == version]
        entries = [e for e in entries if e.get("time") == entries[-1].get("time")]
        large_enough = [e for e in entries if e.get("rows", 0) >= min_rows]
        return max(reversed(large_enough or entries), key=_end, default=None)

    def add(self, verdict: Mapping[str, Any]) -> None:
        """Append a verdict, durably."""
        append_json_line(self._history, {"format": _FORMAT, **verdict})

    def sent_times(self) -> dict[str, str]:
        """Finding's key -> when it was last sent, as ISO 8601."""
        if not self._alerts.exists():
            return {}
        try:
            times = read_json(self._alerts)
        except DataRefused:
            return {}
        return {str(k): str(v) for k, v in times.items()} if isinstance(times, dict) else {}

    def record_sent(self, times: Mapping[str, str]) -> None:
        """Record when findings were sent."""
        write_json(self._alerts, dict(times))


def _end(entry: dict[str, Any]) -> dt.datetime:
    """End of a verdict's window, or the time of the run if the window ends later."""
    ends = [dt.datetime.fromisoformat(entry[key]) for key in ("until", "at") if entry.get(key)]
    return min(
        (end if end.tzinfo else end.replace(tzinfo=dt.UTC) for end in ends), default=_EARLIEST
    )
