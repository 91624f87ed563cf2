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

    from mlops_cli.core.program import FeatureProgram
    from mlops_cli.store.bundle import Bundle

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
    import polars as pl

    from mlops_cli.core.online import online_tables, starts
    from mlops_cli.core.request_program import RequestProgram
    from mlops_cli.core.windows import AT
    from mlops_cli.store import tables
    from mlops_cli.store.online import open_store, program_id
    from mlops_cli.store.online.cache import CachedEntries

    requests = RequestProgram(program)
    base = layout.valid / f"{program.rules.base}.parquet"
    if not requests.tables or not base.is_file():
        return {}
    try:
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online)
        decoders = {t.name: t.decode for t in online_tables(program)}
        lookups = CachedEntries(store, program_id(program), decoders)
    except NotFound:
        return {}
    wanted = test.select(ROW).head(_CALLS).lazy()
    raw = tables.scan(base).with_row_index(ROW).join(wanted, on=ROW, how="semi").collect()
    rows = requests.start(requests.inputs.read_frame(raw).frame)
    moments: list[int | None] = [None] * rows.height
    if AT in rows.columns:
        moments = rows.get_column(AT).cast(pl.Int64).to_list()
    found: dict[str, float] = {}
    for table in requests.tables:
        if not set(table.keys) <= set(rows.columns):
            continue
        begins = [None] * rows.height
        if AT in rows.columns and table.span is not None:
            begins = list(starts(table.span, rows.get_column(AT), moments))  # type: ignore[arg-type]
        taken = []
        for key, moment, begin in zip(
            rows.select(table.keys).iter_rows(), moments, begins, strict=True
        ):
            start = time.perf_counter()
            table.answers(lookups.entries(table.name, [key]), [moment], [begin])
            taken.append(time.perf_counter() - start)
        if taken:
            name = table.plan.name
            found[name] = found.get(name, 0.0) + statistics.median(taken) * 1000
    return found
