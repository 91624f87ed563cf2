"""Tests of a window against a reference: SciPy's figures, and the promised rate of errors."""

import numpy as np
import pytest
from scipy import stats

from mlops_cli.core import significance as tests

RNG = np.random.default_rng(2)


def test_kolmogorov_smirnov_agrees_with_scipy():
    a, b = RNG.normal(size=400), RNG.normal(0.15, 1, size=300)
    exact = stats.ks_2samp(a, b)
    assert tests.ks_p_value(exact.statistic, 400, 300) == pytest.approx(exact.pvalue, rel=0.15)


def test_homogeneity_is_the_chi_squared_test():
    a, b = np.array([120, 80, 200]), np.array([90, 90, 120])
    exact = stats.chi2_contingency([a, b], correction=False).pvalue
    assert tests.homogeneity(a / 400, b / 300, 400, 300) == pytest.approx(exact)


def test_rare_cells_are_taken_together_so_that_many_categories_raise_no_alarm():
    shares = np.r_[0.5, np.full(500, 0.001)]
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        a, b = rng.multinomial(5000, shares) / 5000, rng.multinomial(200, shares) / 200
        p_values.append(tests.homogeneity(a, b, 5000, 200))
    assert np.mean(np.array(p_values) < 0.05) < 0.1
    assert np.mean(np.array(p_values) < 0.01) < 0.04


def test_one_cell_cannot_differ():
    assert tests.homogeneity(np.array([1.0]), np.array([1.0]), 10, 10) == 1


def test_shares_by_cohens_h():
    assert tests.cohen_h(0.5, 0.5) == 0
    assert tests.cohen_h(0.0, 1.0) == pytest.approx(np.pi)
    exact = stats.chi2_contingency([[60, 340], [75, 225]], correction=False).pvalue
    assert tests.proportions(0.15, 0.25, 400, 300) == pytest.approx(exact, rel=0.25)


def test_the_range_of_a_small_reference_is_no_wall():
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(400):
        reference, window = rng.normal(size=100), rng.normal(size=5000)
        outside = np.mean((window < reference.min()) | (window > reference.max()))
        p_values.append(tests.beyond(float(outside), 5000, 2, 100))
    assert np.mean(np.array(p_values) < 0.05) < 0.07
    assert tests.beyond(0.2, 5000, 2, 100) < 1e-6
    assert tests.beyond(0.01, 5000, 2, 100_000) < 1e-12
    assert tests.beyond(0.0, 5000, 2, 100) == 1


def test_false_discoveries_are_adjusted_as_scipy_does():
    p_values = RNG.random(50) ** 3
    exact = stats.false_discovery_control(p_values)
    assert tests.adjusted(p_values.tolist()) == pytest.approx(exact.tolist())
    assert tests.adjusted([]) == []


def test_a_sample_is_as_good_as_the_smaller_one():
    assert tests.joined(100, 1e12) == pytest.approx(100)
    assert tests.joined(0, 0) == 0
