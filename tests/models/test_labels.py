"""Labels: codes of classes, and refused targets."""

import json

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.models.labels import MAX_CLASSES, LabelCodec


def test_classes_are_sorted_and_false_comes_before_true():
    codec = LabelCodec.fit(pl.Series([True, False, True]), "binary")
    assert codec.classes == (False, True)
    np.testing.assert_array_equal(codec.encode(pl.Series([True, False])), [1, 0])


def test_the_names_of_classes_are_texts_as_json_has_them():
    assert LabelCodec("binary", (False, True)).names == ("false", "true")
    assert LabelCodec("multiclass", (1, 2.5, "True")).names == ("1", "2.5", "True")


def test_the_positive_class_comes_last():
    target = pl.Series(["bad", "good"])
    assert LabelCodec.fit(target, "binary", "bad").classes == ("good", "bad")
    assert LabelCodec.fit(target, "binary", "good").classes == ("bad", "good")


@pytest.mark.parametrize(
    ("classes", "positive", "last"),
    [([0, 1], "1", 1), ([0, 1], "0", 0), ([False, True], "true", True), (["a", "b"], "a", "a")],
)
def test_a_text_that_names_one_class_is_that_class(classes, positive, last):
    assert LabelCodec.fit(pl.Series(classes), "binary", positive).classes[-1] == last


def test_a_positive_class_that_isnt_there_is_refused_with_the_classes():
    with pytest.raises(DataRefused, match="'2', and the target's classes are 0, 1"):
        LabelCodec.fit(pl.Series([0, 1]), "binary", "2")


def test_the_hint_on_a_class_without_training_rows_names_a_key_that_exists():
    codec = LabelCodec.fit(pl.Series(["a", "b"]), "binary")
    with pytest.raises(DataRefused) as refused:
        codec.encode(pl.Series(["c"]))
    assert "split.strategy: stratified" in refused.value.hint


def test_codes_come_back_as_classes():
    target = pl.Series(["c", "a", "b", "a"])
    codec = LabelCodec.fit(target, "multiclass")
    assert codec.decode(codec.encode(target)) == target.to_list()


@pytest.mark.parametrize(("values", "kind"), [([False, True], "binary"), ([3, 1, 2], "multiclass")])
def test_json_keeps_values_and_their_types(values, kind):
    codec = LabelCodec.fit(pl.Series(values), kind)
    again = LabelCodec.from_json(json.loads(json.dumps(codec.to_json())))
    assert again == codec
    assert [type(c) for c in again.classes] == [type(c) for c in codec.classes]


def test_an_unknown_positive_class_is_refused_naming_the_classes():
    with pytest.raises(DataRefused, match=r"'yes'.*'n', 'y'"):
        LabelCodec.fit(pl.Series(["y", "n"]), "binary", "yes")


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_one_class_is_refused(kind):
    with pytest.raises(DataRefused, match="target has one class: 7 in all 3"):
        LabelCodec.fit(pl.Series([7, 7, 7]), kind)


def test_three_classes_are_not_binary():
    with pytest.raises(DataRefused, match="has 3: 1, 2, 3") as caught:
        LabelCodec.fit(pl.Series([1, 2, 3]), "binary")
    assert "multiclass" in caught.value.hint


def test_too_many_classes_are_refused_with_a_hint_at_regression():
    with pytest.raises(DataRefused, match=f"{MAX_CLASSES + 1} classes") as caught:
        LabelCodec.fit(pl.Series(range(MAX_CLASSES + 1)), "multiclass")
    assert "regression" in caught.value.hint


def test_regression_takes_numbers_only():
    codec = LabelCodec.fit(pl.Series([1, 2]), "regression")
    assert codec.encode(pl.Series([1, 2])).dtype == np.float64
    with pytest.raises(DataRefused, match="String"):
        LabelCodec.fit(pl.Series(["1", "2"]), "regression")
    with pytest.raises(DataRefused, match="infinite or not a number in 1 rows"):
        LabelCodec.fit(pl.Series([1.0, np.inf]), "regression")


def test_a_class_that_training_never_saw_is_refused_with_place_and_count():
    codec = LabelCodec.fit(pl.Series(["a", "b"]), "multiclass")
    with pytest.raises(DataRefused, match=r"class 'c' is in the test split \(2 rows\)"):
        codec.encode(pl.Series(["a", "c", "c"]), "the test split")


@pytest.mark.parametrize("target", [[1.0, -1.7e308], [1e200], [2**62, 3]])
def test_a_regression_target_that_is_too_large_to_fit_is_refused_with_its_size(target):
    with pytest.raises(
        DataRefused, match=r"reaches .+e\+\d+ in size, and at most 1e\+15"
    ) as refused:
        LabelCodec.fit(pl.Series(target), "regression")
    assert "featurize.target" in refused.value.hint


def test_a_large_regression_target_that_can_be_fitted_is_taken():
    target = pl.Series([1e15, -1e15, 1e-320])
    codec = LabelCodec.fit(target, "regression")
    np.testing.assert_array_equal(codec.encode(target), [1e15, -1e15, 1e-320])
