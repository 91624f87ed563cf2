"""Fuzz test of params.yaml with `mlops status` and the stages up to split.

Each seed changes one or two values of valid settings (types, ranges, names, expressions, YAML).
The commands run in a fork. The test fails on an internal error, an error message that doesn't name
the key, a warning of a library, a command that hangs, or too much memory.

    python benchmarks/fuzzed_params.py                        # 5,000 seeds
    python benchmarks/fuzzed_params.py --params 1 --seed 77    # seed 77 again
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fuzzer_cli import run_fuzzer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))


def load_fuzzer() -> tuple[Any, Any]:
    """Import the fuzzer, which imports mlops-cli."""
    import fuzzed_params as fuzzer

    return fuzzer.fuzz_seeds, fuzzer.summarise


if __name__ == "__main__":
    run_fuzzer(__doc__ or "", "params", 5_000, 200, load_fuzzer)
