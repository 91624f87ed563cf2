"""SHAP values sum up to the raw score, for every family and task, and match brute force."""

from itertools import permutations

import numpy as np
import polars as pl
import pytest

from mlops_cli.evaluation.permutation_shap import raw_score, shapley_values
from mlops_cli.evaluation.shap import contributions, is_exact
from mlops_cli.models.bundle import Bundle, Member
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec

RNG = np.random.default_rng(0)
ROWS = 240
FRAME = pl.DataFrame(
    {
        "a": RNG.normal(size=ROWS),
        "b": np.where(RNG.random(ROWS) < 0.1, np.nan, RNG.normal(size=ROWS)),
        "c": RNG.choice(["x", "y", "z"], ROWS),
    }
)
SCORE = FRAME["a"].to_numpy() + (FRAME["c"] == "x").to_numpy() * 2
TARGETS = {
    "binary": (SCORE > 0.7).astype(int),
    "multiclass": np.digitize(SCORE, [0, 1]),
    "regression": SCORE,
}


def made(task, families):
    """A bundle of small models of these families."""
    encoder = Encoder.fit(FRAME, {"a": "number", "b": "number", "c": "category"})
    target = pl.Series(TARGETS[task])
    labels = LabelCodec.fit(target, task)
    X, y = encoder.transform(FRAME), labels.encode(target)
    info = TaskInfo(task, len(labels.classes), encoder.categorical)
    members = []
    for name in families:
        family = FAMILIES[name]
        settings = {key: setting.default for key, setting in family.space.items()}
        rounds = 5 if family.rounds else None
        members.append(
            Member(name, family.fit(FitRequest(X, y, info, settings, seed=0, rounds=rounds)))
        )
    return Bundle(tuple(members), encoder, labels, task), X


@pytest.mark.parametrize("task", list(TARGETS))
@pytest.mark.parametrize(
    ("families", "method"),
    [
        (["lightgbm"], "tree SHAP"),
        (["linear"], "additive"),
        (["forest"], "sampled Shapley"),
        (["lightgbm", "linear"], "sampled Shapley"),
    ],
)
def test_contributions_sum_up_to_the_raw_score(task, families, method):
    bundle, X = made(task, families)
    found = contributions(bundle, X[:20], orders=2, seed=0)
    assert found.method == method
    assert is_exact(bundle) == (method != "sampled Shapley")
    output = bundle.predict_matrix(X[:20])
    if task == "regression":
        assert found.raw_scores[:, 0] == pytest.approx(output, abs=1e-9)
    elif task == "binary":
        assert 1 / (1 + np.exp(-found.raw_scores[:, 0])) == pytest.approx(output[:, 1], abs=1e-9)
    else:
        powers = np.exp(found.raw_scores)
        assert powers / powers.sum(axis=1, keepdims=True) == pytest.approx(output, abs=1e-9)


@pytest.mark.parametrize("task", list(TARGETS))
def test_a_linear_models_contributions_do_not_depend_on_the_order(task):
    bundle, X = made(task, ["linear"])
    one, other = (contributions(bundle, X[:20], orders=1, seed=s).values for s in (0, 1))
    assert one == pytest.approx(other, abs=1e-8)


def interaction(X):
    """x0 * x1 + x2, with missing as 0."""
    x = np.nan_to_num(X)
    return (x[:, 0] * x[:, 1] + x[:, 2])[:, None]


def test_the_values_are_shapleys():
    X = np.array([[2.0, 3.0, 5.0], [1.0, -1.0, np.nan]])
    base, values = shapley_values(interaction, X, orders=50, seed=0)
    assert base.tolist() == [0]
    # The gain of two features that only work together is shared equally.
    assert values[:, 0] == pytest.approx(np.array([[3, 3, 5], [-0.5, -0.5, 0]]))


def test_sampled_values_come_near_the_mean_over_all_orders():
    rng = np.random.default_rng(1)
    table = rng.normal(size=32)

    def score(X):
        return table[(~np.isnan(X)) @ (2 ** np.arange(5))][:, None]

    exact = np.zeros(5)
    for order in permutations(range(5)):
        known = np.cumsum([0, *(2**j for j in order)])
        exact[list(order)] += np.diff(table[known]) / 120
    _, values = shapley_values(score, np.ones((1, 5)), orders=400, seed=2)
    assert values[0, 0] == pytest.approx(exact, abs=0.12)
    assert values.sum() == pytest.approx(table[-1] - table[0])


def test_raw_scores_of_certain_rows_are_finite():
    assert np.isfinite(raw_score(np.array([[1.0, 0.0], [0.0, 1.0]]))).all()
    assert np.isfinite(raw_score(np.eye(3))).all()


def test_no_rows_have_no_contributions():
    for families in (["lightgbm"], ["forest"]):
        bundle, X = made("binary", families)
        assert contributions(bundle, X[:0], orders=1, seed=0).values.shape == (0, 1, 3)
