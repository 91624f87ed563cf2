"""Cells of names: no false alarms in columns with many names."""

import json
import re

import numpy as np
import polars as pl
import pytest

from mlops_cli.drift.compare import DriftRules, compare
from mlops_cli.drift.name_cells import NameCells
from mlops_cli.drift.profile import Profile
from mlops_cli.drift.reference import Reference

KINDS = {"customer": "category", "x": "number"}


def customers(names, rows, seed, *, zipf=False, burst=1):
    rng = np.random.default_rng([names, rows, seed])
    shares = 1 / np.arange(1, names + 1) if zipf else np.ones(names)
    drawn = np.repeat(rng.choice(names, -(-rows // burst), p=shares / shares.sum()), burst)
    return pl.DataFrame({"customer": [f"c{i}" for i in drawn[:rows]], "x": rng.random(rows)})


def reference_of(rows):
    outputs = pl.DataFrame({"probability": np.linspace(0, 1, 100)})
    made = Reference.from_rows(rows, KINDS, rows["customer"][:1], outputs, "multiclass")
    return Reference.from_json(json.loads(json.dumps(made.to_json())))


def judged(reference, frame, *, joint=False):
    report = compare(
        reference, inputs=reference.inputs.profile_frame(frame), rules=DriftRules(joint=joint)
    )
    return report, next(c for c in report.columns if c.column == "customer")


TABLE = [
    # names, reference, window: those where every window had an alarm, and their neighbours.
    (2, 1_000, 200),
    (50, 2_354, 320),
    (150, 2_354, 320),
    (300, 2_354, 320),
    (300, 20_000, 1_000),
    (1_000, 10_000, 5_000),
    (5_000, 20_000, 2_000),
    (10_000, 1_000, 2_000),
]


@pytest.mark.parametrize("zipf", [False, True])
def test_undisturbed_windows_of_many_names_are_significant_in_one_of_a_hundred(zipf):
    p_values, alarms, large = [], [], []
    for names, rows, window in TABLE:
        reference = reference_of(customers(names, rows, 0, zipf=zipf))
        for seed in range(1, 9):
            report, column = judged(reference, customers(names, window, seed, zipf=zipf))
            p_values.append(column.p_value)
            alarms += report.alarms
            large.append(column.js >= 0.1)
    assert np.mean(np.array(p_values) < 0.01) <= 0.03
    assert not [f.sentence for f in alarms]
    assert np.mean(large) <= 0.03


def test_names_in_bursts_and_the_model_that_tells_windows_apart_raise_no_alarm_either():
    for names, burst in ((300, 1), (300, 8), (10_000, 8)):
        reference = reference_of(customers(names, 1_600, 0, burst=burst))
        for seed in (1, 2):
            report, _ = judged(reference, customers(names, 1_000, seed, burst=burst), joint=True)
            assert not [f.sentence for f in report.alarms]


def every_twelfth(name):
    value = pl.when(pl.int_range(pl.len()) % 12 == 0).then(pl.lit(name)).otherwise("customer")
    return value.alias("customer")


@pytest.mark.parametrize(("names", "rows"), [(300, 2_354), (5_000, 20_000)])
@pytest.mark.parametrize("name", ["c77", "quite new"])
def test_a_name_that_takes_over_is_found_and_called_by_its_name(names, rows, name):
    reference = reference_of(customers(names, rows, 0))
    frame = customers(names, 1_000, 1).with_columns(every_twelfth(name))
    report, column = judged(reference, frame)
    (drift,) = (f for f in report.alarms if f.kind == "drift")
    assert repr(name) in drift.sentence
    assert 0.1 <= column.js < 0.4
    assert column.psi > 0.1


@pytest.mark.parametrize("names", [20, 300, 10_000])
def test_a_frequent_name_that_vanishes_is_found(names):
    reference = reference_of(customers(names, 5_000, 0, zipf=True))
    frame = customers(names, 1_500, 1, zipf=True).filter(pl.col("customer") != "c0")
    report, _ = judged(reference, frame)
    assert [f.kind for f in report.alarms] == ["drift"]
    assert "'c0'" in report.alarms[0].sentence


def test_the_sentence_gives_the_shares_that_were_tested():
    reference = reference_of(customers(5, 2_000, 0))
    frame = customers(5, 900, 1).filter(pl.col("customer") != "c3")
    report, column = judged(reference, frame)
    (drift,) = report.alarms
    before = reference.inputs.columns["customer"]
    share = before.counts[before.binning.names.index("c3")] / 2_000
    assert drift.sentence == (
        f"'customer' has another distribution: 'c3' in 0.0% of the rows, {share:.1%} in the "
        f"reference; tested over 5 names (JS {column.js:.2f}, PSI {column.psi:.2f})"
    )


def test_cells_are_chosen_by_both_samples_together_and_hold_all_rows():
    rows = customers(300, 2_354, 0)
    reference = Profile.fit(rows, KINDS)
    a = reference.columns["customer"]
    b = reference.profile_frame(customers(300, 320, 1)).columns["customer"]
    cells = NameCells.choose(a, b, 2_354, 320)
    assert [int(r.sum()) for r in cells.rows] == [2_354, 320]
    # Exchanged, the samples give the same cells.
    again = NameCells.choose(b, a, 320, 2_354)
    assert again.cells.tolist() == cells.cells.tolist()
    assert 30 < len(cells.rows[0]) < 70


def test_new_names_are_to_be_expected_where_the_reference_keeps_meeting_them():
    reference = reference_of(customers(10_000, 1_000, 0))
    report, _ = judged(reference, customers(10_000, 1_000, 1))
    assert not report.alarms
    none_new = reference_of(customers(5, 1_000, 0))
    report, _ = judged(none_new, customers(5, 1_000, 1).with_columns(every_twelfth("new")))
    assert "unseen" in {f.kind for f in report.alarms}


def test_many_new_names_are_no_constant():
    reference = reference_of(customers(5, 1_000, 0))
    frame = customers(5, 500, 1).with_columns(customer=pl.format("new {}", pl.int_range(500)))
    report, _ = judged(reference, frame)
    kinds = {f.kind for f in report.alarms}
    assert "constant" not in kinds
    assert "unseen" in kinds


def test_a_profile_without_groups_says_that_many_names_cannot_be_tested():
    tree = reference_of(customers(300, 2_000, 0)).to_json()
    column = tree["inputs"]["columns"]["customer"]
    del column["groups"], column["coding"]["grouped"]
    report, column = judged(Reference.from_json(tree), customers(300, 500, 1), joint=True)
    assert column.p_value is None
    assert not report.alarms
    assert re.search("'customer' has many names.*registered again", " ".join(report.notes))
