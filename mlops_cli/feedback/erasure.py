"""`mlops events`: statistics of the event log, and erasure of events by age or entity."""

from __future__ import annotations

import itertools
import json
import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.data.urls import mask_url
from mlops_cli.errors import NotFound, Usage
from mlops_cli.events import open_reader, sqlite_file
from mlops_cli.events.erasure import Selection, open_eraser
from mlops_cli.events.project_log import log_url
from mlops_cli.events.spill_erasure import erase_lines

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.online.store import OnlineStore
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["ErasureResult", "LoggedData", "entity_texts", "erase", "logged_data"]

_MAX_FORMS = 256
"""Limit of the texts for one entity that are searched in the log."""


@dataclass
class ErasureResult:
    """Counts of what was erased, or would be in a dry run.

    Attributes
    ----------
    spilled, damaged
        Lines of the spill, and lines that were set aside as damaged.
    entries
        Entries of the online store.
    left
        Messages about what couldn't be erased.
    """

    predictions: int = 0
    labels: int = 0
    spilled: int = 0
    damaged: int = 0
    entries: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LoggedData:
    """Statistics of the event log.

    Attributes
    ----------
    place
        Path or URL of the log's database.
    oldest, newest
        Times of predictions, in seconds since 1970.
    size
        Bytes of the log's files; None for PostgreSQL.
    spilled
        Bytes of events in the spill.
    damaged
        Lines that were set aside as damaged.
    keep
        Retention time (``serve.events.keep``).
    """

    place: str
    predictions: int
    labels: int
    oldest: float | None
    newest: float | None
    size: int | None
    spilled: int
    damaged: int
    keep: str | None


def logged_data(params: Params, layout: Layout) -> LoggedData:
    """Read the statistics of the event log.

    Raises
    ------
    NotFound
        If there is no event log yet.
    SourceUnreadable
        If the log's database can't be reached.
    """
    from mlops_cli.events.spill import Spill

    url = log_url()
    reader = open_reader(url, layout)
    try:
        counts, oldest, newest = reader.count(), reader.oldest_time(), reader.newest_time()
    finally:
        reader.close()
    path = sqlite_file(url, layout)
    spill = Spill(layout.work / "spill", 0)
    size = None
    if path is not None:
        files = (path, *(path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm")))
        size = sum(file.stat().st_size for file in files if file.is_file())
    return LoggedData(
        str(path) if path is not None else mask_url(str(url)),
        counts.predictions,
        counts.labels,
        oldest,
        newest,
        size,
        spill.size,
        spill.damaged,
        params.serve.events.keep,
    )


def erase(
    layout: Layout, selection: Selection, progress: Progress, *, dry_run: bool = False
) -> ErasureResult:
    """Erase events from log, spill and damaged lines; for entities also the online store's entries.

    Raises
    ------
    SourceUnreadable
        If the log's database can't be reached or written to.
    """
    result, folder = ErasureResult(), layout.work / "spill"
    lines = erase_lines(folder, selection, dry_run=dry_run)
    ids = {*lines.ids, *_erase_log(layout, selection, result, progress, dry_run=dry_run)}
    result.spilled, result.damaged = lines.spilled, lines.damaged
    if ids and not dry_run:
        more = erase_lines(folder, selection, ids)
        result.spilled, result.damaged = (
            result.spilled + more.spilled,
            result.damaged + more.damaged,
        )
    if lines.locked_files:
        result.left.append(
            f"{lines.locked_files} files in {folder} are held by a service, which brings them into "
            "the database: purge again when the database is back"
        )
    if selection.entities:
        _erase_entries(layout, selection.entities, result, dry_run=dry_run)
    return result


def entity_texts(params: Params, entity_json: str) -> tuple[str, ...]:
    """Return the texts that an entity may have in the log, from the JSON on the command line.

    A number may be logged as 17, 17.0 or "17", depending on the type of its column.

    Parameters
    ----------
    entity_json
        JSON: a list of the values of ``serve.entity`` without the time; an object with these
        columns; or the value itself, if there is one column.

    Raises
    ------
    Usage
        If ``entity_json`` is none of these.
    """
    import orjson

    try:
        content = json.loads(entity_json)
    except (ValueError, RecursionError):
        raise _not_an_entity("--entity is not JSON") from None
    columns = _entity_columns(params)
    if isinstance(content, dict):
        if not columns or set(content) != set(columns):
            named = ", ".join(columns) or "none (serve.entity)"
            raise _not_an_entity(
                f"--entity names other columns than the entity's, which are {named}"
            )
        content = [content[column] for column in columns]
    values = content if isinstance(content, list) else [content]
    if columns and len(values) != len(columns):
        raise _not_an_entity(
            f"--entity has {len(values)} values, and an entity has {len(columns)} "
            f"({', '.join(columns)})"
        )
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise _not_an_entity("--entity has a number that is not finite")
    if not values or any(isinstance(value, (dict, list)) for value in values):
        raise _not_an_entity("--entity is not a list of plain values")
    forms = itertools.islice(itertools.product(*map(_value_forms, values)), _MAX_FORMS)
    try:
        return tuple(dict.fromkeys(orjson.dumps(list(form)).decode() for form in forms))
    except TypeError:
        raise _not_an_entity("--entity has a value that no log can hold") from None


def _not_an_entity(message: str) -> Usage:
    return Usage(message, """Write the values as a JSON list or object, such as '["A-17"]'.""")


def _entity_columns(params: Params) -> tuple[str, ...]:
    """Return the columns of the entity, without the time."""
    base = params.featurize.base
    rules = params.validate_.sources.get(base)
    unique = rules.unique.value if rules is not None and rules.unique is not None else ()
    time = params.ingest.sources[base].time
    return tuple(column for column in params.serve.entity or unique if column != time)


def _value_forms(value: Any) -> list[Any]:
    """Return the forms in which a value may be logged: itself, integer, float and texts."""
    forms = [value]
    if isinstance(value, bool) or value is None:
        return forms
    number = value
    if isinstance(value, str):
        try:
            number = json.loads(value)
        except (ValueError, RecursionError):
            return forms
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return forms
    if not math.isfinite(number):
        return forms
    integers = [int(number)] if number == int(number) else []
    floats = [float(number)] if abs(number) < 2**63 else []
    texts = [str(form) for form in (*integers, *floats)]
    return [*forms, *integers, *floats, *texts]


def _erase_log(
    layout: Layout,
    selection: Selection,
    result: ErasureResult,
    progress: Progress,
    *,
    dry_run: bool,
) -> list[str]:
    """Erase events from the log, and add them to the counts; return the ids of predictions."""
    ids: list[str] = []
    try:
        eraser = open_eraser(log_url(), layout)
    except NotFound:
        return ids
    try:
        if dry_run:
            counts = eraser.count(selection)
            result.predictions, result.labels = counts.predictions, counts.labels
            return ids
        for batch in eraser.erase_batches(selection):
            result.predictions += batch.predictions
            result.labels += batch.labels
            ids += batch.ids
            progress.update("events erased", result.predictions + result.labels)
        progress.update("cleaning the files")
        if (message := eraser.clean_files()) is not None:
            result.left.append(message)
    finally:
        eraser.close()
    return ids


def _erase_entries(
    layout: Layout, entities: tuple[str, ...], result: ErasureResult, *, dry_run: bool
) -> None:
    from mlops_cli.online.store import open_store

    try:
        store: OnlineStore = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online)
    except NotFound:
        return
    try:
        result.entries = store.count(entities) if dry_run else store.erase(entities)
    finally:
        store.close()
