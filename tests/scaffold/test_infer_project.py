"""Decisions of `mlops init` for tables of many kinds."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import DataRefused, SourceUnreadable, Usage
from mlops_cli.scaffold.infer_project import PredictionProblem, infer

N = 60


def table(**columns) -> pl.DataFrame:
    """A table with a binary target `y`, a plain number `a`, and what is given."""
    base = {"a": [i * 37 % 60 / 7 for i in range(N)], "y": [i * 7 % 11 % 2 for i in range(N)]}
    return pl.DataFrame({**base, **columns}, strict=False)


def proposed(frame: pl.DataFrame, target: str = "y", **options):
    notations = options.pop("notations", None)
    return infer(frame.lazy(), PredictionProblem(target, **options), notations)


def column(frame: pl.DataFrame, name: str, target: str = "y", **options):
    return next(c for c in proposed(frame, target, **options).columns if c.name == name)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([True, False], "binary"),
        (["good", "bad"], "binary"),
        ([0, 1], "binary"),
        ([0.0, 1.0], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([3, 5, 9], "multiclass"),
        ([3.0, 5.0, 9.0], "multiclass"),
        (list(range(30)), "regression"),
        ([0.5, 1.5], "regression"),
        ([i / 3 for i in range(60)], "regression"),
    ],
)
def test_the_targets_values_decide_the_task(values, task):
    target = [values[i % len(values)] for i in range(N)]
    found = proposed(table().with_columns(pl.Series("y", target))).target
    assert found.task == task
    assert found.reason


def test_the_user_may_say_the_task():
    target = pl.Series("y", [i % 3 for i in range(N)])
    assert proposed(table().with_columns(target), task="regression").target.task == "regression"


@pytest.mark.parametrize(
    ("values", "task"),
    [(["a", "b"], "regression"), (["a", "b", "c"], "binary"), ([0, 1], "multiclass")],
)
def test_a_task_that_the_target_contradicts_is_refused(values, task):
    target = pl.Series("y", [values[i % len(values)] for i in range(N)])
    with pytest.raises(Usage, match=f"--task {task}"):
        proposed(table().with_columns(target), task=task)


def test_whole_labels_written_as_floats_become_integers():
    target = pl.Series("y", [None if i == 5 else float(i % 2) for i in range(N)])
    found = proposed(table().with_columns(target)).target
    assert (found.sql, found.positive, found.unlabelled) == ("CAST(y AS BIGINT)", 1, 1)
    assert list(found.classes) == [0, 1]


def test_the_positive_class_is_the_last_in_sorted_order():
    target = pl.Series("y", ["M" if i % 3 else "B" for i in range(N)])
    assert proposed(table().with_columns(target)).target.positive == "M"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ([1] * N, "one value only, 1"),
        ([None] * N, "no value"),
        ([f"text {i}" for i in range(N)], "too many to be classes"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(target, says):
    with pytest.raises(DataRefused, match=says):
        proposed(table().with_columns(pl.Series("y", target)))


def test_a_table_without_rows_is_refused():
    with pytest.raises(DataRefused, match="no rows"):
        proposed(table().clear())


def test_a_missing_target_suggests_the_nearest_column():
    with pytest.raises(Usage) as caught:
        proposed(table(churned=[1] * N), "churnd")
    assert "'churnd'" in caught.value.message
    assert "'churned'" in caught.value.hint


def test_a_date_cannot_be_predicted():
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(N)]
    with pytest.raises(Usage, match="type date"):
        proposed(table(day=days), "day")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("customer_id", [i * 7919 for i in range(N)], "tell the rows apart"),
        ("OrderId", [i * 7919 for i in range(N)], "tell the rows apart"),
        ("index", list(range(N)), "tell the rows apart"),
        ("code", [f"c{i}" for i in range(N)], "tell the rows apart"),
        ("constant", ["x"] * N, "always has the value x"),
        ("empty", [None] * N, "no values"),
        ("names", [f"n{i % 40}" for i in range(N)], "67% of its texts differ"),
        ("nested", [[1, 2]] * N, "no feature can be of type list"),
        ("^a.*$", [i % 5 for i in range(N)], "pattern"),
        ("*", [i % 5 for i in range(N)], "pattern"),
    ],
)  # fmt: skip
def test_columns_that_teach_nothing_are_left_out_and_why(name, values, reason):
    found = column(table(**{name: values}), name)
    assert found.role == "left out"
    assert reason in found.reason
    assert not found.features


def test_prose_is_a_feature_whose_words_count():
    review = [f"{i} " + "words of prose " * 4 for i in range(N)]
    found = column(table(review=review), "review")
    assert found.role == "feature"
    assert found.text
    assert not column(table(shop=["a", "b", "c"] * (N // 3)), "shop").text


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("valid", [i % 5 for i in range(N)]),
        ("year", [2000 + i for i in range(N)]),
        ("price", [i * 1.25 for i in range(N)]),
        ("sometimes", [None if i % 2 else "x" for i in range(N)]),
    ],
)
def test_columns_that_may_teach_something_stay(name, values):
    assert column(table(**{name: values}), name).role == "feature"


def test_a_copy_of_the_target_is_left_out_with_a_warning():
    frame = table()
    frame = frame.with_columns(
        same=pl.col("y"), words=pl.col("y").replace_strict({0: "no", 1: "yes"})
    )
    found = proposed(frame)
    assert {c.name for c in found.columns if c.role == "left out"} == {"same", "words"}
    assert any("same is left out: it equals the target y" in w for w in found.warnings)
    assert any("words is left out" in w for w in found.warnings)


def test_a_number_that_equals_a_regression_target_is_found_across_types():
    frame = table(price=[i * 2 for i in range(N)]).with_columns(
        copy=pl.col("price").cast(pl.Float64)
    )
    assert column(frame, "copy", "price").role == "left out"


def test_every_feature_expression_works_on_the_table():
    days = [dt.date(2023, 12, 1) + dt.timedelta(days=i) for i in range(N)]
    frame = table(
        **{
            "mean radius": [i % 9 / 2 for i in range(N)],
            'a "b"': [i % 4 for i in range(N)],
            "select": [f"s{i % 3}" for i in range(N)],
            "Day": days,
            "at": [dt.datetime(2024, 1, 1, i % 24, 30, tzinfo=dt.UTC) for i in range(N)],
            "flag": [i % 5 == 0 for i in range(N)],
        }
    ).with_columns(kind=pl.Series([f"k{i % 7}" for i in range(N)], dtype=pl.Categorical))
    features = proposed(frame).features
    made = frame.select(pl.sql_expr(sql).alias(name) for name, sql in features.items())
    assert made.height == N
    assert "mean_radius" in features
    assert made["day_days"][:2].to_list() == [19692.0, 19693.0]
    assert made["day_weekday"][0] == 5
    assert made["at_hour"][:2].to_list() == [0, 1]
    assert "at_year" not in features, "all rows are of one year"
    assert made["day_year"].unique().sort().to_list() == [2023, 2024]


def test_features_have_names_of_their_own():
    frame = table(
        **{"Mean Radius": [i % 9 for i in range(N)], "mean radius": [i % 8 for i in range(N)]}
    )
    assert {"mean_radius", "mean_radius_2"} <= proposed(frame).features.keys()


def test_limits_are_wider_than_what_was_seen():
    found = column(table(size=[i % 50 + 1 for i in range(N)]), "size")
    assert (found.low, found.high) == (0, 99)
    found = column(table(t=[i % 50 - 20.5 for i in range(N)]), "t")
    assert found.low <= -69.5
    assert found.high >= 77.5


def test_infinite_values_do_not_become_limits():
    found = column(table(t=[float("inf") if i == 3 else i % 7 / 2 for i in range(N)]), "t")
    assert found.high == 6.0


@pytest.mark.parametrize("value", [5e-324, -5e-324, 1e-310, 1e-300, 1.7e308])
def test_the_smallest_and_largest_floats_have_limits_or_none(value):
    found = column(table(t=[0.0 if i % 3 else value for i in range(N)]), "t")
    if abs(value) > 1e308:
        assert (found.low, found.high) == (None, None)
    else:
        assert found.low <= min(value, 0.0)
        assert found.high >= max(value, 0.0)


def test_few_distinct_texts_are_categories():
    found = column(table(kind=[f"k{i % 3}" if i else None for i in range(N)]), "kind")
    assert found.categories == ("k0", "k1", "k2")
    assert found.missing == 1


def test_not_a_number_counts_as_missing():
    found = column(table(t=[float("nan") if i < 4 else i / 2 for i in range(N)]), "t")
    assert found.missing == 4


def test_classes_are_stratified_and_rare_ones_are_named():
    assert proposed(table()).strategy == "stratified"
    rare = pl.Series("y", ["a" if i < 40 else "b" if i < 57 else "c" for i in range(N)])
    found = proposed(table().with_columns(rare))
    assert found.strategy == "stratified"
    assert any("'c' with 3" in w for w in found.warnings)


def test_a_time_column_splits_by_time_and_gives_only_what_returns():
    days = [dt.date(2022, 1, 1) + dt.timedelta(days=20 * i) for i in range(N)]
    found = proposed(table(day=days), time="day")
    assert found.strategy == "time"
    assert {n for n in found.features if n.startswith("day")} == {"day_month", "day_weekday"}


def test_without_a_time_column_a_date_is_offered():
    days = [dt.date(2022, 1, 1) + dt.timedelta(days=20 * i) for i in range(N)]
    found = proposed(table(day=days))
    assert found.strategy == "stratified"
    assert "--time day" in found.strategy_reason


def test_a_group_column_splits_and_is_no_feature():
    found = proposed(table(patient=[i // 4 for i in range(N)]), group="patient")
    assert found.strategy == "grouped"
    assert "patient" not in found.features


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"time": "a"}, "not a date"),
        ({"time": "day", "group": "a"}, "two ways to split"),
        ({"group": "y"}, "cannot split the rows too"),
        ({"group": "nobody"}, "--group names 'nobody'"),
    ],
)
def test_columns_that_do_not_suit_their_option_are_refused(options, says):
    days = [dt.date(2022, 1, 1) + dt.timedelta(days=i) for i in range(N)]
    with pytest.raises(Usage, match=says):
        proposed(table(day=days), **options)


def test_a_reserved_column_name_is_refused():
    with pytest.raises(SourceUnreadable, match="'_row'"):
        proposed(table(_row=list(range(N))))


def test_a_table_with_nothing_to_learn_from_is_refused():
    frame = pl.DataFrame({"id": list(range(N)), "y": [i % 2 for i in range(N)]})
    with pytest.raises(DataRefused, match="no column can be a feature"):
        proposed(frame)


def test_a_group_of_too_few_values_for_three_splits_is_refused():
    with pytest.raises(DataRefused, match="--group 'ward' has 2 values"):
        proposed(table(ward=["north", "south"] * (N // 2)), group="ward")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["*", "^.*$", "x"])
def test_the_order_of_rows_is_looked_at_whatever_names_and_numbers_there_are(name):
    largest = float(np.finfo(float).max)
    rows = [i * 7919 % 300 for i in range(300)]
    odd = [largest if (at < 150) == (at % 10 > 0) else -largest for at in range(300)]
    target = [("a", "b", "c")[i % 3] for i in rows]
    found = proposed(pl.DataFrame({name: odd, "a": odd, "b": rows, "y": target}))
    assert {"a", "b"} <= found.features.keys()
