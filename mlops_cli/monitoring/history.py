"""What monitoring found, run by run: for plots over time, for retraining, and for alerts."""

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
_BEGIN = dt.datetime.min.replace(tzinfo=dt.UTC)


class MonitoringHistory:
    """``.mlops/monitor/``: a line for each run in ``history.jsonl``, and what was told to whom."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.work / "monitor"
        self._history = self._folder / "history.jsonl"
        self._told = self._folder / "alerts.json"

    def history(self) -> list[dict[str, Any]]:
        """Former verdicts, oldest first; a line that a kill cut off is passed over."""
        return [e for e in read_json_lines(self._history) if e.get("format") == _FORMAT]

    def latest(self, version: str, least_rows: int = 0) -> dict[str, Any] | None:
        """A version's verdict on the newest window, however often older ones were looked at since.

        Windows go by the same time as in the last run. Of one window the last verdict counts; one
        of fewer rows than ``least_rows`` wasn't judged, and counts only where there is no other.
        """
        entries = [e for e in self.history() if e.get("version") == version]
        entries = [e for e in entries if e.get("time") == entries[-1].get("time")]
        judged = [e for e in entries if e.get("rows", 0) >= least_rows]
        return max(reversed(judged or entries), key=_end, default=None)

    def add(self, verdict: Mapping[str, Any]) -> None:
        """Append a verdict, durably."""
        append_json_line(self._history, {"format": _FORMAT, **verdict})

    def told(self) -> dict[str, str]:
        """Finding's key -> when it was last told, as ISO 8601."""
        if not self._told.exists():
            return {}
        try:
            found = read_json(self._told)
        except DataRefused:
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}

    def tell(self, told: Mapping[str, str]) -> None:
        """Keep what was told."""
        write_json(self._told, dict(told))


def _end(entry: dict[str, Any]) -> dt.datetime:
    """When a window ends; one that reaches into the future ends when it was looked at."""
    ends = [dt.datetime.fromisoformat(entry[key]) for key in ("until", "at") if entry.get(key)]
    return min((end if end.tzinfo else end.replace(tzinfo=dt.UTC) for end in ends), default=_BEGIN)
