"""Retraining triggers use the newest window, whenever it was evaluated."""

import datetime as dt

import pytest
from small_projects import PARAMS

from mlops_cli import params as parameters
from mlops_cli.layout import Layout
from mlops_cli.monitoring.history import MonitoringHistory
from mlops_cli.retraining.trigger import retrain_trigger

OCTOBER, NOVEMBER = "2025-11-01T00:00:00+00:00", "2025-12-01T00:00:00+00:00"
"""Where these months' windows end."""
UNTIL = dt.datetime(2025, 12, 2, tzinfo=dt.UTC)


def verdict(
    until, found, *, at="2025-12-02T00:00:00+00:00", rows=320, version="v0.1.0", time="moment"
):
    return {
        "at": at, "version": version, "until": until, "time": time, "rows": rows,
        "status": found or "ok", "found": [found] if found else [],
        "findings": [{"means": found, "sentence": f"{found} up to {until}"}] if found else [],
    }  # fmt: skip


def reason(tmp_path, *verdicts):
    layout = Layout(tmp_path)
    for one in verdicts:
        MonitoringHistory(layout).add(one)
    params = parameters.parse(PARAMS)
    return retrain_trigger(params, layout, None, UNTIL, "v0.1.0").reason


def test_an_evaluation_of_an_older_window_triggers_no_retraining(tmp_path):
    """October was bad, November is not, and October is looked at once more."""
    again = verdict(OCTOBER, "drift", at="2025-12-05T00:00:00+00:00")
    assert reason(tmp_path, verdict(OCTOBER, "drift"), verdict(NOVEMBER, ""), again) is None


def test_an_evaluation_of_an_older_window_cancels_no_retraining(tmp_path):
    found = reason(tmp_path, verdict(NOVEMBER, "drift"), verdict(OCTOBER, ""))
    assert f"drift up to {NOVEMBER}" in found


def test_of_one_window_the_last_verdict_counts(tmp_path):
    """As labels come, a window is judged anew."""
    found = reason(tmp_path, verdict(NOVEMBER, ""), verdict(NOVEMBER, "degraded"))
    assert "degraded" in found
    assert reason(tmp_path, verdict(NOVEMBER, "")) is None


def test_a_window_of_too_few_rows_says_nothing_of_the_one_before(tmp_path):
    found = reason(tmp_path, verdict(NOVEMBER, "drift"), verdict(UNTIL.isoformat(), "", rows=9))
    assert "drift" in found


def test_a_window_into_the_future_is_no_newer_than_its_look(tmp_path):
    assert reason(
        tmp_path,
        verdict("2099-01-01T00:00:00+00:00", "drift", at=OCTOBER),
        verdict(NOVEMBER, ""),
    ) is None  # fmt: skip


@pytest.mark.parametrize("other", [{"version": "v0.2.0"}, {"time": "request"}])
def test_verdicts_of_another_version_or_time_are_none_of_this(tmp_path, other):
    assert (
        reason(tmp_path, verdict(UNTIL.isoformat(), "drift", **other), verdict(NOVEMBER, ""))
        is None
    )
