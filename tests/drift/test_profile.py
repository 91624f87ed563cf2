"""Profiles: merging, and a limited size."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.drift.binning import MISSING
from mlops_cli.drift.profile import Profile
from mlops_cli.drift.reference import Reference, label_frame, output_frame

KINDS = {"x": "number", "n": "number", "c": "category", "b": "boolean"}


def table(rows, seed=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "x": rng.normal(size=rows),
            "n": rng.integers(0, 5, rows),
            "c": rng.choice(["a", "b", "é"], rows),
            "b": rng.random(rows) < 0.3,
        }
    ).with_columns(x=pl.when(pl.int_range(rows) % 7 > 0).then("x"))


@pytest.fixture(scope="module")
def reference():
    return Profile.fit(table(2000), KINDS, seed=3)


rows = st.fixed_dictionaries(
    {
        "x": st.none() | st.floats(),
        "n": st.none() | st.integers(-(10**6), 10**6),
        "c": st.none() | st.text(max_size=3) | st.sampled_from("abcdefg"),
        "b": st.none() | st.booleans(),
    }
)
SCHEMA = {"x": pl.Float64, "n": pl.Int64, "c": pl.String, "b": pl.Boolean}


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=40), st.lists(rows, max_size=40))
def test_two_parts_merged_are_the_profile_of_both(reference, first, second):
    a, b = (pl.DataFrame(part, schema=SCHEMA) for part in (first, second))
    merged = reference.profile_frame(a).merge(reference.profile_frame(b, start=len(a)))
    whole = reference.profile_frame(pl.concat([a, b]))
    assert merged.rows == whole.rows == len(a) + len(b)
    for name, sketch in whole.columns.items():
        other = merged.columns[name]
        assert (other.counts == sketch.counts).all()
        assert (other.low, other.high, other.misfits) == (sketch.low, sketch.high, sketch.misfits)
        assert other.others == sketch.others
        assert np.isfinite([other.total, other.squares, sketch.total, sketch.squares]).all()
        if max(abs(sketch.low or 0.0), abs(sketch.high or 0.0)) < 1e150:  # no sum overflows
            assert other.total == pytest.approx(sketch.total, rel=1e-9, abs=1e-6)
    assert (merged.sample.codes == whole.sample.codes).all()
    assert (merged.sample.row_numbers == whole.sample.row_numbers).all()


def test_sums_beyond_the_largest_float_stay_finite_when_merged(reference):
    part = reference.profile_frame(
        pl.DataFrame({"x": [1.7e308, 1.7e308]}, schema={"x": pl.Float64})
    )
    merged = part.merge(part).columns["x"]
    assert np.isfinite([merged.total, merged.squares]).all()


def test_a_stream_in_any_batches_gives_the_same_counts_and_the_same_sample(reference):
    frame = table(30_000, seed=1)
    whole = reference.profile_frame(frame)
    for size in (997, 30_000):
        parts = reference.profile_batches(frame[i : i + size] for i in range(0, len(frame), size))
        assert parts.rows == 30_000
        assert (parts.sample.codes == whole.sample.codes).all()
        assert (parts.columns["x"].counts == whole.columns["x"].counts).all()
    assert len(whole.sample.codes) == 5_000


def test_the_sample_is_of_rows_all_over_the_stream(reference):
    numbers = reference.profile_frame(table(30_000)).sample.row_numbers
    assert np.histogram(numbers, bins=10, range=(0, 30_000))[0].min() > 400
    assert len(set(numbers.tolist())) == 5_000


def test_moments_and_range_are_those_of_the_values(reference):
    frame = table(500, seed=2)
    sketch = reference.profile_frame(frame).columns["x"]
    assert sketch.mean == pytest.approx(frame["x"].mean())
    assert sketch.deviation == pytest.approx(frame["x"].std(ddof=0))
    assert (sketch.low, sketch.high) == (frame["x"].min(), frame["x"].max())
    assert sketch.missing == frame["x"].null_count()


def test_a_column_that_is_not_there_is_absent_and_others_are_passed_over(reference):
    profile = reference.profile_frame(table(10).drop("x").with_columns(more=1))
    assert profile.columns["x"].absent
    assert profile.columns["x"].missing == 10
    assert "more" not in profile.columns
    assert (profile.sample.column_codes("x") == MISSING).all()


def test_profiles_of_different_references_are_not_merged(reference):
    other = Profile.fit(table(100, seed=9), KINDS)
    with pytest.raises(ValueError, match="different codings"):
        reference.profile_frame(table(5)).merge(other.profile_frame(table(5)))


def test_json_gives_it_back_in_the_same_bytes(reference):
    text = json.dumps(reference.to_json(), allow_nan=False)
    again = Profile.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert again.design_effects == reference.design_effects
    frame = table(100, seed=4)
    assert (
        again.profile_frame(frame).sample.codes == reference.profile_frame(frame).sample.codes
    ).all()


def test_its_size_is_bounded():
    rng = np.random.default_rng(0)
    wide = pl.DataFrame({f"x{i}": rng.normal(size=6_000) for i in range(40)}).with_columns(
        pl.Series(f"c{i}", [f"category {v}" for v in rng.integers(0, 4_000, 6_000)])
        for i in range(10)
    )
    kinds = {c: "number" if c.startswith("x") else "category" for c in wide.columns}
    assert len(json.dumps(Profile.fit(wide, kinds).to_json())) < 600_000


def test_a_reference_holds_inputs_predictions_and_labels_of_any_task():
    frame = table(60)
    three = np.tile([0.2, 0.5, 0.3], (60, 1))
    cases = {
        "binary": (three[:, :2], ["no", "yes"], {"probability": "number"}),
        "multiclass": (three, [1, 2, 3], {"prediction": "category", "confidence": "number"}),
        "regression": (three[:, 0], [], {"prediction": "number"}),
    }
    for task, (output, classes, kinds) in cases.items():
        target = frame["n"] if task == "regression" else frame["c"]
        made = Reference.from_rows(frame, KINDS, target, output_frame(output, classes), task)
        again = Reference.from_json(json.loads(json.dumps(made.to_json())))
        assert {n: s.binning.kind for n, s in again.outputs.columns.items()} == kinds
        assert again.inputs.rows == again.labels.rows == 60
        label = again.labels.profile_frame(label_frame(target, task)).columns["label"]
        assert label.present == 60
        assert label.outside == 0
