"""Hints of `mlops init` about time: split columns, later knowledge, order of rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import Usage
from mlops_cli.scaffold.infer_project import PredictionProblem, Proposal, infer

N = 1_000
RNG = np.random.default_rng(3)
PASSED = np.arange(N) / N
DAYS = [dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=3 * i) for i in range(N)]


def noise() -> np.ndarray:
    return RNG.normal(size=N)


def proposed(columns: dict[str, Any], **options: Any) -> Proposal:
    frame = pl.DataFrame({"b": noise(), "y": noise(), **columns}).lazy()
    return infer(frame, PredictionProblem("y", **options))


PARTS = {
    "year": [d.year for d in DAYS],
    "month": [d.month for d in DAYS],
    "day": [d.day for d in DAYS],
    "hour": [d.hour for d in DAYS],
}


def test_a_date_in_several_columns_is_offered_with_its_line() -> None:
    (said,) = proposed(PARTS).warnings
    assert "year, month, day and hour make a date" in said
    assert "`--time date`" in said
    assert "`date: STRPTIME(CAST(CAST(year AS BIGINT) * 10000" in said
    (one,) = proposed({"month": PARTS["month"], "day": PARTS["day"]}).warnings
    assert "(of one year)" in one


def test_rows_are_split_by_a_date_in_several_columns_if_it_is_named() -> None:
    found = proposed(PARTS, time="date")
    assert (found.strategy, list(found.derive), found.warnings) == ("time", ["date"], ())
    assert list(found.features) == ["b", "date_month", "date_weekday", "date_hour"]
    with pytest.raises(Usage) as error:
        proposed(PARTS, time="year")
    assert error.value.hint.endswith("--time date")


def test_what_is_never_before_another_moment_may_be_known_only_then() -> None:
    later = {"closed": [d + dt.timedelta(days=3) for d in DAYS], "ordered": DAYS}
    split, known = proposed(later).warnings
    assert split.startswith("ordered has a moment in every row")
    assert "`--time ordered`" in split
    assert known.startswith("closed is never before ordered")
    assert "`known_at: {closed: closed}`" in known
    assert "`y: closed`" in known
    assert proposed(later, time="ordered").warnings == (known,)
    open_yet = {**later, "closed": [c if i % 3 else None for i, c in enumerate(later["closed"])]}
    assert proposed(open_yet, time="ordered").warnings == (known,)


def test_moments_on_both_sides_of_each_other_say_nothing_of_knowledge() -> None:
    seen = [d + dt.timedelta(days=i % 5 - 2) for i, d in enumerate(DAYS)]
    assert proposed({"ordered": DAYS, "seen": seen}, time="ordered").warnings == ()
    assert proposed({"ordered": DAYS, "same": DAYS}, time="ordered").warnings == ()


@pytest.mark.parametrize(
    ("columns", "by"),
    [
        ({"y": (noise() + 3 * PASSED > 1.5).astype(int)}, "y"),
        ({"y": [("old" if v < 0 else "new") for v in noise() - 1 + 2 * PASSED]}, "y"),
        ({"x": noise() + 2 * PASSED}, "x"),
        ({"x": np.cumsum(noise())}, "x"),
        ({"order_id": np.arange(N) * 3 + 7, "x": noise() + 2 * PASSED}, "x"),
    ],
)
def test_rows_in_the_order_of_an_unnamed_time_are_pointed_out(
    columns: dict[str, Any], by: str
) -> None:
    (said,) = proposed(columns).warnings
    assert said.startswith(f"rows next to each other are alike (by {by})")


@pytest.mark.parametrize(
    "columns",
    [
        {"x": noise()},
        {"rank": np.arange(N) + 1, "size": np.sort(noise())[::-1], "x": noise() - 4 * PASSED},
        {"y": np.repeat(list("abcd"), N // 4), "x": noise() + np.repeat([0, 1, 2, 3], N // 4)},
        {"town": np.repeat(list("dbac"), N // 4), "x": noise() + np.repeat([3, 1, 0, 2], N // 4)},
        {"x": np.arange(N) % 13, "y": (np.arange(N) % 13 > 5).astype(int)},
        {"x": [None] * N, "z": np.where(PASSED > 0.5, np.nan, noise())},
    ],
    ids=["random", "by rank", "by target", "by town", "in rounds", "empty"],
)
def test_rows_in_another_order_are_not(columns: dict[str, Any]) -> None:
    assert not [w for w in proposed(columns).warnings if "alike" in w]
