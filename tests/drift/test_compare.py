"""Drift: each fault is reported by column and kind, and undisturbed windows raise no alarm."""

import json

import numpy as np
import polars as pl
import pytest

from mlops_cli.drift.compare import DriftRules, compare
from mlops_cli.drift.reference import Reference, label_frame, output_frame

KINDS = {
    "weight": "number", "temperature": "number", "visits": "number", "gap": "number",
    "site": "category", "plan": "category", "member": "boolean",
}  # fmt: skip


def people(rows, seed):
    """Rows in which site, temperature and plan go together."""
    rng = np.random.default_rng(seed)
    site = rng.choice(["oslo", "rome", "wien"], rows, p=[0.34, 0.33, 0.33])
    warm = np.select([site == "oslo", site == "rome"], [5.0, 20.0], 12.0)
    return pl.DataFrame(
        {
            "weight": rng.lognormal(4, 0.4, rows),
            "temperature": rng.normal(warm, 4),
            "visits": rng.poisson(3, rows),
            "gap": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "site": site,
            "plan": rng.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1]),
            "member": rng.random(rows) < 0.2,
            "score": rng.beta(2, 5, rows),
            "late": rng.choice(["no", "yes"], rows, p=[0.8, 0.2]),
        }
    )


def outputs(frame):
    score = frame["score"].to_numpy()
    return output_frame(np.column_stack([1 - score, score]), ["no", "yes"])


@pytest.fixture(scope="module")
def reference():
    rows = people(20_000, 0)
    made = Reference.from_rows(
        rows, KINDS, rows["late"], outputs(people(5_000, 1)), "binary", seed=1
    )
    return Reference.from_json(json.loads(json.dumps(made.to_json())))


def drifted(reference, frame, **rules):
    return compare(
        reference,
        inputs=reference.inputs.profile_frame(frame),
        outputs=reference.outputs.profile_frame(outputs(frame)),
        labels=reference.labels.profile_frame(label_frame(frame["late"], "binary")),
        rules=DriftRules(**rules),
    )


def every(n, value):
    return lambda c: pl.when(pl.int_range(pl.len()) % n == 0).then(value).otherwise(pl.col(c))


