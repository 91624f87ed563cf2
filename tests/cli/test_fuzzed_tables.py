"""A few generated tables through all commands; `benchmarks/fuzzed_tables.py` runs thousands."""

from __future__ import annotations

import json

import child_process

SEEDS = (3, 8)
CODE = f"""
import json
from fuzzed_tables import fuzz_seeds
print(json.dumps([vars(outcome) for outcome in fuzz_seeds(range(*{SEEDS}))]))
"""


def test_a_table_goes_all_the_way_unharmed_or_is_refused_in_words() -> None:
    # A process of its own, which has started no threads: it forks.
    outcomes = json.loads(child_process.output(CODE))
    assert [(o["seed"], o["faults"]) for o in outcomes if o["faults"]] == []
    assert sum(o["refusal"] is None for o in outcomes) >= 2
