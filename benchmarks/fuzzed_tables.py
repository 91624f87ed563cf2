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

import sys
from pathlib import Path
from typing import Any

from seeded import fuzz

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))


def part() -> tuple[Any, Any]:
    """The fuzzer, which loads the product."""
    import fuzzed_tables as fuzzer

    return fuzzer.many, fuzzer.summary


if __name__ == "__main__":
    fuzz(__doc__ or "", "tables", 2_000, 50, part)
