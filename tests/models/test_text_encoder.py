"""The text encoder: the same for a table and a row, after a round trip, and for every family."""

import json

import numpy as np
import polars as pl
import pytest

from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.text_encoder import TextEncoder

GOOD = ["lovely", "great service", "would come again", "delicious"]
BAD = ["awful", "rude staff", "never again", "cold and late"]


@pytest.fixture(scope="module")
def reviews():
    rng = np.random.default_rng(0)
    words = ["the", "food", "was", "table", "on", "Sunday", "we", "had", "soup", "Ünïcode"]
    good = rng.random(400) < 0.5
    texts = [
        " ".join([*rng.permutation(words)[:6], str(rng.choice(GOOD if g else BAD))]) for g in good
    ]
    texts[3], texts[7] = None, ""
    frame = pl.DataFrame({"stars": rng.normal(size=400), "review": texts, "shop": ["a", "b"] * 200})
    kinds = {"stars": "number", "review": "text", "shop": "category"}
    return frame, good.astype(int), Encoder.fit(frame, kinds)


def test_a_row_and_a_table_are_encoded_with_the_same_bits(reviews):
    frame, _, encoder = reviews
    whole = encoder.transform(frame)
    assert whole.shape == (400, len(encoder.feature_of_column))
    assert encoder.categorical == (len(encoder.feature_of_column) - 1,)
    alone = np.vstack([encoder.transform(frame[i : i + 1]) for i in range(20)])
    np.testing.assert_array_equal(alone, whole[:20])
    columns = encoder.transform_columns(frame[:20].to_dict(as_series=False))
    np.testing.assert_array_equal(columns, whole[:20])
    assert np.isnan(whole[3, 1:-1]).all()
    assert np.isfinite(whole[7]).all()


def test_an_encoder_from_its_json_encodes_the_same(reviews):
    frame, _, encoder = reviews
    again = Encoder.from_json(json.loads(json.dumps(encoder.to_json())))
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))
    assert again.to_json() == encoder.to_json()
    assert Encoder.fit(frame, encoder.kinds).to_json() == encoder.to_json()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_every_family_learns_from_words(family, reviews):
    frame, y, encoder = reviews
    X, task = encoder.transform(frame), TaskInfo("binary", 2, encoder.categorical)
    fitted = family.fit(FitRequest(X[:300], y[:300], task, {}, seed=1, rounds=30, threads=1))
    assert (fitted.predict(X[300:]).argmax(axis=1) == y[300:]).mean() > 0.8
    by_feature = encoder.sum_by_feature(fitted.importances)
    assert by_feature.shape == (3,)
    assert by_feature.argmax() == 1
    assert by_feature.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "texts", [[None, None], ["", ""], ["one"], ["same text"] * 5, ["ß" * 9999]]
)
def test_texts_that_say_nothing_become_their_length(texts):
    encoder = TextEncoder.fit(texts)
    found = encoder.transform([*texts, "something else"])
    assert found.shape == (len(texts) + 1, encoder.width)
    assert np.isfinite(found[-1]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("different", [1, 2, 3, 7])
def test_few_different_texts_have_few_and_finite_numbers(different):
    texts = [f"{GOOD[i % different % 4]} {i % different}" for i in range(200)]
    encoder = TextEncoder.fit(texts)
    found = encoder.transform([*texts, "another", None])
    assert np.isfinite(found[:-1]).all()
    assert np.isfinite(encoder.components).all()
    assert encoder.width <= different + 1
    assert len(np.unique(found[:200], axis=0)) == different
