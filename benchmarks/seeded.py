"""The command line of a fuzzer: many seeds, in processes of their own."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


def fuzz(text: str, kind: str, most: int, size: int, part: Callable[..., tuple[Any, Any]]) -> None:
    """Run a fuzzer as the command line says; end with 1 if it found a fault.

    Parameters
    ----------
    text
        What `--help` says.
    kind, most
        What a seed makes, which is the option's name, and how many by default.
    size
        One process makes so many.
    part
        Gives the fuzzer's functions `many` and `summary`; called in such a process only.
    """
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument(f"--{kind}", dest="count", type=int, default=most)
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--refusals", action="store_true", help="show each")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.count)
    if given.part:
        sys.exit(_part(seeds, *part(), refusals=given.refusals))
    began = time.monotonic()
    parts = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    # Processes of their own: a fork must be of one that has started no threads.
    with ThreadPoolExecutor(given.jobs) as pool:
        codes = list(pool.map(partial(_started, kind, refusals=given.refusals), parts))
    print(f"{given.count:,} {kind} from seed {given.seed} in {time.monotonic() - began:,.0f} s")
    sys.exit(max(codes))


def _started(kind: str, seeds: range, *, refusals: bool) -> int:
    words = ["--part", "--seed", str(seeds.start), f"--{kind}", str(len(seeds))]
    words += ["--refusals"] if refusals else []
    return subprocess.run([sys.executable, sys.argv[0], *words], check=False).returncode


def _part(seeds: range, many: Any, summary: Any, *, refusals: bool) -> int:
    outcomes = list(many(seeds))
    print(
        f"seeds {seeds.start} to {seeds.stop - 1}: {summary(outcomes, refusals=refusals)}",
        flush=True,
    )
    return int(any(outcome.faults for outcome in outcomes))
