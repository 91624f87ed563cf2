"""Command line of a fuzzer, which runs seeds in several processes."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any


def run_fuzzer(
    description: str,
    kind: str,
    default_count: int,
    seeds_per_process: int,
    load_fuzzer: Callable[..., tuple[Any, Any]],
) -> None:
    """Run a fuzzer by its command line; exit with 1 if it finds a fault.

    Parameters
    ----------
    description
        Text of ``--help``.
    kind, default_count
        What a seed generates, in the plural, which is also the name of the option for the number
        of seeds; its default.
    seeds_per_process
        Number of seeds of one process.
    load_fuzzer
        Returns the fuzzer's functions ``fuzz_seeds`` and ``summarise``; child processes call it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(f"--{kind}", dest="count", type=int, default=default_count)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--refusals", action="store_true", help="show each refusal")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    seeds = range(args.seed, args.seed + args.count)
    if args.part:
        sys.exit(_run_seeds(seeds, *load_fuzzer(), refusals=args.refusals))
    started = time.monotonic()
    parts = [
        seeds[start : start + seeds_per_process]
        for start in range(0, len(seeds), seeds_per_process)
    ]
    # The fuzzer forks, so it runs in processes that have started no threads.
    with ThreadPoolExecutor(args.jobs) as pool:
        codes = list(pool.map(partial(_start_process, kind, refusals=args.refusals), parts))
    print(f"{args.count:,} {kind} from seed {args.seed} in {time.monotonic() - started:,.0f} s")
    sys.exit(max(codes))


def _start_process(kind: str, seeds: range, *, refusals: bool) -> int:
    options = ["--part", "--seed", str(seeds.start), f"--{kind}", str(len(seeds))]
    options += ["--refusals"] if refusals else []
    return subprocess.run([sys.executable, sys.argv[0], *options], check=False).returncode


def _run_seeds(seeds: range, fuzz_seeds: Any, summarise: Any, *, refusals: bool) -> int:
    outcomes = list(fuzz_seeds(seeds))
    print(
        f"seeds {seeds.start} to {seeds.stop - 1}: {summarise(outcomes, refusals=refusals)}",
        flush=True,
    )
    return int(any(outcome.faults for outcome in outcomes))
