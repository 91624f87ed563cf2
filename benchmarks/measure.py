"""Two commands against each other: wall time and peak memory of whole processes, runs in turn.

This process stays small (it imports nothing heavy), because a child's peak memory begins with
that of its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Bar", "Cost", "arguments", "compare", "environment", "once", "report"]

ROOT = Path(__file__).resolve().parent.parent
# Peak memory is told in kilobytes, but on macOS in bytes.
_UNIT = 2**20 if sys.platform == "darwin" else 2**10


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds from start to end, and megabytes of memory at its peak.

    The peak is that of the largest process among it and those that it started, not their sum.
    """

    seconds: float
    megabytes: float

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(self.seconds + other.seconds, max(self.megabytes, other.megabytes))


@dataclass(frozen=True)
class Bar:
    """Both sides of a comparison, and how many times the other's time ours may take."""

    what: str
    ours: Cost
    other: Cost
    limit: float | None = None

    @property
    def ratio(self) -> float:
        """Our time over the other's."""
        return self.ours.seconds / self.other.seconds

    @property
    def met(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.limit is None or self.ratio <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": self.what,
            "ours": vars(self.ours),
            "other": vars(self.other),
            "ratio": round(self.ratio, 3),
            "bar": self.limit,
            "met": self.met,
        }


def environment() -> dict[str, str]:
    """The environment with the commands beside this Python first, and without usage reports."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def once(command: Sequence[str], cwd: Path) -> Cost:
    """Run a command to its end.

    Raises
    ------
    SystemExit
        If it fails, with what it wrote to stderr.
    """
    start = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None  # noqa: S101 - it was asked for
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.stderr.write(errors.decode(errors="replace"))
        sys.exit(f"{' '.join(command)} failed with exit code {child.returncode}")
    return Cost(seconds, usage.ru_maxrss * _UNIT / 2**20)


def compare(
    what: str,
    ours: Callable[[], Cost],
    other: Callable[[], Cost],
    *,
    runs: int,
    limit: float | None = None,
) -> Bar:
    """Run both sides in turn (ours, other, ours, other, ...), and take each one's median."""
    sides: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(runs):
        for costs, side in zip(sides, (ours, other), strict=True):
            sys.stderr.write(f"{what}: run {number + 1} of {runs}\n")
            costs.append(side())
    return Bar(what, _median(sides[0]), _median(sides[1]), limit)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(c.seconds for c in costs), statistics.median(c.megabytes for c in costs)
    )


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that each benchmark has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--runs", type=int, help="how many runs of each side (the median counts)")
    parser.add_argument("--quick", action="store_true", help="a first impression, in less time")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def report(bars: Sequence[Bar], facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print both sides of each comparison, their ratio and the bar; then further facts."""
    if as_json:
        shown = {"machine": machine(), "bars": [b.to_json() for b in bars], **facts}
        print(json.dumps(shown, indent=2))
        return
    print(", ".join(f"{k} {v}" for k, v in machine().items()))
    width = max(len(b.what) for b in bars)
    print(f"\n{'':{width}}  {'ours':>19}  {'the other':>19}  ratio    bar")
    for b in bars:
        sides = "  ".join(f"{c.seconds:8.2f} s {c.megabytes:6.0f} MB" for c in (b.ours, b.other))
        verdict = "" if b.limit is None else f"{b.limit:5.2f}  {'met' if b.met else 'MISSED'}"
        print(f"{b.what:{width}}  {sides}  {b.ratio:5.2f}  {verdict}")
    for name, value in facts.items():
        print(f"{name}: {value}")
