"""Latency measurements: scoring one row, and looking it up in the online store.

Measured times differ between runs, so they are never in a file that is kept.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

from mlops_cli.errors import NotFound
from mlops_cli.layout import ROW, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.models.bundle import Bundle

__all__ = ["measure_lookups", "measure_scoring"]

_CALLS = 200


def measure_scoring(bundles: Mapping[str, Bundle], row: pl.DataFrame) -> dict[str, float]:
    """Measure the median milliseconds to encode and score one row.

    Models take turns, so that other load on the machine slows all of them equally.
    """
    seconds: dict[str, list[float]] = {name: [] for name in bundles}
    for _ in range(_CALLS):
        for name, bundle in bundles.items():
            start = time.perf_counter()
            bundle.predict(row)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) * 1000 for name, times in seconds.items()}


def measure_lookups(
    program: FeatureProgram, layout: Layout, test: pl.DataFrame
) -> dict[str, float]:
    """Measure the median milliseconds to look a row up, by join or window.

    Lookups in the online store go through the service's cache, which is empty at first: a repeated
    key is read from it. The result is empty if the store has nothing for this program. Tables
    whose key comes from another join are left out.
    """
    from mlops_cli.data import parquet
    from mlops_cli.features.windows import PREDICTION_TIME
    from mlops_cli.online.query_times import QueryTimes
    from mlops_cli.online.request_program import RequestProgram
    from mlops_cli.online.store import open_store, program_id
    from mlops_cli.online.store.cache import CachedEntries

    requests = RequestProgram(program)
    base = layout.validated / f"{program.rules.base}.parquet"
    if not requests.tables or not base.is_file():
        return {}
    try:
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online)
        cache = CachedEntries(store, program_id(program), requests.tables).current_cache()
    except NotFound:
        return {}
    row_numbers = test.select(ROW).head(_CALLS).lazy()
    raw = parquet.scan(base).with_row_index(ROW).join(row_numbers, on=ROW, how="semi").collect()
    rows = requests.prepare(requests.inputs.parse_frame(raw).frame)
    times = rows.get_column(PREDICTION_TIME) if PREDICTION_TIME in rows.columns else None
    milliseconds: dict[str, float] = {}
    for table in requests.tables:
        if not set(table.keys) <= set(rows.columns):
            continue
        seconds = []
        for i, key in enumerate(rows.select(table.keys).iter_rows()):
            query_times = QueryTimes(1, None if times is None else times[i : i + 1])
            start = time.perf_counter()
            cache.look_up_table(table, [[value] for value in key], query_times)
            seconds.append(time.perf_counter() - start)
        if seconds:
            name = table.plan.name
            milliseconds[name] = milliseconds.get(name, 0.0) + statistics.median(seconds) * 1000
    return milliseconds
