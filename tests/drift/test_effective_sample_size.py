"""Effective sample sizes of independent and of autocorrelated rows."""

import numpy as np
import pytest

from mlops_cli.drift.binning import MISSING
from mlops_cli.drift.effective_sample_size import DesignEffect, cluster_design_effect

RNG = np.random.default_rng(4)


def test_independent_rows_count_nearly_in_full():
    codes = RNG.integers(1, 65, 50_000).astype(np.uint8)
    for ordered in (True, False):
        depends = DesignEffect.measure(codes, ordered=ordered)
        assert depends.effective_rows(100) > 80
        assert depends.effective_rows(1000) > 500
        assert cluster_design_effect(codes, len(codes), ordered=ordered) == 1


def test_rows_in_groups_of_fifty_equal_ones_count_for_a_fiftieth():
    codes = np.repeat(RNG.integers(1, 65, 2000), 50).astype(np.uint8)
    depends = DesignEffect.measure(codes, ordered=True)
    assert depends.effective_rows(5000) == pytest.approx(100, rel=0.35)
    assert depends.effective_rows(16) == pytest.approx(1.1, abs=0.3)
    assert depends.longest_run >= 50
    assert cluster_design_effect(codes, len(codes), ordered=True) == pytest.approx(50, rel=0.8)


def test_a_mean_over_a_window_varies_as_its_effective_rows_say():
    noise = RNG.normal(size=200_000)
    series = np.empty_like(noise)
    level = 0.0
    for i, step in enumerate(noise):
        level = 0.98 * level + step
        series[i] = level
    ranks = series.argsort().argsort() / len(series)
    codes = (1 + ranks * 64).astype(np.uint8)
    depends = DesignEffect.measure(codes, ordered=True)
    size = 2000
    means = ranks[: len(ranks) // size * size].reshape(-1, size).mean(axis=1)
    effective = ranks.var() / means.var(ddof=1)
    assert depends.effective_rows(size) == pytest.approx(effective, rel=0.5)


def test_gaps_have_an_effect_of_their_own():
    codes = RNG.integers(1, 65, 20_000).astype(np.uint8)
    codes[np.repeat(RNG.random(200) < 0.2, 100)] = MISSING
    depends = DesignEffect.measure(codes, ordered=True)
    assert depends.effective_rows(1600, for_missing=True) == pytest.approx(16, rel=0.6)
    assert depends.effective_rows(1600) > 800


def test_few_rows_give_no_design_effect():
    nothing = DesignEffect.measure(np.full(10, MISSING, np.uint8), ordered=True)
    assert nothing.longest_run == 0
    assert nothing.effective_rows(7) == 7
    assert DesignEffect.from_json(nothing.to_json()) == nothing
    assert cluster_design_effect(np.ones(5, np.uint8), 5, ordered=False) == 1
