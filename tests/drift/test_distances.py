"""Distances between distributions, compared with SciPy and with hand calculations."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlops_cli.drift.distances import cells, jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from mlops_cli.drift.profile import Profile

RNG = np.random.default_rng(1)
P, Q = np.array([50, 30, 20]), np.array([20, 30, 50])


def sketches(ours, theirs, kind="number"):
    reference = Profile.fit(pl.DataFrame({"x": ours}), {"x": kind})
    return reference.columns["x"], reference.profile_frame(pl.DataFrame({"x": theirs})).columns["x"]


def test_the_stability_index_is_its_formula_with_half_a_row_in_each_cell():
    p, q = (P + 0.5) / 101.5, (Q + 0.5) / 101.5
    assert psi(P, Q) == pytest.approx(sum((q - p) * np.log(q / p)))
    assert psi(P, P) == 0
    assert math.isfinite(psi(np.array([10, 0]), np.array([0, 10])))


def test_jensen_shannon_is_scipys():
    assert jensen_shannon(P, Q) == pytest.approx(jensenshannon(P, Q, base=2))
    assert jensen_shannon(np.array([5, 0]), np.array([0, 9])) == 1
    assert jensen_shannon(P, 3 * P) == 0


def test_kolmogorov_smirnov_is_scipys_but_for_what_lies_within_a_bin():
    ours, theirs = RNG.normal(size=5000), RNG.normal(0.3, 1.2, size=3000)
    a, b = sketches(ours, theirs)
    exact = stats.ks_2samp(ours, theirs).statistic
    found = kolmogorov_smirnov(a.counts[:255], b.counts[:255])
    assert exact - 1 / 64 <= found <= exact


def test_kolmogorov_smirnov_of_few_values_is_exact():
    ours, theirs = RNG.integers(0, 9, 500), RNG.integers(2, 12, 400)
    a, b = sketches(ours, theirs)
    exact = stats.ks_2samp(ours, theirs).statistic
    assert kolmogorov_smirnov(a.counts[:255], b.counts[:255]) == pytest.approx(exact)


@pytest.mark.parametrize("shift", [0.0, 0.5, 4.0])
def test_wasserstein_is_near_scipys_and_exact_for_few_values(shift):
    ours, theirs = RNG.normal(2, 3, 20_000), RNG.normal(2 + 3 * shift, 3, 20_000)
    exact = stats.wasserstein_distance(ours, theirs) / ours.std()
    assert wasserstein(*sketches(ours, theirs)) == pytest.approx(exact, rel=0.1, abs=0.02)
    few, others = RNG.integers(0, 9, 500), RNG.integers(1, 8, 400)
    exact = stats.wasserstein_distance(few, others) / few.std()
    assert wasserstein(*sketches(few, others)) == pytest.approx(exact)


def test_of_a_constant_there_is_no_distance_in_deviations():
    assert math.isnan(wasserstein(*sketches([1.0, 1.0], [1.0, 2.0])))


def test_cells_are_tenths_of_the_reference_and_what_lies_outside():
    ours = np.arange(1000.0)
    found = cells(*sketches(ours, ours + 100))
    assert len(found) == 11
    assert all(80 <= p <= 120 for _, p, _ in found[:-1])
    assert found[-1] == ("above 999", 0, 100)
    assert sum(q for _, _, q in found) == 1000


def test_cells_of_categories_are_the_most_frequent_and_the_rest():
    names = [f"c{i:02}" for i in range(20) for _ in range(20 - i)]
    found = cells(*sketches(names, ["c00", "new"], "category"))
    assert [label for label, _, _ in found] == [f"c{i:02}" for i in range(10)] + ["all others"]
    assert found[-1][2] == 1
