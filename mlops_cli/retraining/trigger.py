"""Whether a new model is needed, and why."""

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

_NAMED = 3
"""Findings that a reason names."""


@dataclass(frozen=True)
class Trigger:
    """Why the model should be replaced.

    Attributes
    ----------
    reason
        None: it needn't.
    detail
        What that rests on.
    """

    reason: str | None
    detail: str


def retrain_trigger(
    params: Params,
    layout: Layout,
    trained: dt.datetime | None,
    until: dt.datetime,
    version: str | None,
) -> Trigger:
    """Whether the model in ``retrain.stage`` should be replaced.

    Its verdict by `mlops monitor` on the newest window counts: a look back says nothing of now, and
    one about another version nothing of this one.

    Parameters
    ----------
    trained
        Up to when its data go.
    until
        Up to when a new one's would.
    version
        The version in the stage; None: there is none.
    """
    reasons = []
    every = params.retrain.every
    if every is not None and trained is not None and trained <= subtract(until, every):
        reasons.append(
            f"the model's data end {format_timestamp(trained)}, over {every} before "
            f"{format_timestamp(until)}"
        )
    rows = params.monitor.min_rows
    verdict = None if version is None else MonitoringHistory(layout).latest(version, rows)
    if verdict is None:
        return Trigger("; ".join(reasons) or None, f"mlops monitor hasn't judged {version}")
    detail = (
        f"mlops monitor found {verdict['status']} in the newest window, up to {verdict['until']}, "
        f"on {verdict['at']}"
    )
    wanted = [what for what in verdict["found"] if what in params.retrain.when]
    if wanted:
        why = [f["sentence"] for f in verdict["findings"] if f["means"] in wanted]
        more = "" if len(why) <= _NAMED else f" (and {len(why) - _NAMED} more)"
        reasons.append(f"monitor found {' and '.join(wanted)}: {'; '.join(why[:_NAMED])}{more}")
    return Trigger("; ".join(reasons) or None, detail)
