"""Whether any table can break the way from a file to predictions, or lose something on it.

Makes tables by their seeds: columns of every type in many notations, targets of the three tasks,
odd names, as CSV in many dialects and encodings, JSON Lines and Parquet. Runs `mlops init`, the
stages and `mlops predict` on each, in a fork, and compares what they say and write with what the
table was made of. Fails on an internal error, a row or value that is lost or changed, a class that
vanishes, a warning of a library, a command that hangs, or too much memory.

    python benchmarks/fuzzed_tables.py                        # 2,000 of them
    python benchmarks/fuzzed_tables.py --tables 1 --seed 77    # number 77 again
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / "tests" / "cli"))
PART = 50
"""One process makes so many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--refusals", action="store_true", help="show each")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.tables)
    if given.part:
        sys.exit(_part(seeds, refusals=given.refusals))
    began = time.monotonic()
    parts = [seeds[at : at + PART] for at in range(0, len(seeds), PART)]
    # Processes of their own: a fork must be of one that has started no threads.
    with ThreadPoolExecutor(given.jobs) as pool:
        codes = list(pool.map(partial(_started, refusals=given.refusals), parts))
    print(f"{given.tables:,} tables from seed {given.seed} in {time.monotonic() - began:,.0f} s")
    sys.exit(max(codes))


def _started(seeds: range, *, refusals: bool) -> int:
    words = ["--part", "--seed", str(seeds.start), "--tables", str(len(seeds))]
    words += ["--refusals"] if refusals else []
    return subprocess.run([sys.executable, str(HERE), *words], check=False).returncode


def _part(seeds: range, *, refusals: bool) -> int:
    from fuzzed_tables import many, summary

    outcomes = list(many(seeds))
    print(
        f"seeds {seeds.start} to {seeds.stop - 1}: {summary(outcomes, refusals=refusals)}",
        flush=True,
    )
    return int(any(outcome.faults for outcome in outcomes))


if __name__ == "__main__":
    main()
