"""Comparison of two commands by the wall time and the peak memory of their processes.

This module imports nothing heavy, because a child's peak memory begins with that of its parent.
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

__all__ = [
    "ROOT",
    "Comparison",
    "Cost",
    "compare",
    "describe_machine",
    "environment",
    "option_parser",
    "report",
    "run_command",
]

ROOT = Path(__file__).resolve().parent.parent
# `ru_maxrss` is in kilobytes, on macOS in bytes.
_MEMORY_UNIT = 2**20 if sys.platform == "darwin" else 2**10


@dataclass(frozen=True)
class Cost:
    """Wall time in seconds and peak memory in megabytes of a process.

    The peak is that of the largest process among it and its children, not their sum.
    """

    seconds: float
    megabytes: float

    def __add__(self, other: Cost) -> Cost:
        """Cost of two processes that run one after the other."""
        return Cost(self.seconds + other.seconds, max(self.megabytes, other.megabytes))


@dataclass(frozen=True)
class Comparison:
    """Costs of two commands, and the limit of their ratio (ours over the other's time)."""

    name: str
    ours: Cost
    other: Cost
    limit: float | None = None

    @property
    def ratio(self) -> float:
        """Our time over the other's."""
        return self.ours.seconds / self.other.seconds

    @property
    def within_limit(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.limit is None or self.ratio <= self.limit

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "what": self.name,
            "ours": vars(self.ours),
            "other": vars(self.other),
            "ratio": round(self.ratio, 3),
            "target": self.limit,
            "met": self.within_limit,
        }


def environment() -> dict[str, str]:
    """Environment with this Python's commands first on the path, and without usage reports."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}


def run_command(command: Sequence[str], cwd: Path) -> Cost:
    """Run a command and return its cost.

    Raises
    ------
    SystemExit
        If the command fails; its stderr is printed.
    """
    start = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=cwd, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None  # noqa: S101 - stderr is a pipe
    errors = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.stderr.write(errors.decode(errors="replace"))
        sys.exit(f"{' '.join(command)} failed with exit code {child.returncode}")
    return Cost(seconds, usage.ru_maxrss * _MEMORY_UNIT / 2**20)


def compare(
    name: str,
    ours: Callable[[], Cost],
    other: Callable[[], Cost],
    *,
    runs: int,
    limit: float | None = None,
) -> Comparison:
    """Run both commands alternately, and compare the medians of their costs."""
    sides: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(runs):
        for costs, side in zip(sides, (ours, other), strict=True):
            sys.stderr.write(f"{name}: run {number + 1} of {runs}\n")
            costs.append(side())
    return Comparison(name, _median(sides[0]), _median(sides[1]), limit)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(c.seconds for c in costs), statistics.median(c.megabytes for c in costs)
    )


def option_parser(description: str) -> argparse.ArgumentParser:
    """Parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--runs", type=int, help="how many runs of each side (the median counts)")
    parser.add_argument("--quick", action="store_true", help="a first impression, in less time")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def describe_machine() -> dict[str, Any]:
    """Describe the machine: cores, Python version, operating system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def report(comparisons: Sequence[Comparison], facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print both costs of each comparison, their ratio and its limit; then further facts."""
    if as_json:
        content = {
            "machine": describe_machine(),
            "comparisons": [b.to_json() for b in comparisons],
            **facts,
        }
        print(json.dumps(content, indent=2))
        return
    print(", ".join(f"{k} {v}" for k, v in describe_machine().items()))
    width = max(len(b.name) for b in comparisons)
    print(f"\n{'':{width}}  {'ours':>19}  {'the other':>19}  ratio  limit")
    for b in comparisons:
        sides = "  ".join(f"{c.seconds:8.2f} s {c.megabytes:6.0f} MB" for c in (b.ours, b.other))
        verdict = (
            "" if b.limit is None else f"{b.limit:5.2f}  {'met' if b.within_limit else 'MISSED'}"
        )
        print(f"{b.name:{width}}  {sides}  {b.ratio:5.2f}  {verdict}")
    for name, value in facts.items():
        print(f"{name}: {value}")
