"""A few generated settings; `benchmarks/fuzzed_params.py` runs thousands."""

from __future__ import annotations

import json
import random

import child_process
from fuzzed_params import Mutation

from mlops_cli import params
from mlops_cli.errors import BadParams

SEEDS = (0, 12)
CODE = f"""
import json
from fuzzed_params import fuzz_seeds
print(json.dumps([outcome._asdict() for outcome in fuzz_seeds(range(*{SEEDS}))]))
"""


def test_changed_settings_are_read_or_refused_by_the_key() -> None:
    nameless, refused = [], 0
    for seed in random.Random(5).sample(range(100_000), 150):  # noqa: S311
        mutation = Mutation(seed)
        try:
            params.parse(mutation.text())
        except BadParams as error:
            refused += 1
            if not any(place in error.message for place in (*mutation.places, "params.yaml")):
                nameless.append((seed, error.message))
    assert nameless == []
    assert 50 < refused < 145


def test_changed_settings_work_or_are_refused_in_words() -> None:
    # A process of its own, which has started no threads: it forks.
    outcomes = json.loads(child_process.output(CODE))
    assert [(o["seed"], o["faults"]) for o in outcomes if o["faults"]] == []
    assert any(o["refusal"] is None for o in outcomes)
