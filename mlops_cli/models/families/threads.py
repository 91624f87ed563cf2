"""Number of threads for fits and predictions."""

from __future__ import annotations

import os

from mlops_cli.models.families.fit_request import Floats

__all__ = ["available_cores", "cores"]

_SMALL_CELLS = 200_000
"""Below this number of cells, threads spend more time waiting for each other than working."""


def cores(threads: int | None, X: Floats) -> int:
    """Number of threads: ``threads`` if given, else 1 for a small X, else all available cores."""
    if threads:
        return threads
    return 1 if X.size < _SMALL_CELLS else available_cores()


def available_cores() -> int:
    """Number of cores that this process may run on."""
    # Not every platform reports a process's CPU affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
