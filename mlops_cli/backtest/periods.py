"""The periods of a backtest: from one look at the model to the next."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise

from mlops_cli.backtest.policies import Period
from mlops_cli.data.durations import add
from mlops_cli.data.timestamps import format_timestamp
from mlops_cli.errors import Usage

__all__ = ["periods"]

_MOST = 500
"""More are a mistake."""


def periods(since: dt.datetime, until: dt.datetime, every: str) -> tuple[tuple[Period, ...], str]:
    """Cut a time into periods; say what became of a rest at its end, if there was one.

    A rest of under half of a period belongs to the period before: it is too short to judge a model
    by, or to train one for.

    Raises
    ------
    Usage
        If there are too few or too many.
    """
    edges, number = [since], 0
    while edges[-1] < until:
        number += 1
        # From the first on, so that the 31st comes again after a shorter month.
        edges.append(add(since, _times(every, number)))
        if number > _MOST or edges[-1] <= edges[-2]:
            raise Usage(f"--every {every} makes over {_MOST} periods", "Take a longer span.")
    said = ""
    whole, rest = edges[-1] - edges[-2], until - edges[-2]
    if len(edges) > 2 and rest < whole / 2:  # noqa: PLR2004 - a first period has none before
        said = (
            f"the last period goes on to {format_timestamp(until)}: what is left after "
            f"{format_timestamp(edges[-2])} is under half of {every}"
        )
        edges.pop(-2)
    elif rest < whole:
        said = f"the last period is shorter than {every}: it ends at {format_timestamp(until)}"
    edges[-1] = until
    steps = tuple(Period(a, b) for a, b in pairwise(edges))
    if len(steps) < 2:  # noqa: PLR2004 - there would be nothing to decide
        raise Usage(
            f"from {format_timestamp(since)} to {format_timestamp(until)} there is one period of "
            f"{every}",
            "Take a shorter --every, or a longer time.",
        )
    return steps, said


def _times(span: str, number: int) -> str:
    return "".join(f"{int(n) * number}{unit}" for n, unit in re.findall(r"([0-9]+)([a-z]+)", span))
