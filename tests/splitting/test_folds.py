"""Folds: each row is scored once; classes and groups are balanced."""

import numpy as np

from mlops_cli.splitting.folds import cross_validation, fold_positions, hold_out, strata

CLASSES = np.repeat([0, 1, 2], [70, 20, 10])
UNITS = np.arange(100)


def test_each_row_decides_once_and_is_not_taught_by_itself():
    folds = cross_validation(UNITS, CLASSES, 5, 1, grouped=False)
    assert sorted(np.concatenate([f.score_rows for f in folds]).tolist()) == UNITS.tolist()
    for fold in folds:
        assert not set(fold.fit_rows) & set(fold.score_rows)
        assert len(fold.fit_rows) + len(fold.score_rows) == 100


def test_classes_have_their_shares_in_each_fold():
    for fold in cross_validation(UNITS, CLASSES, 5, 1, grouped=False):
        assert np.bincount(CLASSES[fold.score_rows]).tolist() == [14, 4, 2]


def test_units_stay_whole_and_groups_fill_folds_alike():
    groups = np.repeat(np.arange(12), [30, 20, 10, 10, 5, 5, 5, 5, 4, 3, 2, 1])
    folds = cross_validation(groups, None, 3, 1, grouped=True)
    for fold in folds:
        assert not set(groups[fold.fit_rows]) & set(groups[fold.score_rows])
    assert {len(f.score_rows) for f in folds} <= {33, 34}
    assert len(cross_validation(np.zeros(9, int) + (UNITS[:9] > 4), None, 5, 1, grouped=True)) == 2


def test_the_same_seed_deals_alike_and_another_one_otherwise():
    first, again, other = (
        cross_validation(UNITS, CLASSES, 5, seed, grouped=False)[0].score_rows.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_values_are_spread_by_their_quantiles():
    y = np.random.default_rng(0).normal(size=100)
    assert np.bincount(strata(y, 0)).tolist() == [10] * 10


def test_a_hold_out_is_one_fold():
    folds = hold_out(7, 3)
    assert (folds[0].fit_rows, folds[0].score_rows) == (slice(0, 7), slice(7, 10))
    assert fold_positions(folds) == (slice(None),)
