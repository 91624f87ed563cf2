"""What models and look-ups take for one row: measured, so never in a file that is kept."""

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

__all__ = ["of_lookups", "of_models"]

_CALLS = 200


def of_models(bundles: Mapping[str, Bundle], row: pl.DataFrame) -> dict[str, float]:
    """Median milliseconds to encode and score one row.

    They take turns, so that whatever else the machine does slows all of them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in bundles}
    for _ in range(_CALLS):
        for name, bundle in bundles.items():
            start = time.perf_counter()
            bundle.predict(row)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) * 1000 for name, times in taken.items()}


def of_lookups(program: FeatureProgram, layout: Layout, test: pl.DataFrame) -> dict[str, float]:
    """Join or window -> median milliseconds to look a row up in the online store.

    It goes through the service's cache, which begins empty: a key that comes again is answered
    from there. Empty where the store holds nothing for this program. Tables whose key another
    join brings are left out.
    """
    from mlops_cli.data import parquet
    from mlops_cli.features.windows import AT
    from mlops_cli.online.query_times import QueryTimes
    from mlops_cli.online.request_program import RequestProgram
    from mlops_cli.online.store import open_store, program_id
    from mlops_cli.online.store.cache import CachedEntries

    requests = RequestProgram(program)
    base = layout.valid / f"{program.rules.base}.parquet"
    if not requests.tables or not base.is_file():
        return {}
    try:
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online)
        remembered = CachedEntries(store, program_id(program), requests.tables).refreshed()
    except NotFound:
        return {}
    wanted = test.select(ROW).head(_CALLS).lazy()
    raw = parquet.scan(base).with_row_index(ROW).join(wanted, on=ROW, how="semi").collect()
    rows = requests.start(requests.inputs.read_frame(raw).frame)
    at = rows.get_column(AT) if AT in rows.columns else None
    found: dict[str, float] = {}
    for table in requests.tables:
        if not set(table.keys) <= set(rows.columns):
            continue
        taken = []
        for i, key in enumerate(rows.select(table.keys).iter_rows()):
            asked = QueryTimes(1, None if at is None else at[i : i + 1])
            start = time.perf_counter()
            remembered.of_table(table, [[value] for value in key], asked)
            taken.append(time.perf_counter() - start)
        if taken:
            name = table.plan.name
            found[name] = found.get(name, 0.0) + statistics.median(taken) * 1000
    return found
