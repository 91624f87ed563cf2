"""Fuzz test with generated tables, from the file to predictions.

Each seed makes a table: columns of every type in many notations, targets of the three tasks, odd
names, as CSV in many dialects and encodings, JSON Lines or Parquet. `mlops init`, the stages and
`mlops predict` run on it in a fork, and their outputs are compared with the table. The test fails
on an internal error, a row or value that is lost or changed, a class that vanishes, a warning of a
library, a command that hangs, or too much memory.

    python benchmarks/fuzzed_tables.py                        # 2,000 seeds
    python benchmarks/fuzzed_tables.py --tables 1 --seed 77    # seed 77 again
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fuzzer_cli import run_fuzzer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))


def load_fuzzer() -> tuple[Any, Any]:
    """Import the fuzzer, which imports mlops-cli."""
    import fuzzed_tables as fuzzer

    return fuzzer.fuzz_seeds, fuzzer.summarise


if __name__ == "__main__":
    run_fuzzer(__doc__ or "", "tables", 2_000, 50, load_fuzzer)
