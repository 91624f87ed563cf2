"""The ingest stage: every source as one Parquet file, cut at the data clock, and a manifest."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import atomic_write, sha256, write_json
from mlops_cli.data.column_types import type_name
from mlops_cli.data.data_clock import Tally, in_utc
from mlops_cli.data.urls import mask_url
from mlops_cli.errors import DataRefused, SourceUnreadable
from mlops_cli.ingestion.source_table import SourceTable
from mlops_cli.ingestion.sources import SourceRequest
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    import datetime as dt

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["run"]


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Write ``data/ingested`` from the sources of ``params.yaml``.

    Raises
    ------
    SourceUnreadable
        If a source doesn't exist, is empty, or can't be read completely.
    BadParams
        If settings of a source don't fit its columns.
    DataRefused
        If nothing of a source was known before the clock.
    """
    sources = params.ingest.sources
    until = None if params.ingest.until is None else in_utc(params.ingest.until)
    layout.work.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = {"until": _format_moment(until), "sources": {}}
    warnings: list[str] = []
    with (
        TemporaryDirectory(prefix="ingest-", dir=layout.work) as scratch,
        atomic_write(layout.ingested) as folder,
    ):
        folder.mkdir()
        for number, (name, source) in enumerate(sources.items()):
            progress.update(f"reading {name}", number, len(sources))
            request = SourceRequest(name, source, layout.root, Path(scratch))
            source_table = SourceTable.open(request, until)
            path = folder / f"{name}.parquet"
            tally = source_table.write(path)
            _check_rows(tally, request, until)
            manifest["sources"][name] = _manifest_entry(source_table, tally, path)
            warnings += _warnings(tally, request)
        write_json(folder / layout.ingest_manifest.name, manifest)
    return _summary(manifest, warnings)


def _check_rows(tally: Tally, request: SourceRequest, until: dt.datetime | None) -> None:
    name, time = request.name, request.source.time
    if tally.input_rows == 0:
        raise SourceUnreadable(
            f"source {name!r} ({mask_url(request.source.uri)}) is empty: it has no rows",
            f"Correct `{request.setting}.uri`.",
        )
    if tally.rows:
        return
    if tally.undated == tally.input_rows or tally.input_span is None:
        raise DataRefused(
            f"none of the {tally.input_rows} rows of source {name!r} says when it was known",
            f"Correct `{request.setting}.time` (now {time!r}) or `known_at`.",
        )
    first, last = (_format_moment(moment) for moment in tally.input_span)
    raise DataRefused(
        f"none of the {tally.input_rows} rows of source {name!r} was known before the data clock: "
        f"they lie between {first} and {last}, and ingest.until is {_format_moment(until)}",
        "Set `ingest.until` to a later moment.",
    )


def _manifest_entry(source_table: SourceTable, tally: Tally, path: Path) -> dict[str, Any]:
    first, last = tally.span or (None, None)
    columns = {c: type_name(t) for c, t in source_table.columns.items()}
    return {
        "uri": mask_url(source_table.request.source.uri),
        "rows": tally.rows,
        "columns": columns,
        "time_column": source_table.request.source.time,
        "time_min": _format_moment(first),
        "time_max": _format_moment(last),
        "dropped_after_until": tally.dropped,
        "undated": tally.undated,
        "pending": {c: tally.pending[c] for c in source_table.clock.known_at_columns},
        "unknown": {c: n for c in source_table.clock.known_at_columns if (n := tally.unknown[c])},
        "sha256": sha256(path),
    }


def _warnings(tally: Tally, request: SourceRequest) -> list[str]:
    warnings = []
    if tally.undated:
        warnings.append(
            f"{request.name}: {tally.undated} rows without a time were left out "
            f"({request.source.time} is missing)"
        )
    warnings += [
        f"{request.name}.{column}: {n} values were left out: the time they became known is missing"
        for column, n in sorted(tally.unknown.items())
        if n
    ]
    warnings += [
        f"{request.name}.{column}: {n} infinite values were taken as missing"
        for column, n in sorted(tally.infinite.items())
    ]
    return warnings


def _summary(manifest: dict[str, Any], warnings: list[str]) -> Summary:
    entries = manifest["sources"]
    rows = sum(entry["rows"] for entry in entries.values())
    clock = f", up to {manifest['until']}" if manifest["until"] else ""
    table = Table(
        "sources",
        ("source", "rows", "columns", "first", "last", "after the clock", "values pending"),
        tuple(
            (
                name,
                entry["rows"],
                len(entry["columns"]),
                entry["time_min"],
                entry["time_max"],
                entry["dropped_after_until"],
                max(entry["pending"].values(), default=0),
            )
            for name, entry in entries.items()
        ),
    )
    headline = f"{rows:,} rows from {len(entries)} source{'s'[: len(entries) != 1]}{clock}"
    return Summary(headline, (table,), tuple(warnings), manifest)


def _format_moment(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
