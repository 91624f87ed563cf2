"""Whether a stranger's repository can reach anything outside of its clone.

Makes a small real project with a registered version and its data, clones it, and mutates every
kind of file in the clone, also under right hashes: `dvc.lock`, listings of folders, `*.dvc`, the
bundle, its manifest, tags (by Git itself), `params.yaml`, `dvc.yaml`, `.dvc/config`, links. Runs
`models`, `models show`, `status`, `models pull`, `verify`, `predict`, `serve` (up to where it would
listen) and `pull` on each. Fails on a read or write outside, a process other than Git's, a
connection, an internal error, a command that hangs, or too much memory. The same seed makes the
same clone.

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

SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clones", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first clone")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--template", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.template is not None:
        sys.exit(_part(given.template, range(given.seed, given.seed + given.clones)))
    from fuzzed_projects import make

    began, size = time.monotonic(), -(-given.clones // given.jobs)
    with tempfile.TemporaryDirectory(prefix="hostile-clones-") as name:
        template = make(Path(name) / "template")
        last = given.seed + given.clones
        parts = [(s, min(size, last - s)) for s in range(given.seed, last, size)]
        # Processes of their own: a fork must be of one that has started no threads.
        with ThreadPoolExecutor(given.jobs) as pool:
            codes = list(pool.map(lambda part: _started(template, *part), parts))
    print(f"{given.clones:,} clones from seed {given.seed} in {time.monotonic() - began:,.0f} s")
    sys.exit(max(codes))


def _started(template: Path, seed: int, clones: int) -> int:
    words = ["--template", str(template), "--seed", str(seed), "--clones", str(clones)]
    return subprocess.run([sys.executable, str(HERE), *words], check=False).returncode


def _part(template: Path, seeds: range) -> int:
    from fuzzed_clones import many

    codes: collections.Counter[tuple[str, object]] = collections.Counter()
    found = 0
    for faults, ended in many(template, seeds):
        codes.update(ended.items())
        for fault in faults:
            found += 1
            if found <= SHOWN:
                print(f"seed {fault.seed}: `mlops {fault.command}` {fault.what}", flush=True)
                print(f"    {fault.mutation[:1000]}", flush=True)
    table = collections.defaultdict(list)
    for (command, code), count in sorted(codes.items(), key=str):
        table[command].append(f"{code}: {count}")
    print(f"seeds {seeds.start} to {seeds.stop - 1}: {found} faults; exit codes:")
    for command, counts in table.items():
        print(f"    {command:16} {', '.join(counts)}")
    return 1 if found else 0


if __name__ == "__main__":
    main()
