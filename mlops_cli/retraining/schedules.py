"""A schedule for who runs commands elsewhere: cron, systemd, GitHub."""

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
_PARTS = {"m": 60, "h": 24, "d": 31}
_CALENDAR = {"1w": "0 3 * * 1", "7d": "0 3 * * 1", "1mo": "0 3 1 * *", "1q": "0 3 1 */3 *"}


def schedule(kind: Scheduler, layout: Layout, every: str, name: str = "") -> str:
    """The text that makes ``mlops watch --once`` run each ``every``.

    Parameters
    ----------
    name
        The project's; by default its folder's.

    Raises
    ------
    Usage
        If cron, or systemd, can't say such a span.
    """
    if kind == "cron":
        return f"{_cron(every)} {_line(layout.root)}\n"
    given = files("mlops_cli.retraining") / "templates" / f"{kind}.txt"
    text = given.read_text(encoding="utf-8")
    name = name or layout.root.name
    replaced = {"EVERY": every, "NAME": name}
    if kind == "github":
        replaced |= {"CRON": _cron(every), "PYTHON": PYTHON}
    else:
        span = microseconds(every)
        if span is None:
            raise Usage(f"--every {every} has no fixed length", "Give it in days: 30d.")
        command = " ".join(_quoted(w) for w in (sys.executable, "-m", "mlops_cli"))
        replaced |= {"SECONDS": f"{span // _SECOND}", "MLOPS": command}
        replaced |= {"ROOT": str(layout.root).replace("%", "%%")}
    for mark, value in replaced.items():
        text = text.replace(f"@{mark}@", value)
    return text


def _line(root: Path) -> str:
    command = shlex.join([sys.executable, "-m", "mlops_cli", "watch", "--once"])
    # In a crontab a percent sign ends the command.
    return f"cd {shlex.quote(str(root))} && {command}".replace("%", r"\%")


def _quoted(word: str) -> str:
    """A word of a systemd command."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _cron(every: str) -> str:
    """Five fields; only what cron can say evenly."""
    if every in _CALENDAR:
        return _CALENDAR[every]
    found = re.fullmatch(r"([0-9]+)([mhd])", every)
    if found:
        number, unit = int(found[1]), found[2]
        if unit == "m" and number and number % 60 == 0:
            number, unit = number // 60, "h"
        if unit == "h" and number and number % 24 == 0:
            number, unit = number // 24, "d"
        if unit == "d" and number == 1:
            return "0 3 * * *"
        if number and unit != "d" and _PARTS[unit] % number == 0:
            step = "*" if number == 1 else f"*/{number}"
            return f"{step} * * * *" if unit == "m" else f"0 {step} * * *"
    raise Usage(
        f"cron can't say every {every} evenly",
        "Take one of 5m, 10m, 15m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d, 1w, 1mo; or --print "
        "systemd, or run `mlops watch` itself.",
    )
