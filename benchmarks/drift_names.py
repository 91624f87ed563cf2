"""Drift of a column with many names: false alarms, and detection of injected changes.

    python benchmarks/drift_names.py [--windows 200] [--workers 2] [--joint] [--quick]

The table has a row for each number of names, their distribution (uniform, by Zipf's law, or uniform
in bursts of one name), the size of the reference and the size of the window. Its columns are shares
of undisturbed windows: those with p < 0.01, with a distance of 0.1 or more whatever the p-value,
and with an alarm of any kind; then the share of windows in which an injected change is detected.
Five windows share a reference, because a reference may be unusual by chance.
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

__all__ = ["CHANGES", "Case", "drift_reports"]

NAMES = (2, 10, 50, 300, 1_000, 10_000)
DISTRIBUTIONS = ("uniform", "zipf", "bursts")
REFERENCES = (1_000, 10_000, 100_000)
WINDOWS = (200, 2_000, 100_000)
QUICK_SIZES = ((2, 300, 10_000), DISTRIBUTIONS, (1_000, 10_000), (200, 2_000))
WINDOWS_PER_REFERENCE = 5
BURST = 8
"""Mean number of consecutive rows with one name."""
COLUMN = "customer"


@dataclass(frozen=True)
class Case:
    """Distribution of the names, and sizes of reference and window."""

    names: int
    distribution: str
    reference: int
    window: int

    def draw(self, rows: int, rng: np.random.Generator) -> pl.DataFrame:
        """Draw rows with a name and a number."""
        shares = (
            1 / np.arange(1, self.names + 1) if self.distribution == "zipf" else np.ones(self.names)
        )
        starts = rng.random(rows) < (1 / BURST if self.distribution == "bursts" else 1.0)
        starts[0] = True
        drawn = rng.choice(self.names, int(starts.sum()), p=shares / shares.sum())
        names = np.array([f"name {i}" for i in range(self.names)])
        return pl.DataFrame({COLUMN: names[drawn[np.cumsum(starts) - 1]], "x": rng.random(rows)})

    def make_reference(self, rng: np.random.Generator) -> Reference:
        """Draw a reference; its predictions aren't used."""
        rows = self.draw(self.reference, rng)
        kinds = {COLUMN: "category", "x": "number"}
        outputs = pl.DataFrame({"probability": rng.random(500)})
        return Reference.from_rows(rows, kinds, rows[COLUMN].head(1), outputs, "multiclass", seed=1)


def _replace_some(share: float, name: str) -> Any:
    def change(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        chosen = pl.Series(rng.random(frame.height) < share)
        value = pl.when(chosen).then(pl.lit(name)).otherwise(COLUMN)
        return frame.with_columns(value.alias(COLUMN))

    return change


def _remove_most_frequent(frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Replace the name that is most frequent by Zipf's law with others."""
    names, removed = frame[COLUMN].to_numpy(), "name 0"
    rest = names[names != removed]
    return frame.with_columns(
        pl.Series(COLUMN, np.where(names == removed, rng.choice(rest, len(names)), names))
    )


RARE = _replace_some(0.1, "name 49")
MIN_NAMES, MIN_SHARE = 50, 0.05
CHANGES = {
    "a rare name takes over 10%": RARE,
    "a new name in 10%": _replace_some(0.1, "quite new"),
    "a name of 5% or more vanishes": _remove_most_frequent,
}


def drift_reports(
    case: Case, windows: int, seed: int, *, joint: bool = False, change: Any = None
) -> Iterator[DriftReport]:
    """Yield drift reports of undisturbed or changed windows."""
    rng = np.random.default_rng([seed, case.names, case.reference, case.window])
    for number in range(windows):
        if not number % WINDOWS_PER_REFERENCE:
            reference = case.make_reference(rng)
        frame = case.draw(case.window, rng)
        if change is not None:
            frame = change(frame, rng)
        yield compare(
            reference,
            inputs=reference.inputs.profile_frame(frame),
            rules=DriftRules(joint=joint),
            seed=number,
        )


def _measure_case(job: tuple[Case, int, bool]) -> dict[str, Any]:
    case, windows, joint = job
    reports = list(drift_reports(case, windows, 1, joint=joint))
    columns = [next(c for c in r.columns if c.column == COLUMN) for r in reports]
    row = {
        **vars(case),
        "p < 0.01": _percent([(c.p_value or 0.0) < 0.01 for c in columns]),
        "large": _percent([(c.js or 0.0) >= 0.1 for c in columns]),
        "alarm": _percent([bool(r.alarms) for r in reports]),
    }
    for name, change in CHANGES.items():
        if change is _remove_most_frequent and (
            case.distribution != "zipf" or _largest_share(case) < MIN_SHARE
        ):
            continue
        if change is RARE and case.names < MIN_NAMES:
            continue
        changed = drift_reports(case, max(windows // 10, 5), 2, change=change)
        row[name] = _percent([any(f.column == COLUMN for f in r.alarms) for r in changed])
    return row


def _largest_share(case: Case) -> float:
    return float(1 / np.sum(1 / np.arange(1, case.names + 1)))


def _percent(outcomes: list[bool]) -> float:
    return round(100 * sum(outcomes) / len(outcomes), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--joint", action="store_true", help="also test for joint drift")
    parser.add_argument("--quick", action="store_true", help="only a part of the table")
    args = parser.parse_args()
    sizes = QUICK_SIZES if args.quick else (NAMES, DISTRIBUTIONS, REFERENCES, WINDOWS)
    jobs = [(Case(*values), args.windows, args.joint) for values in product(*sizes)]
    rows = []
    with ProcessPoolExecutor(args.workers) as pool:
        for row in pool.map(_measure_case, jobs):
            rows.append(row)
            sys.stderr.write(f"{json.dumps(row)}\n")
    summary: dict[str, Any] = {"windows": args.windows * len(rows)}
    for key in ("p < 0.01", "large", "alarm"):
        shares = [row[key] for row in rows]
        summary[key] = {"mean": round(float(np.mean(shares)), 2), "most": max(shares)}
    for key in CHANGES:
        by_size = {
            size: [row[key] for row in rows if key in row and row["window"] == size]
            for size in sorted({row["window"] for row in rows})
        }
        summary[key] = {
            size: round(float(np.mean(values)), 1) for size, values in by_size.items() if values
        }
    print(json.dumps({"summary": summary, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
