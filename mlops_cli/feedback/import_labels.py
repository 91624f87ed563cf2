"""Imports labels of logged predictions, from files or from the base source."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams, DataRefused, NotInstalled, install_hint
from mlops_cli.events import Label, RefusedEvents, open_events
from mlops_cli.events.project_log import log_url, reader_for
from mlops_cli.feedback.ground_truth import ingest_to_scratch, labels_known_at
from mlops_cli.feedback.label_reader import ImportResult, LabelReader
from mlops_cli.registry.select_version import select_model

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress
    from mlops_cli.serving.service.labels import LabelParser

__all__ = ["import_files", "import_from_source"]

_WRITE_BATCH = 5_000
"""Labels that are written in one transaction."""


def import_files(
    params: Params,
    layout: Layout,
    pattern: str,
    *,
    version: str,
    label: str,
    strict: bool,
    progress: Progress,
) -> ImportResult:
    """Import labels from files: by the column ``id``, or by the entity's columns and the time.

    Parameters
    ----------
    pattern
        Path or glob of the files.
    label
        The column with the label.
    strict
        Import nothing if a row is no valid label.

    Raises
    ------
    NotFound
        If the file or the version doesn't exist.
    DataRefused
        If the columns don't identify predictions, or with ``strict`` a row is bad.
    SourceUnreadable
        If a file can't be read, or the log's database can't be written to.
    """
    from mlops_cli.serving.row_files import (
        RowFiles,
        TextOptions,
        columns_of,
        find_files,
        open_row_file,
    )

    parser, name = _label_parser(params, layout, version)
    text = TextOptions.from_source(params.ingest.sources[params.featurize.base])
    files = [open_row_file(path, text) for path in find_files(pattern)]
    reader = LabelReader.from_columns(parser, list(columns_of(files)), label, ImportResult(name))
    rows = RowFiles(files, reader.columns)
    latest = reader.read_all(rows, progress)
    rows.close()
    if strict and reader.result.bad:
        worst = reader.result.examples[0]
        raise DataRefused(
            f"{reader.result.bad} rows are no labels, the first in {worst['file']}, row "
            f"{worst['row']}: {worst['message']}",
            "Correct them, or leave out --fail-on-bad to import the others.",
        )
    _write(latest, layout, reader.result, progress)
    return reader.result


def import_from_source(
    params: Params,
    layout: Layout,
    *,
    version: str,
    until: dt.datetime | None,
    progress: Progress,
) -> ImportResult:
    """Import the labels of logged predictions from the base source, with the version's target rule.

    Parameters
    ----------
    until
        Use only data known before this time less ``feedback.delay``; None: all data.

    Raises
    ------
    NotFound
        If the version or the event log doesn't exist.
    BadParams
        If the source's rows can't be matched with predictions: there is no entity or no time.
    SourceUnreadable
        If the source can't be read, or the log's database can't be written to.
    """
    parser, name = _label_parser(params, layout, version)
    program = parser.served.scorer.program
    if not parser.entity_columns or program.base.time is None:
        raise BadParams(
            "labels can't be matched with predictions: there is no entity (serve.entity), or the "
            "base source has no time",
            "State serve.entity and the base source's `time`, or import a file with ids.",
        )
    predictions = _logged_predictions(layout)
    result = ImportResult(name)
    if not predictions:
        return result
    progress.update(f"reading {program.rules.base}")
    clock = None if until is None else subtract(until, params.feedback.delay)
    layout.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="truth-", dir=layout.work) as scratch:
        base = ingest_to_scratch(params, layout, [program.rules.base], Path(scratch), clock)
        columns = (*parser.entity_columns, program.base.time)
        truth = labels_known_at(program, base[program.rules.base], columns)
    now = time.time()
    labels = list(_labels_by_rule(parser, truth, predictions, now))
    values_by_id = _label_values_by_id(layout, labels)
    new = [
        label for label in labels if values_by_id.get((label.entity, label.moment)) != {label.value}
    ]
    result.counts["same"] += len(labels) - len(new)
    _write(new, layout, result, progress)
    return result


def _label_parser(params: Params, layout: Layout, version: str) -> tuple[LabelParser, str]:
    """Load a version; return the parser of its labels and the version's name."""
    try:
        from mlops_cli.serving.service.labels import LabelParser
        from mlops_cli.serving.service.loaded_model import LoadedModel
        from mlops_cli.serving.service.settings import Model
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"feedback needs {error.name}, which isn't installed",
            install_hint("serve"),
        ) from None
    selected = select_model(params, layout, version)
    model = Model(selected.name, selected.number, selected.folder)
    loaded = LoadedModel.open(model, layout.root, None, params.serve)
    return LabelParser(loaded), selected.label


