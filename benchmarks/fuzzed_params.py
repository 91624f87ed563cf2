"""Whether any params.yaml can break `mlops status` or a stage.

Changes one or two values of valid settings by a seed (types, ranges, names, expressions, YAML), and
runs `mlops status` and the stages up to split on each, in a fork. Fails on an internal error, a
refusal that doesn't name the key, a warning of a library, a command that hangs, or too much memory.

    python benchmarks/fuzzed_params.py                        # 5,000 of them
    python benchmarks/fuzzed_params.py --params 1 --seed 77    # number 77 again
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from seeded import fuzz

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))


def part() -> tuple[Any, Any]:
    """The fuzzer, which loads the product."""
    import fuzzed_params as fuzzer

    return fuzzer.many, fuzzer.summary


if __name__ == "__main__":
    fuzz(__doc__ or "", "params", 5_000, 200, part)
