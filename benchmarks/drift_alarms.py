"""False alarms: windows of the reference's own distribution, on several data sets."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from drift_worlds import NAMES, world

__all__ = ["false_alarms"]

SMALLEST, LARGEST = 200, 200_000
REFERENCES = (1_000, 10_000, 100_000)
EACH = 7
"""Windows to a reference: a reference that is off by chance must not decide over all."""


def false_alarms(windows: int, workers: int) -> dict[str, Any]:
    """Windows with an alarm, by data set, and what they were."""
    names = [NAMES[i % len(NAMES)] for i in range(-(-windows // EACH))]
    jobs = [(name, number, min(EACH, windows - number * EACH)) for number, name in enumerate(names)]
    found: dict[str, list[list[str]]] = {name: [] for name in NAMES}
    with ProcessPoolExecutor(workers) as pool:
        for name, alarms in pool.map(_one, jobs):
            found[name] += alarms
            sys.stderr.write(f"{name}: {sum(map(bool, alarms))} of {len(alarms)} {alarms}\n")
    return {
        "windows": sum(len(of) for of in found.values()),
        "with an alarm": sum(any(alarms) for of in found.values() for alarms in of),
        "by data set": {
            name: f"{sum(bool(a) for a in of)} of {len(of)}" for name, of in found.items()
        },
        "what": [f"{name}: {a}" for name, of in found.items() for alarms in of for a in alarms],
    }


def _one(job: tuple[str, int, int]) -> tuple[str, list[list[str]]]:
    from mlops_cli.drift.compare import compare

    name, number, windows = job
    rng = np.random.default_rng([42, number])
    place = world(name)
    reference = place.reference(REFERENCES[number // len(NAMES) % len(REFERENCES)], rng)
    alarms = []
    for _ in range(windows):
        rows = int(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
        window = place.window(reference, place.draw(rows, rng))
        report = compare(reference, **window, seed=int(rng.integers(2**31)))
        alarms.append([f"{rows} rows: {f.sentence}" for f in report.alarms])
    return name, alarms


if __name__ == "__main__":
    start = time.time()
    print(false_alarms(14, 1), time.time() - start)
