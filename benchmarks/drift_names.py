"""Drift of a column with many names: false alarms, and whether planted changes are found.

    python benchmarks/drift_names.py [--windows 200] [--workers 2] [--joint] [--quick]

A table over the number of names, how they are distributed (uniform, by Zipf's law, or uniform in
bursts of one name), the reference's rows and the window's: of undisturbed windows, the share with
p < 0.01, with a distance of 0.1 or more whatever the p-value, and with an alarm of any kind; then
the share of windows in which a planted change is found. Each reference is judged by five windows,
so that one that is off by chance doesn't decide over all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from mlops_cli.drift.compare import DriftReport, DriftRules, compare
from mlops_cli.drift.reference import Reference

__all__ = ["CHANGES", "Case", "judged"]

NAMES = (2, 10, 50, 300, 1_000, 10_000)
SHAPES = ("uniform", "zipf", "bursts")
REFERENCES = (1_000, 10_000, 100_000)
WINDOWS = (200, 2_000, 100_000)
QUICK = ((2, 300, 10_000), SHAPES, (1_000, 10_000), (200, 2_000))
EACH = 5
BURST = 8
"""Mean rows of one name that follow each other."""
COLUMN = "customer"


@dataclass(frozen=True)
class Case:
    """Where references and windows are drawn from, and how many rows they have."""

    names: int
    shape: str
    reference: int
    window: int

    def draw(self, rows: int, rng: np.random.Generator) -> pl.DataFrame:
        """Rows of one name each, and a number beside it."""
        shares = 1 / np.arange(1, self.names + 1) if self.shape == "zipf" else np.ones(self.names)
        starts = rng.random(rows) < (1 / BURST if self.shape == "bursts" else 1.0)
        starts[0] = True
        drawn = rng.choice(self.names, int(starts.sum()), p=shares / shares.sum())
        names = np.array([f"name {i}" for i in range(self.names)])
        return pl.DataFrame({COLUMN: names[drawn[np.cumsum(starts) - 1]], "x": rng.random(rows)})

    def known(self, rng: np.random.Generator) -> Reference:
        """A reference, whose predictions are of no interest."""
        rows = self.draw(self.reference, rng)
        kinds = {COLUMN: "category", "x": "number"}
        outputs = pl.DataFrame({"probability": rng.random(500)})
        return Reference.from_rows(rows, kinds, rows[COLUMN].head(1), outputs, "multiclass", seed=1)


def _some(share: float, name: str) -> Any:
    def change(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        chosen = pl.Series(rng.random(frame.height) < share)
        value = pl.when(chosen).then(pl.lit(name)).otherwise(COLUMN)
        return frame.with_columns(value.alias(COLUMN))

    return change


def _without(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The name that is the most frequent by Zipf's law, replaced by others."""
    names, gone = frame[COLUMN].to_numpy(), "name 0"
    rest = names[names != gone]
    return frame.with_columns(
        pl.Series(COLUMN, np.where(names == gone, rng.choice(rest, len(names)), names))
    )


RARE = _some(0.1, "name 49")
FEW, LEAST = 50, 0.05
CHANGES = {
    "a rare name takes over 10%": RARE,
    "a new name in 10%": _some(0.1, "quite new"),
    "a name of 5% or more vanishes": _without,
}


def judged(
    case: Case, windows: int, seed: int, *, joint: bool = False, change: Any = None
) -> Iterator[DriftReport]:
    """Reports of windows of a case, undisturbed or changed."""
    rng = np.random.default_rng([seed, case.names, case.reference, case.window])
    for number in range(windows):
        if not number % EACH:
            reference = case.known(rng)
        frame = case.draw(case.window, rng)
        if change is not None:
            frame = change(frame, rng)
        yield compare(
            reference,
            inputs=reference.inputs.profile_frame(frame),
            rules=DriftRules(joint=joint),
            seed=number,
        )


def _row(job: tuple[Case, int, bool]) -> dict[str, Any]:
    case, windows, joint = job
    reports = list(judged(case, windows, 1, joint=joint))
    columns = [next(c for c in r.columns if c.column == COLUMN) for r in reports]
    found = {
        **vars(case),
        "p < 0.01": _percent([(c.p_value or 0.0) < 0.01 for c in columns]),
        "large": _percent([(c.js or 0.0) >= 0.1 for c in columns]),
        "alarm": _percent([bool(r.alarms) for r in reports]),
    }
    for name, change in CHANGES.items():
        if change is _without and (case.shape != "zipf" or _first(case) < LEAST):
            continue
        if change is RARE and case.names < FEW:
            continue
        changed = judged(case, max(windows // 10, 5), 2, change=change)
        found[name] = _percent([any(f.column == COLUMN for f in r.alarms) for r in changed])
    return found


def _first(case: Case) -> float:
    return float(1 / np.sum(1 / np.arange(1, case.names + 1)))


def _percent(hits: list[bool]) -> float:
    return round(100 * sum(hits) / len(hits), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--joint", action="store_true", help="with the model of the joint drift")
    parser.add_argument("--quick", action="store_true", help="a part of the table")
    given = parser.parse_args()
    sizes = QUICK if given.quick else (NAMES, SHAPES, REFERENCES, WINDOWS)
    jobs = [(Case(*of), given.windows, given.joint) for of in product(*sizes)]
    rows = []
    with ProcessPoolExecutor(given.workers) as pool:
        for row in pool.map(_row, jobs):
            rows.append(row)
            sys.stderr.write(f"{json.dumps(row)}\n")
    summary: dict[str, Any] = {"windows": given.windows * len(rows)}
    for key in ("p < 0.01", "large", "alarm"):
        shares = [row[key] for row in rows]
        summary[key] = {"mean": round(float(np.mean(shares)), 2), "most": max(shares)}
    for key in CHANGES:
        by_size = {
            size: [row[key] for row in rows if key in row and row["window"] == size]
            for size in sorted({row["window"] for row in rows})
        }
        summary[key] = {size: round(float(np.mean(of)), 1) for size, of in by_size.items() if of}
    print(json.dumps({"summary": summary, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
