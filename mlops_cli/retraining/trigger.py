"""Retraining triggers: the result of monitoring, and the model's age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.durations import subtract
from mlops_cli.data.timestamps import format_timestamp
from mlops_cli.monitoring.history import MonitoringHistory

if TYPE_CHECKING:
    import datetime as dt

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["Trigger", "retrain_trigger"]

_MAX_NAMED = 3
"""The most findings that a reason names."""


@dataclass(frozen=True)
class Trigger:
    """Whether the model should be replaced.

    Attributes
    ----------
    reason
        Why it should; None: it needn't.
    detail
        What this is based on.
    """

    reason: str | None
    detail: str


def retrain_trigger(
    params: Params,
    layout: Layout,
    trained_until: dt.datetime | None,
    until: dt.datetime,
    version: str | None,
) -> Trigger:
    """Whether the model in ``retrain.stage`` should be replaced.

    Only the verdict of `mlops monitor` on the newest window counts: one on an earlier window says
    nothing about the present, and one on another version nothing about this one.

    Parameters
    ----------
    trained_until
        End of the model's data.
    until
        End of the data of a new model.
    version
        The version in the stage; None: there is none.
    """
    reasons = []
    every = params.retrain.every
    if every is not None and trained_until is not None and trained_until <= subtract(until, every):
        reasons.append(
            f"the model's data end {format_timestamp(trained_until)}, over {every} before "
            f"{format_timestamp(until)}"
        )
    rows = params.monitor.min_rows
    verdict = None if version is None else MonitoringHistory(layout).latest_verdict(version, rows)
    if verdict is None:
        return Trigger("; ".join(reasons) or None, f"mlops monitor hasn't judged {version}")
    detail = (
        f"mlops monitor found {verdict['status']} in the newest window, up to {verdict['until']}, "
        f"on {verdict['at']}"
    )
    triggering = [kind for kind in verdict["found"] if kind in params.retrain.when]
    if triggering:
        sentences = [f["sentence"] for f in verdict["findings"] if f["means"] in triggering]
        more = "" if len(sentences) <= _MAX_NAMED else f" (and {len(sentences) - _MAX_NAMED} more)"
        reasons.append(
            f"monitor found {' and '.join(triggering)}: {'; '.join(sentences[:_MAX_NAMED])}{more}"
        )
    return Trigger("; ".join(reasons) or None, detail)
