"""Whether any params.yaml can break `mlops status` or a stage.

Changes one or two values of valid settings by a seed (types, ranges, names, expressions, YAML), and
runs `mlops status` and the stages up to split on each, in a fork. Fails on an internal error, a
refusal that doesn't name the key, a warning of a library, a command that hangs, or too much memory.

    python benchmarks/fuzzed_params.py                        # 5,000 of them
    python benchmarks/fuzzed_params.py --params 1 --seed 77    # number 77 again
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
sys.path.insert(0, str(HERE.parents[1] / "tests" / "params"))
PART = 200
"""One process makes so many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--refusals", action="store_true", help="show each")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.params)
    if given.part:
        sys.exit(_part(seeds, refusals=given.refusals))
    began = time.monotonic()
    parts = [seeds[at : at + PART] for at in range(0, len(seeds), PART)]
    # Processes of their own: a fork must be of one that has started no threads.
    with ThreadPoolExecutor(given.jobs) as pool:
        codes = list(pool.map(partial(_started, refusals=given.refusals), parts))
    print(f"{given.params:,} params from seed {given.seed} in {time.monotonic() - began:,.0f} s")
    sys.exit(max(codes))


def _started(seeds: range, *, refusals: bool) -> int:
    words = ["--part", "--seed", str(seeds.start), "--params", str(len(seeds))]
    words += ["--refusals"] if refusals else []
    return subprocess.run([sys.executable, str(HERE), *words], check=False).returncode


def _part(seeds: range, *, refusals: bool) -> int:
    from fuzzed_params import many, summary

    outcomes = list(many(seeds))
    print(
        f"seeds {seeds.start} to {seeds.stop - 1}: {summary(outcomes, refusals=refusals)}",
        flush=True,
    )
    return int(any(outcome.faults for outcome in outcomes))


if __name__ == "__main__":
    main()
