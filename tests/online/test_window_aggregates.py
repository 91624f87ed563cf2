"""Window aggregates of one row and of many rows are equal bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from mlops_cli.features.aggregates import EXTREMES, Aggregate
from mlops_cli.online import window_aggregates
from mlops_cli.online.growable_array import GrowableArray
from mlops_cli.online.window_aggregates import aggregate_row, aggregate_rows


@pytest.mark.parametrize("gathered", [1, 1_000_000])
@pytest.mark.parametrize("function", ["count", "sum", "mean", "std", "min", "max"])
def test_many_rows_get_what_each_gets_alone(function: str, gathered: int, monkeypatch) -> None:
    monkeypatch.setattr(window_aggregates, "_GATHERED", gathered)
    rng = np.random.default_rng(5)
    values = [None if rng.random() < 0.2 else float(v) for v in rng.normal(0, 1e6, 400)]
    aggregate = Aggregate.parse("a", f"{function}(x)", "here")
    columns = [
        GrowableArray("d" if function in EXTREMES else "q") for _ in range(aggregate.column_count)
    ]
    for column, numbers in zip(columns, aggregate.prefix_sums(values), strict=True):
        column.extend(numbers)
    first = rng.integers(0, 400, 300)
    end = np.minimum(first + rng.integers(0, 9, 300), 400)
    alone = aggregate_row(aggregate, 0)
    values_of = [column.values for column in columns]
    stretches = zip(first.tolist(), end.tolist(), strict=True)
    wanted = [alone(values_of, *stretch) for stretch in stretches]
    with np.errstate(all="ignore"):
        found = aggregate_rows(aggregate, 0)(columns, first, end)
    assert any(v is None for v in wanted) == (function not in {"count", "sum"})
    assert [None if v != v else v for v in found.tolist()] == wanted  # noqa: PLR0124
