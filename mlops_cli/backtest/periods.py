"""Periods of a backtest, between two decisions about retraining."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise

from mlops_cli.backtest.policies import Period
from mlops_cli.data.durations import add
from mlops_cli.data.timestamps import format_timestamp
from mlops_cli.errors import Usage

__all__ = ["periods"]

_MAX_PERIODS = 500
"""Maximum number of periods; more are a mistake."""


def periods(since: dt.datetime, until: dt.datetime, every: str) -> tuple[tuple[Period, ...], str]:
    """Cut a time span into periods, and note what happens with a remainder at its end.

    A remainder of under half a period is added to the last full period: it is too short to evaluate
    a model, or to train one for it.

    Raises
    ------
    Usage
        If there are too few or too many.
    """
    edges, number = [since], 0
    while edges[-1] < until:
        number += 1
        # Count from the first edge, so that the 31st comes back after a shorter month.
        edges.append(add(since, _multiply(every, number)))
        if number > _MAX_PERIODS or edges[-1] <= edges[-2]:
            raise Usage(f"--every {every} makes over {_MAX_PERIODS} periods", "Take a longer span.")
    note = ""
    full, rest = edges[-1] - edges[-2], until - edges[-2]
    if len(edges) > 2 and rest < full / 2:  # noqa: PLR2004 - the first period has no previous one
        note = (
            f"the last period goes on to {format_timestamp(until)}: what is left after "
            f"{format_timestamp(edges[-2])} is under half of {every}"
        )
        edges.pop(-2)
    elif rest < full:
        note = f"the last period is shorter than {every}: it ends at {format_timestamp(until)}"
    edges[-1] = until
    steps = tuple(Period(start, end) for start, end in pairwise(edges))
    if len(steps) < 2:  # noqa: PLR2004 - one period has no decision
        raise Usage(
            f"from {format_timestamp(since)} to {format_timestamp(until)} there is one period of "
            f"{every}",
            "Take a shorter --every, or a longer time.",
        )
    return steps, note


def _multiply(span: str, number: int) -> str:
    return "".join(f"{int(n) * number}{unit}" for n, unit in re.findall(r"([0-9]+)([a-z]+)", span))