def _logged_predictions(layout: Layout) -> set[tuple[str, float]]:
    """Return entity and time of every logged prediction that has both."""
    import polars as pl

    reader = reader_for(layout, "no prediction to label")
    predictions: set[tuple[str, float]] = set()
    try:
        for page in reader.predictions(columns=("entity", "moment")):
            rows = page.drop_nulls().with_columns(_seconds(pl.col("moment")))
            predictions.update(rows.select("entity", "moment").iter_rows())
    finally:
        reader.close()
    return predictions


def _label_values_by_id(
    layout: Layout, labels: Sequence[Label]
) -> dict[tuple[str | None, float | None], set[str | None]]:
    """Return the label values, imported by id, of predictions with the same entity and time.

    The values include None if one of these predictions has no label. Labels whose own key is in the
    log are left out, because only the log can decide which of the two counts.
    """
    import polars as pl

    reader = reader_for(layout, "no prediction to label")
    values_by_entity: dict[tuple[str | None, float | None], set[str | None]] = {}
    try:
        stored_keys = set(reader.last_labels([label.key for label in labels])["key"])
        searched = {
            (label.entity, label.moment) for label in labels if label.key not in stored_keys
        }
        for page in reader.predictions(columns=("id", "role", "entity", "moment")):
            rows = page.filter(pl.col("role") != "shadow").with_columns(_seconds(pl.col("moment")))
            entities = rows.select("entity", "moment").rows()
            entity_by_id = {
                i: entity
                for i, entity in zip(rows["id"], entities, strict=True)
                if entity in searched
            }
            value_by_id = dict(
                reader.last_labels(list(entity_by_id)).select("key", "value").iter_rows()
            )
            for i, entity in entity_by_id.items():
                values_by_entity.setdefault(entity, set()).add(value_by_id.get(i))
    finally:
        reader.close()
    return values_by_entity


def _seconds(moment: pl.Expr) -> pl.Expr:
    # The service stores microseconds times this factor, so the results are equal.
    return moment.dt.epoch("us") * 1e-6


def _labels_by_rule(
    parser: LabelParser,
    truth: pl.DataFrame,
    predictions: set[tuple[str, float]],
    received_at: float,
) -> Iterator[Label]:
    import orjson
    import polars as pl

    from mlops_cli.data.source_schema import utc_moment
    from mlops_cli.layout import TARGET

    time_column = parser.served.scorer.program.base.time
    assert time_column is not None  # noqa: S101 - the caller looked
    types = parser.served.scorer.inputs.columns
    rows = truth.with_columns(pl.col(c).cast(types[c]) for c in parser.entity_columns if c in types)
    moments = rows.select(
        _seconds(utc_moment(pl.col(time_column), rows.schema[time_column]))
    ).to_series()
    values = {v: parser.encode_label(v) for v in rows[TARGET].unique().to_list()}
    entities = zip(*(rows[c].to_list() for c in parser.entity_columns), strict=True)
    for entity, moment, value in zip(
        entities, moments.to_list(), rows[TARGET].to_list(), strict=True
    ):
        entity_text = orjson.dumps(list(entity)).decode()
        if (entity_text, moment) in predictions:
            yield parser.entity_label(entity_text, moment, values[value], received_at)


def _write(labels: list[Label], layout: Layout, result: ImportResult, progress: Progress) -> None:
    events = open_events(log_url(), layout)
    try:
        for start in range(0, len(labels), _WRITE_BATCH):
            try:
                result.counts.update(events.write((), labels[start : start + _WRITE_BATCH]))
            except RefusedEvents:
                raise DataRefused(
                    "the event log's database refuses a label of these: its value can't be kept",
                    "Look for control characters in ids and labels.",
                ) from None
            progress.update("labels kept", start + _WRITE_BATCH, len(labels))
    finally:
        events.close()