FAULTS = {
    "a shift": ("shift", "temperature", pl.col("temperature") + 6),
    "fahrenheit": ("scale", "temperature", pl.col("temperature") * 1.8 + 32),
    "a thousandth": ("scale", "weight", pl.col("weight") * 1000),
    "pounds": ("scale", "weight", pl.col("weight") / 0.45359237),
    "twice the visits": ("scale", "visits", pl.col("visits") * 2),
    "other numbers": ("drift", "gap", pl.col("gap") ** 3 * 2),
    "missing": ("missing", "weight", every(10, None)("weight")),
    "no longer missing": ("missing", "gap", pl.col("gap").fill_nan(0.0)),
    "outside": ("range", "weight", every(50, -1.0)("weight")),
    "a new category": ("unseen", "plan", every(20, pl.lit("d"))("plan")),
    "a renamed one": ("unseen", "site", pl.col("site").replace("rome", "Roma")),
    "swapped shares": ("swap", "plan", pl.col("plan").replace({"a": "b", "b": "a"})),
    "not negated": ("swap", "member", ~pl.col("member")),
    "swapped meanings": ("swap", "site", pl.col("site").replace({"oslo": "rome", "rome": "oslo"})),
    "other shares": ("drift", "plan", every(2, pl.lit("c"))("plan")),
    "stuck": ("constant", "visits", pl.lit(3)),
    "nothing left": ("vanished", "weight", pl.lit(None, dtype=pl.Float64)),
    "text": ("type", "weight", pl.lit("heavy")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_column_and_kind_and_nothing_else_is(reference, name):
    kind, column, fault = FAULTS[name]
    frame = people(3_000, 7).with_columns(fault.alias(column))
    report = drifted(reference, frame, joint=name == "swapped meanings")
    alarms = [(f.kind, f.column) for f in report.alarms]
    assert (kind, column) in alarms, [f.sentence for f in report.findings]
    assert {c for _, c in alarms} == {column}
    assert all(column in f.sentence for f in report.alarms)
    json.dumps(report.to_json(), allow_nan=False)


def prices(rows, seed):
    rng = np.random.default_rng(seed)
    price = rng.lognormal(3, 0.5, rows)
    return pl.DataFrame({"amount": price, "per_item": price / rng.integers(1, 5, rows)})


@pytest.mark.parametrize("column", ["amount", "per_item"])
def test_a_number_that_is_multiplied_has_another_scale(column):
    known = prices(2_300, 0)
    kinds = {"amount": "number", "per_item": "number"}
    outputs = pl.DataFrame({"probability": np.linspace(0, 1, 100)})
    made = Reference.from_rows(known, kinds, known["amount"], outputs, "regression")
    for factor in (1.85, 1.852, 1.943844, 2.2046226):
        window = prices(311, 5).with_columns(pl.col(column) * factor)
        alarms = compare(
            made, inputs=made.inputs.profile_frame(window), rules=DriftRules(joint=False)
        ).alarms
        (alarm,) = (f for f in alarms if f.kind != "range")
        assert (alarm.kind, alarm.column) == ("scale", column)
        assert alarm.sentence.startswith(f"{column!r} has another scale: its median is ")
        assert "times the reference's [" in alarm.sentence
        low, high = alarm.details["low"], alarm.details["high"]
        assert low < factor < high
        assert 0.05 < high / low - 1 < 0.4


def test_values_that_were_spread_and_moved_are_told_by_spread_and_mean(reference):
    fault = people(3_000, 7).with_columns(pl.col("temperature") * 1.8 + 32)
    alarms = drifted(reference, fault, joint=False).alarms
    (scale,) = (f for f in alarms if f.kind == "scale")
    assert scale.details["factor"] == pytest.approx(1.8, rel=0.05)
    assert "it is spread 1.8" in scale.sentence or "it is spread 1.7" in scale.sentence


def test_columns_that_no_longer_go_together_are_found_though_each_is_as_ever(reference):
    frame = people(3_000, 7).with_columns(pl.col("temperature").shuffle(seed=1))
    (joint,) = drifted(reference, frame).alarms
    assert joint.kind == "joint"
    assert joint.column is None
    assert set(joint.details["columns"][:2]) == {"temperature", "site"}
    assert not drifted(reference, frame, joint=False).alarms


def test_predictions_and_labels_drift_too(reference):
    frame = people(3_000, 7).with_columns(
        pl.col("score") ** 0.5, pl.col("late").replace({"no": "yes", "yes": "no"})
    )
    found = {(f.part, f.column): f.kind for f in drifted(reference, frame, joint=False).alarms}
    assert found[("labels", "label")] == "swap"
    assert found[("outputs", "probability")] in {"drift", "shift"}
    assert len(found) == 2


def test_a_column_that_is_not_logged_is_an_alarm_in_the_smallest_window(reference):
    report = drifted(reference, people(5, 7).drop("weight"))
    assert [(f.kind, f.column, f.p_value) for f in report.alarms] == [("vanished", "weight", None)]
    assert "too few" in report.notes[0]


@pytest.mark.parametrize("rows", [0, 1, 60, 200, 1_000, 20_000])
def test_undisturbed_windows_of_any_size_raise_no_alarm(reference, rows):
    report = drifted(reference, people(rows, 11))
    assert report.alarms == ()
    assert report.rows == rows
    assert {c.column for c in report.columns} == {*KINDS, "probability", "label"}


def test_a_small_difference_in_many_rows_is_significant_and_no_alarm(reference):
    frame = people(50_000, 12).with_columns(pl.col("temperature") + 0.5)
    report = drifted(reference, frame, joint=False)
    (column,) = (c for c in report.columns if c.column == "temperature")
    assert column.adjusted < 1e-3
    assert column.ks < 0.1
    assert not report.alarms


def test_one_value_out_of_range_in_many_rows_is_a_notice_at_most(reference):
    frame = people(3_000, 13).with_columns(every(1000, -5.0)("weight").alias("weight"))
    findings = drifted(reference, frame, joint=False).findings
    assert {(f.kind, f.severity) for f in findings} <= {("range", "notice")}


def test_a_slow_series_is_no_drift_in_a_short_window():
    hours = np.arange(60_000) // 20
    season = np.sin(hours / 400) + np.random.default_rng(1).normal(size=3_000)[hours] * 0.2
    rows = pl.DataFrame({"warm": season, "hour": hours % 24})
    kinds = {"warm": "number", "hour": "number"}
    label = pl.Series(["x"] * 50_000)
    first = rows[:50_000]
    made = Reference.from_rows(
        first, kinds, label, pl.DataFrame({"prediction": [0.0]}), "multiclass"
    )
    for start in (50_000, 53_000, 57_000):
        assert not compare(made, inputs=made.inputs.profile_frame(rows[start : start + 400])).alarms
    broken = rows[50_000:54_000].with_columns(pl.col("warm") * 100)
    assert ("warm", "range") in {
        (f.column, f.kind) for f in compare(made, inputs=made.inputs.profile_frame(broken)).alarms
    }


@pytest.mark.parametrize("rows", [1_000, 10_000])
def test_more_categories_than_codes_raise_no_alarm_though_the_rare_ones_are_chosen_by_chance(rows):
    def brands(n, seed):
        names = (np.random.default_rng(seed).random(n) ** 3 * 400).astype(int)
        return pl.DataFrame({"brand": [f"brand {b}" for b in names]})

    known = brands(rows, 0)
    outputs = pl.DataFrame({"probability": np.linspace(0, 1, 100)})
    made = Reference.from_rows(known, {"brand": "category"}, known["brand"], outputs, "multiclass")
    made = Reference.from_json(json.loads(json.dumps(made.to_json())))
    for seed, size in enumerate((300, 5_000, 50_000)):
        assert not compare(made, inputs=made.inputs.profile_frame(brands(size, seed + 1))).alarms
    new = brands(5_000, 9).with_columns(every(2, pl.lit("quite new"))("brand").alias("brand"))
    assert {"unseen", "drift"} == {
        f.kind for f in compare(made, inputs=made.inputs.profile_frame(new)).alarms
    }


def test_a_column_that_goes_on_with_time_leaves_its_range_by_itself():
    def months(first, last, rows):
        at = np.linspace(first, last, rows)
        noise = np.random.default_rng(rows).normal(size=rows)
        return pl.DataFrame(
            {
                "month": np.floor(at),
                "batch": [f"b{int(i)}" for i in at],
                "counter": at * 1e6 + noise,
            }
        )

    known = months(1, 5.999, 1_300)
    kinds = {"month": "number", "batch": "category", "counter": "number"}
    outputs = pl.DataFrame({"probability": np.linspace(0, 1, 100)})
    made = Reference.from_rows(known, kinds, known["batch"][:1], outputs, "multiclass")
    for month in (6, 9, 12):
        window = months(month, month + 0.999, 330)
        assert not compare(
            made, inputs=made.inputs.profile_frame(window), rules=DriftRules()
        ).alarms
    broken = months(7, 7.999, 330).with_columns(pl.col("counter") * 1000)
    alarms = compare(made, inputs=made.inputs.profile_frame(broken)).alarms
    assert {f.column for f in alarms} == {"counter"}
