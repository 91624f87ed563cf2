"""`mlops events`: what the project has logged, and erasing it by age or by entity."""

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
from mlops_cli.events.open_log import log_url
from mlops_cli.events.spill_erasure import erase_lines

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.online.store import OnlineStore
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["ErasureResult", "LoggedData", "entity_texts", "erase", "logged_data"]

_MOST = 256
"""Forms of one entity that are looked for."""


@dataclass
class ErasureResult:
    """How much of each kind was erased, or would be.

    Attributes
    ----------
    entries
        Of the online store.
    left
        What couldn't be erased, as sentences.
    """

    predictions: int = 0
    labels: int = 0
    spilled: int = 0
    damaged: int = 0
    entries: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LoggedData:
    """What is logged, and where.

    Attributes
    ----------
    oldest, newest
        Of predictions, in seconds since 1970.
    size
        Bytes of the log's files; None where it is in PostgreSQL.
    spilled
        Bytes that wait in the spill; ``damaged``: lines that were set aside.
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
    """What is logged.

    Raises
    ------
    NotFound
        If nothing has been served yet.
    SourceUnreadable
        If the log's database can't be reached.
    """
    from mlops_cli.events.spill import Spill

    url = log_url()
    reader = open_reader(url, layout)
    try:
        counts, oldest, newest = reader.count(), reader.oldest(), reader.newest()
    finally:
        reader.close()
    path = sqlite_file(url, layout)
    spill = Spill(layout.work / "spill", 0)
    size = None
    if path is not None:
        files = (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")))
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
    """Erase events from log, spill and what was set aside; of an entity, also online entries.

    Raises
    ------
    SourceUnreadable
        If the log's database can't be reached, or not be written to.
    """
    done, folder = ErasureResult(), layout.work / "spill"
    lines = erase_lines(folder, selection, dry_run=dry_run)
    ids = {*lines.ids, *_erase_log(layout, selection, done, progress, dry_run=dry_run)}
    done.spilled, done.damaged = lines.spilled, lines.damaged
    if ids and not dry_run:
        again = erase_lines(folder, selection, ids)
        done.spilled, done.damaged = done.spilled + again.spilled, done.damaged + again.damaged
    if lines.held:
        done.left.append(
            f"{lines.held} files in {folder} are held by a service, which brings them into the "
            "database: purge again when the database is back"
        )
    if selection.entities:
        _erase_entries(layout, selection.entities, done, dry_run=dry_run)
    return done


def entity_texts(params: Params, given: str) -> tuple[str, ...]:
    """The texts by which the log may have an entity, of JSON as people write it.

    A number may be logged as 17, 17.0 or "17", by the type that its column had.

    Parameters
    ----------
    given
        A list of the values of ``serve.entity`` without the time; an object that names them; or
        the value itself, where there is one column.

    Raises
    ------
    Usage
        If it is none of these.
    """
    import orjson

    try:
        content = json.loads(given)
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
    forms = itertools.islice(itertools.product(*map(_forms, values)), _MOST)
    try:
        return tuple(dict.fromkeys(orjson.dumps(list(form)).decode() for form in forms))
    except TypeError:
        raise _not_an_entity("--entity has a value that no log can hold") from None


def _not_an_entity(message: str) -> Usage:
    return Usage(message, """Write the values as a JSON list or object, such as '["A-17"]'.""")


def _entity_columns(params: Params) -> tuple[str, ...]:
    base = params.featurize.base
    rules = params.validate_.sources.get(base)
    unique = rules.unique.value if rules is not None and rules.unique is not None else ()
    time = params.ingest.sources[base].time
    return tuple(column for column in params.serve.entity or unique if column != time)


def _forms(value: Any) -> list[Any]:
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
    whole = [int(number)] if number == int(number) else []
    with_float = [float(number)] if abs(number) < 2**63 else []
    texts = [str(form) for form in (*whole, *with_float)]
    return [*forms, *whole, *with_float, *texts]


def _erase_log(
    layout: Layout, selection: Selection, done: ErasureResult, progress: Progress, *, dry_run: bool
) -> list[str]:
    ids: list[str] = []
    try:
        eraser = open_eraser(log_url(), layout)
    except NotFound:
        return ids
    try:
        if dry_run:
            found = eraser.count(selection)
            done.predictions, done.labels = found.predictions, found.labels
            return ids
        for batch in eraser.batches(selection):
            done.predictions += batch.predictions
            done.labels += batch.labels
            ids += batch.ids
            progress.update("events erased", done.predictions + done.labels)
        progress.update("cleaning the files")
        if (left := eraser.clean()) is not None:
            done.left.append(left)
    finally:
        eraser.close()
    return ids


def _erase_entries(
    layout: Layout, entities: tuple[str, ...], done: ErasureResult, *, dry_run: bool
) -> None:
    from mlops_cli.online.store import open_store

    try:
        store: OnlineStore = open_store(os.environ.get("MLOPS_ONLINE_URL") or None, layout.online)
    except NotFound:
        return
    try:
        done.entries = store.count(entities) if dry_run else store.erase(entities)
    finally:
        store.close()
