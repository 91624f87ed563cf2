"""The online store, filled from the validated tables by a version's own feature program."""

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

HISTORY = "7d"
"""How long before the data clock requests may lie, unless said otherwise."""


@dataclass(frozen=True)
class MaterializeResult:
    """What was filled in: entries by table, and for which requests."""

    program: str
    entries: Mapping[str, int]
    clock: str | None
    since: str | None


def is_current(program: FeatureProgram, layout: Layout, store: OnlineStore) -> bool:
    """Whether the store holds what the validated tables would give."""
    facts = store.facts(program_id(program))
    return facts is not None and facts["tables"] == _tables(layout)


def materialize(
    program: FeatureProgram,
    layout: Layout,
    store: OnlineStore,
    history: str | None = HISTORY,
    progress: Progress | None = None,
) -> MaterializeResult:
    """Fill the store with what requests after the data clock need, and some time before it.

    Parameters
    ----------
    history
        Requests as old as that are answered too; None: of any age.

    Raises
    ------
    NotFound
        If the project has no validated tables.
    BadParams
        If they lack a column that the program reads.
    """
    progress = progress or Silent()
    clock, since = _clock(layout), None
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
        "tables": _tables(layout),
    }
    name = program_id(program)
    store.replace(name, facts, entries())
    return MaterializeResult(name, counts, facts["clock"], facts["since"])


def read_validated(program: FeatureProgram, name: str, layout: Layout) -> pl.LazyFrame:
    """A validated table, cleaned as the program says.

    Raises
    ------
    NotFound
        If it isn't there.
    BadParams
        If it lacks a column that the program reads.
    """
    table = parquet.scan(layout.valid / f"{name}.parquet")
    schema = table.collect_schema()
    for column, dtype in program.facts[name].schema.items():
        if schema.get(column) != dtype:
            found = "lacks it" if column not in schema else f"has it as {schema[column]}"
            raise BadParams(
                f"the version reads {name}.{column} as {dtype}, but data/validated {found}",
                "Bring the data of that version (`dvc checkout`), or use a newer version.",
            )
    return program.cleaned(name, table)


def _tables(layout: Layout) -> dict[str, str]:
    """Content hash of each validated table: ingest's, and what validation says of it."""
    from mlops_cli.data.atomic_files import sha256

    return {p.stem: sha256(p) for p in sorted(layout.valid.glob("*.parquet"))}


def _clock(layout: Layout) -> dt.datetime | None:
    try:
        until = read_json(layout.ingest_manifest)["until"]
    except NotFound:
        return None
    return None if until is None else dt.datetime.fromisoformat(until)


def _iso(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
