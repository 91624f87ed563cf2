"""Schedules that run `mlops watch --once`: cron, systemd, GitHub Actions."""

from __future__ import annotations

import json
import re
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Literal

from mlops_cli.data.column_names import project_name
from mlops_cli.data.durations import microseconds
from mlops_cli.data.templates import Filters, render
from mlops_cli.errors import Usage
from mlops_cli.scaffold.ci import PYTHON

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["Scheduler", "schedule"]

Scheduler = Literal["cron", "systemd", "github"]

_TEMPLATES = {
    "cron": "cron.jinja",
    "systemd": "systemd.jinja",
    "github": "github.yml.angle.jinja",
}
_SECOND = 1_000_000
"""In microseconds."""
_UNITS_IN_NEXT = {"m": 60, "h": 24, "d": 31}
"""Unit -> how many of it make up the next larger unit, which cron starts again with."""
_CALENDAR = {"1w": "0 3 * * 1", "7d": "0 3 * * 1", "1mo": "0 3 1 * *", "1q": "0 3 1 */3 *"}
"""Spans of whole weeks or months -> cron's five fields."""


def schedule(kind: Scheduler, layout: Layout, every: str, name: str = "") -> str:
    """The text of a schedule that runs ``mlops watch --once`` each ``every``.

    Parameters
    ----------
    name
        The project's name; by default its folder's.

    Raises
    ------
    Usage
        If cron, or systemd, has no notation for this span or for the folder's path.
    """
    root = str(layout.root)
    if kind != "github" and re.search(r"[\x00-\x1f\x7f]", root):
        raise Usage(f"{kind} can't say the project's folder, {root!r}", "Rename the folder.")
    return render(
        "mlops_cli.retraining",
        _TEMPLATES[kind],
        _FILTERS,
        every=every,
        name=name or project_name(layout.root.name),
        root=root,
        python=sys.executable,
        python_version=PYTHON,
        **({"seconds": _seconds(every)} if kind == "systemd" else {"cron": _cron_fields(every)}),
    )


def _cron_word(word: str) -> str:
    """A word of a crontab's command, where a percent sign ends the command."""
    return shlex.quote(word).replace("%", r"\%")


def _systemd_word(word: str) -> str:
    """A word of a systemd command, quoted."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


_FILTERS: Filters = {
    "cron_word": _cron_word,
    "systemd_word": _systemd_word,
    "quoted": partial(json.dumps, ensure_ascii=False),
}


def _seconds(every: str) -> int:
    span = microseconds(every)
    if span is None:
        raise Usage(f"--every {every} has no fixed length", "Give it in days: 30d.")
    return span // _SECOND


def _cron_fields(every: str) -> str:
    """The five time fields of cron; only for spans that cron can repeat evenly."""
    if every in _CALENDAR:
        return _CALENDAR[every]
    parts = re.fullmatch(r"([0-9]+)([mhd])", every)
    if parts:
        number, unit = int(parts[1]), parts[2]
        if unit == "m" and number and number % 60 == 0:
            number, unit = number // 60, "h"
        if unit == "h" and number and number % 24 == 0:
            number, unit = number // 24, "d"
        if unit == "d" and number == 1:
            return "0 3 * * *"
        if number and unit != "d" and _UNITS_IN_NEXT[unit] % number == 0:
            step = "*" if number == 1 else f"*/{number}"
            return f"{step} * * * *" if unit == "m" else f"0 {step} * * *"
    raise Usage(
        f"cron can't say every {every} evenly",
        "Take one of 5m, 10m, 15m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d, 1w, 1mo; or --print "
        "systemd, or run `mlops watch` itself.",
    )
