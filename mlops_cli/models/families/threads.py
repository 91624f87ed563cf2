"""How many threads a fit or a prediction takes."""

from __future__ import annotations

import os

from mlops_cli.models.families.fit_request import Floats

__all__ = ["available_cores", "cores"]

_SMALL = 200_000
"""Below so many cells threads wait for each other longer than they work."""


def cores(threads: int | None, X: Floats) -> int:
    """Threads to use: as given, or all that this process may run on; one where X is small."""
    if threads:
        return threads
    return 1 if X.size < _SMALL else available_cores()


def available_cores() -> int:
    """How many cores this process may run on."""
    # Not everywhere can a process be asked.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
