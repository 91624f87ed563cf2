"""Rate of false drift alarms in windows of the reference's distribution, on several data sets."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from drift_populations import NAMES, load_population

__all__ = ["false_alarms"]

SMALLEST, LARGEST = 200, 200_000
REFERENCES = (1_000, 10_000, 100_000)
WINDOWS_PER_REFERENCE = 7
"""Few windows share a reference, because a reference may be unusual by chance."""


def false_alarms(windows: int, workers: int) -> dict[str, Any]:
    """Count windows with an alarm by data set, and list the alarms."""
    names = [NAMES[i % len(NAMES)] for i in range(-(-windows // WINDOWS_PER_REFERENCE))]
    jobs = [
        (name, number, min(WINDOWS_PER_REFERENCE, windows - number * WINDOWS_PER_REFERENCE))
        for number, name in enumerate(names)
    ]
    alarms_by_name: dict[str, list[list[str]]] = {name: [] for name in NAMES}
    with ProcessPoolExecutor(workers) as pool:
        for name, alarms in pool.map(_check_windows, jobs):
            alarms_by_name[name] += alarms
            sys.stderr.write(f"{name}: {sum(map(bool, alarms))} of {len(alarms)} {alarms}\n")
    return {
        "windows": sum(len(window_alarms) for window_alarms in alarms_by_name.values()),
        "with an alarm": sum(
            any(alarms) for window_alarms in alarms_by_name.values() for alarms in window_alarms
        ),
        "by data set": {
            name: f"{sum(bool(a) for a in window_alarms)} of {len(window_alarms)}"
            for name, window_alarms in alarms_by_name.items()
        },
        "what": [
            f"{name}: {a}"
            for name, window_alarms in alarms_by_name.items()
            for alarms in window_alarms
            for a in alarms
        ],
    }


def _check_windows(job: tuple[str, int, int]) -> tuple[str, list[list[str]]]:
    from mlops_cli.drift.compare import compare

    name, number, windows = job
    rng = np.random.default_rng([42, number])
    population = load_population(name)
    reference = population.reference(REFERENCES[number // len(NAMES) % len(REFERENCES)], rng)
    alarms = []
    for _ in range(windows):
        rows = int(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
        window = population.window(reference, population.draw(rows, rng))
        report = compare(reference, **window, seed=int(rng.integers(2**31)))
        alarms.append([f"{rows} rows: {f.sentence}" for f in report.alarms])
    return name, alarms


if __name__ == "__main__":
    start = time.time()
    print(false_alarms(14, 1), time.time() - start)
