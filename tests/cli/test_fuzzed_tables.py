"""Some tables of a seed, all the way; `benchmarks/fuzzed_tables.py` makes thousands."""

from __future__ import annotations

import json

import child

SEEDS = (3, 8)
CODE = f"""
import json
from fuzzed_tables import many
print(json.dumps([vars(outcome) for outcome in many(range(*{SEEDS}))]))
"""


def test_a_table_goes_all_the_way_unharmed_or_is_refused_in_words() -> None:
    # A process of its own, which has started no threads: it forks.
    outcomes = json.loads(child.output(CODE))
    assert [(o["seed"], o["faults"]) for o in outcomes if o["faults"]] == []
    assert sum(o["refusal"] is None for o in outcomes) >= 2
