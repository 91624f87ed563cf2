"""Significance tests of a window against a reference: SciPy's figures, and error rates."""

import numpy as np
import pytest
from scipy import stats

from mlops_cli.drift import significance as tests

RNG = np.random.default_rng(2)


def test_kolmogorov_smirnov_agrees_with_scipy():
    a, b = RNG.normal(size=400), RNG.normal(0.15, 1, size=300)
    exact = stats.ks_2samp(a, b)
    assert tests.ks_p_value(exact.statistic, 400, 300) == pytest.approx(exact.pvalue, rel=0.15)


def test_homogeneity_is_the_chi_squared_test():
    a, b = np.array([120, 80, 200]), np.array([90, 90, 120])
    exact = stats.chi2_contingency([a, b], correction=False).pvalue
    assert tests.chi_squared_p_value(a / 400, b / 300, 400, 300) == pytest.approx(exact)


def test_one_cell_that_differs_is_found_among_hundreds_and_none_is_without_a_difference():
    shares = np.full(200, 1 / 200)
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        a, b = (rng.multinomial(n, shares) / n for n in (3000, 1000))
        found.append(tests.most_changed_cell(a, b, 3000, 1000)[1])
    assert np.mean(np.array(found) < 0.05) < 0.07
    b[17] += 0.025
    cell, p_value = tests.most_changed_cell(a, b / b.sum(), 3000, 1000)
    assert cell == 17
    assert p_value < 1e-4
    assert tests.chi_squared_p_value(a, b / b.sum(), 3000, 1000) > p_value


def test_the_distance_by_chance_is_what_one_in_twenty_samples_exceeds():
    apart = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        p, q = (rng.multinomial(n, np.full(30, 1 / 30)) / n for n in (3000, 1000))
        apart.append(np.sum((p - q) ** 2 / ((3 * p + q) / 4)))
    assert np.mean(np.array(apart) > tests.distance_by_chance(30, 3000, 1000)) == pytest.approx(
        0.05, abs=0.035
    )
    assert tests.distance_by_chance(1, 100, 100) == 0
    assert tests.distance_by_chance(2, 100, 100, comparisons=50) > tests.distance_by_chance(
        2, 100, 100
    )


def test_one_cell_cannot_differ():
    assert tests.chi_squared_p_value(np.array([1.0]), np.array([1.0]), 10, 10) == 1


def test_shares_by_cohens_h():
    assert tests.cohen_h(0.5, 0.5) == 0
    assert tests.cohen_h(0.0, 1.0) == pytest.approx(np.pi)
    exact = stats.chi2_contingency([[60, 340], [75, 225]], correction=False).pvalue
    assert tests.proportions_p_value(0.15, 0.25, 400, 300) == pytest.approx(exact, rel=0.25)


def test_the_p_value_of_values_out_of_range_depends_on_the_size_of_the_reference():
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(400):
        reference, window = rng.normal(size=100), rng.normal(size=5000)
        outside = np.mean((window < reference.min()) | (window > reference.max()))
        p_values.append(tests.outside_range_p_value(float(outside), 5000, 2, 100))
    assert np.mean(np.array(p_values) < 0.05) < 0.07
    assert tests.outside_range_p_value(0.2, 5000, 2, 100) < 1e-6
    assert tests.outside_range_p_value(0.01, 5000, 2, 100_000) < 1e-12
    assert tests.outside_range_p_value(0.0, 5000, 2, 100) == 1


def test_false_discoveries_are_adjusted_as_scipy_does():
    p_values = RNG.random(50) ** 3
    exact = stats.false_discovery_control(p_values)
    assert tests.benjamini_hochberg(p_values.tolist()) == pytest.approx(exact.tolist())
    assert tests.benjamini_hochberg([]) == []


def test_the_effective_size_of_two_samples_follows_the_smaller_one():
    assert tests.effective_n(100, 1e12) == pytest.approx(100)
    assert tests.effective_n(0, 0) == 0


def test_a_share_is_above_another_as_far_as_a_small_one_is_above_none():
    assert tests.shifted_share(0.0, 0.005) == pytest.approx(0.005)
    found = tests.shifted_share(0.15, 0.005)
    assert tests.cohen_h(0.15, found) == pytest.approx(tests.cohen_h(0.0, 0.005))
    assert tests.shifted_share(1.0, 0.005) == 1.0
