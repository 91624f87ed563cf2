"""Schedules that run `mlops watch --once`: cron, systemd, GitHub Actions."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops_cli.data.durations import microseconds
from mlops_cli.errors import Usage
from mlops_cli.scaffold.ci import PYTHON

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["Scheduler", "schedule"]

Scheduler = Literal["cron", "systemd", "github"]

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
        If cron, or systemd, has no notation for this span.
    """
    if kind == "cron":
        return f"{_cron_fields(every)} {_crontab_command(layout.root)}\n"
    template = files("mlops_cli.retraining") / "templates" / f"{kind}.txt"
    text = template.read_text(encoding="utf-8")
    name = name or layout.root.name
    values = {"EVERY": every, "NAME": name}
    if kind == "github":
        values |= {"CRON": _cron_fields(every), "PYTHON": PYTHON}
    else:
        span = microseconds(every)
        if span is None:
            raise Usage(f"--every {every} has no fixed length", "Give it in days: 30d.")
        command = " ".join(_quote_for_systemd(w) for w in (sys.executable, "-m", "mlops_cli"))
        values |= {"SECONDS": f"{span // _SECOND}", "MLOPS": command}
        values |= {"ROOT": str(layout.root).replace("%", "%%")}
    for placeholder, value in values.items():
        text = text.replace(f"@{placeholder}@", value)
    return text


def _crontab_command(root: Path) -> str:
    """The command of a crontab line."""
    command = shlex.join([sys.executable, "-m", "mlops_cli", "watch", "--once"])
    # In a crontab a percent sign ends the command.
    return f"cd {shlex.quote(str(root))} && {command}".replace("%", r"\%")


def _quote_for_systemd(word: str) -> str:
    """A word of a systemd command, quoted."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


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
