"""Fills the online store from the validated tables, for the feature program of a version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json
from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams, NotFound
from mlops_cli.features.program import FeatureProgram
from mlops_cli.online.online_entries import online_tables
from mlops_cli.online.store import program_id
from mlops_cli.reporting import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.online.store import OnlineStore

__all__ = ["MaterializeResult", "is_current", "materialize", "read_validated"]

DEFAULT_HISTORY = "7d"
"""Default age, before the data clock, of the oldest requests that the store covers."""


@dataclass(frozen=True)
class MaterializeResult:
    """Number of entries by table, and the times of the requests that they cover."""

    program: str
    entries: Mapping[str, int]
    clock: str | None
    since: str | None


def is_current(program: FeatureProgram, layout: Layout, store: OnlineStore) -> bool:
    """Whether the store's entries are from the present validated tables."""
    facts = store.metadata(program_id(program))
    return facts is not None and facts["tables"] == _table_hashes(layout)


def materialize(
    program: FeatureProgram,
    layout: Layout,
    store: OnlineStore,
    history: str | None = DEFAULT_HISTORY,
    progress: Progress | None = None,
) -> MaterializeResult:
    """Fill the store with the entries that requests need.

    Parameters
    ----------
    history
        Cover requests up to this long before the data clock; None: requests of any time.

    Raises
    ------
    NotFound
        If the project has no validated tables.
    BadParams
        If the tables lack a column that the program reads.
    """
    progress = progress or Silent()
    clock, since = _data_clock(layout), None
    if clock is not None and history is not None:
        since = subtract(clock, history)
    sources = {name: read_validated(program, name, layout) for name in program.used_sources}
    counts: dict[str, int] = {}

    def entries() -> Iterator[tuple[str, str, str]]:
        plans = online_tables(program)
        for number, table in enumerate(plans):
            progress.update(f"entries of {table.name}", number, len(plans))
            counts[table.name] = 0
            for key, entry in table.entries(sources[table.source], since):
                counts[table.name] += 1
                yield table.name, key, entry

    facts: dict[str, Any] = {
        "clock": _iso(clock),
        "since": _iso(since),
        "tables": _table_hashes(layout),
    }
    name = program_id(program)
    store.replace(name, facts, entries())
    return MaterializeResult(name, counts, facts["clock"], facts["since"])


def read_validated(program: FeatureProgram, name: str, layout: Layout) -> pl.LazyFrame:
    """Read a validated table, cleaned by the rules of the program.

    Raises
    ------
    NotFound
        If the table doesn't exist.
    BadParams
        If the table lacks a column that the program reads.
    """
    table = parquet.scan(layout.validated / f"{name}.parquet")
    schema = table.collect_schema()
    for column, dtype in program.source_schemas[name].schema.items():
        if schema.get(column) != dtype:
            problem = "lacks it" if column not in schema else f"has it as {schema[column]}"
            raise BadParams(
                f"the version reads {name}.{column} as {dtype}, but data/validated {problem}",
                "Bring the data of that version (`dvc checkout`), or use a newer version.",
            )
    return program.clean(name, table)


def _table_hashes(layout: Layout) -> dict[str, str]:
    """Content hash of each validated table."""
    from mlops_cli.data.atomic_files import sha256

    return {p.stem: sha256(p) for p in sorted(layout.validated.glob("*.parquet"))}


def _data_clock(layout: Layout) -> dt.datetime | None:
    """Read the data clock from the manifest of ingest; None if there is none."""
    try:
        until = read_json(layout.ingest_manifest)["until"]
    except NotFound:
        return None
    return None if until is None else dt.datetime.fromisoformat(until)


def _iso(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
