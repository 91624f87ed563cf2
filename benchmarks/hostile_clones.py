"""Fuzz test of the commands that read an untrusted repository.

The test makes a small project with a registered version and its data, clones it, and mutates files
of every kind in the clone, also with matching hashes: `dvc.lock`, directory listings, `*.dvc`, the
bundle, its manifest, tags (by Git itself), `params.yaml`, `dvc.yaml`, `.dvc/config`, links. It runs
`models`, `models show`, `status`, `models pull`, `verify`, `predict`, `serve` (until it would
listen) and `pull` on each clone. It fails on a read or write outside of the clone, a process other
than Git's, a connection, an internal error, a command that hangs, or too much memory. A seed always
makes the same clone.

    python benchmarks/hostile_clones.py                       # 10,000 clones
    python benchmarks/hostile_clones.py --clones 1 --seed 77  # clone 77 again
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))

MAX_SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clones", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first clone")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--template", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.template is not None:
        sys.exit(_fuzz_clones(args.template, range(args.seed, args.seed + args.clones)))
    from fuzzed_projects import make_project

    started, size = time.monotonic(), -(-args.clones // args.jobs)
    with tempfile.TemporaryDirectory(prefix="hostile-clones-") as name:
        template = make_project(Path(name) / "template")
        last = args.seed + args.clones
        parts = [(s, min(size, last - s)) for s in range(args.seed, last, size)]
        # The fuzzer forks, so it runs in processes that have started no threads.
        with ThreadPoolExecutor(args.jobs) as pool:
            codes = list(pool.map(lambda part: _start_process(template, *part), parts))
    print(f"{args.clones:,} clones from seed {args.seed} in {time.monotonic() - started:,.0f} s")
    sys.exit(max(codes))


def _start_process(template: Path, seed: int, clones: int) -> int:
    options = ["--template", str(template), "--seed", str(seed), "--clones", str(clones)]
    return subprocess.run([sys.executable, str(HERE), *options], check=False).returncode


def _fuzz_clones(template: Path, seeds: range) -> int:
    from fuzzed_clones import fuzz_seeds

    codes: collections.Counter[tuple[str, object]] = collections.Counter()
    fault_count = 0
    for faults, exit_codes in fuzz_seeds(template, seeds):
        codes.update(exit_codes.items())
        for fault in faults:
            fault_count += 1
            if fault_count <= MAX_SHOWN:
                print(f"seed {fault.seed}: `mlops {fault.command}` {fault.what}", flush=True)
                print(f"    {fault.mutation[:1000]}", flush=True)
    codes_by_command = collections.defaultdict(list)
    for (command, code), count in sorted(codes.items(), key=str):
        codes_by_command[command].append(f"{code}: {count}")
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {fault_count} faults; exit codes:")
    for command, counts in codes_by_command.items():
        print(f"    {command:16} {', '.join(counts)}")
    return 1 if fault_count else 0


if __name__ == "__main__":
    main()
