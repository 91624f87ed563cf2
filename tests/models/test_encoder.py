"""The encoder: encoding of each kind of column, and conversion to JSON and back."""

import json
import math

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.models.encoder import MAX_CATEGORIES, Encoder

KINDS = {"size": "number", "open": "boolean", "town": "category"}


@pytest.fixture
def frame():
    return pl.DataFrame(
        {
            "town": ["b", "a", "c", "b", None, "a"],
            "size": [1, 2, None, 4, 5, 6],
            "open": [True, None, False, True, True, False],
        }
    )


def test_columns_come_in_the_order_of_the_kinds(frame):
    matrix = Encoder.fit(frame, KINDS).transform(frame)
    np.testing.assert_array_equal(matrix[:, 0], [1, 2, np.nan, 4, 5, 6])
    np.testing.assert_array_equal(matrix[:, 1], [1, np.nan, 0, 1, 1, 0])
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous


def test_a_category_is_its_rank_by_frequency_then_by_value(frame):
    encoder = Encoder.fit(frame, KINDS)
    assert encoder.categories["town"] == ("a", "b", "c")
    np.testing.assert_array_equal(encoder.transform(frame)[:, 2], [1, 0, 2, 1, np.nan, 0])
    assert encoder.categorical == (2,)


def test_an_unseen_category_is_missing(frame):
    encoder = Encoder.fit(frame, KINDS)
    row = pl.DataFrame({"town": ["z"], "size": [1], "open": [True]})
    assert np.isnan(encoder.transform(row)[0, 2])


def test_beyond_the_most_categories_rare_and_unseen_share_a_code_and_null_stays_missing():
    values = [f"v{i:03}" for i in range(MAX_CATEGORIES + 20)]
    frame = pl.DataFrame({"c": values + values[:MAX_CATEGORIES]})
    encoder = Encoder.fit(frame, {"c": "category"})
    probe = pl.DataFrame({"c": ["v000", values[-1], "never seen", None]})
    codes = encoder.transform(probe)[:, 0]
    np.testing.assert_array_equal(codes, [0, MAX_CATEGORIES, MAX_CATEGORIES, np.nan])


def test_infinity_is_missing():
    frame = pl.DataFrame({"x": [np.inf, -np.inf, np.nan, 1.0]})
    matrix = Encoder.fit(frame, {"x": "number"}).transform(frame)
    np.testing.assert_array_equal(matrix[:, 0], [np.nan, np.nan, np.nan, 1])


def test_an_all_null_category_is_missing_everywhere_even_for_one_row():
    frame = pl.DataFrame({"c": pl.Series([None, None], dtype=pl.String)})
    encoder = Encoder.fit(frame, {"c": "category"})
    assert np.isnan(encoder.transform(frame)).all()
    assert encoder.transform(pl.DataFrame({"c": ["x"]})).shape == (1, 1)


def test_no_rows_give_an_empty_matrix(frame):
    assert Encoder.fit(frame, KINDS).transform(frame.head(0)).shape == (0, 3)


def test_json_keeps_everything(frame):
    encoder = Encoder.fit(frame, KINDS)
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    assert list(again.kinds) == list(KINDS)


def test_a_missing_feature_is_named_with_the_nearest_column(frame):
    encoder = Encoder.fit(frame, KINDS)
    with pytest.raises(DataRefused, match="'town'") as caught:
        encoder.transform(frame.rename({"town": "towm"}))
    assert "towm" in caught.value.hint


def test_text_where_a_number_is_due_is_refused(frame):
    encoder = Encoder.fit(frame, KINDS)
    with pytest.raises(DataRefused, match="feature 'size' is String"):
        encoder.transform(frame.with_columns(size=pl.lit("big")))


def test_a_few_rows_are_encoded_as_among_many():
    frame = pl.DataFrame(
        {
            "city": ["a", None, "b", "unseen", "a", "c", "b", "a", "", "a"],
            "size": [1, None, 3, 4, 5, 6, 7, 8, 9, 10],
            "rate": [0.1, math.inf, -math.inf, math.nan, None, 1e300, -0.0, 2.5, 7.0, 1.0],
            "open": [True, False, None, True, False, True, False, None, True, True],
        }
    )
    kinds = {"city": "category", "size": "number", "rate": "number", "open": "boolean"}
    encoder = Encoder.fit(frame.filter(pl.col("city") != "unseen"), kinds)
    many = encoder.transform(pl.concat([frame] * 3))[: len(frame)]
    one_by_one = np.vstack([encoder.transform(frame[i : i + 1]) for i in range(len(frame))])
    np.testing.assert_array_equal(one_by_one, many)
