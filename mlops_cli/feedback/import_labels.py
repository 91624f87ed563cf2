"""Labels that come late, from a file or from the source that later holds the truth."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams, DataRefused, NotInstalled, install_hint, nearest
from mlops_cli.events import Label, RefusedEvents, open_events
from mlops_cli.events.open_log import log_url, reader_for
from mlops_cli.feedback.ground_truth import ingest_to_scratch, labels_known_at
from mlops_cli.registry.select_version import select_model

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress
    from mlops_cli.serving.service.labels import LabelParser

__all__ = ["ImportResult", "import_files", "import_from_source"]

_TOGETHER = 5_000
"""Labels of one transaction."""
_SLICE = 50_000
"""Rows of a file that are read at a time."""
_NAMED = 100
"""Bad rows that are kept with their reason."""


@dataclass
class ImportResult:
    """What became of labels.

    Attributes
    ----------
    counts
        new, same (told before), changed, unknown (no such prediction yet; kept all the same).
    contradicting
        Rows of the file that a later one of the same prediction overrules.
    bad
        How many rows are no labels; ``examples`` has the first of them.
    """

    version: str
    counts: Counter[str] = field(default_factory=Counter)
    contradicting: int = 0
    bad: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, row: int, file: str, message: str) -> None:
        """Count a bad row."""
        self.bad += 1
        if len(self.examples) < _NAMED:
            self.examples.append({"file": file, "row": row, "message": message})


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
    """Bring the labels of files: by the column ``id``, or by the entity's columns and the time.

    Parameters
    ----------
    label
        The column that holds the label.
    strict
        Keep nothing if a row is no label.

    Raises
    ------
    NotFound
        If there is no such file or version.
    DataRefused
        If the columns say of nothing what it is about, or with ``strict`` a row is bad.
    SourceUnreadable
        If a file can't be read, or the log's database not be written to.
    """
    from mlops_cli.serving.row_files import (
        RowFiles,
        TextOptions,
        columns_of,
        find_files,
        open_row_file,
    )

    labelling, name = _labelling(params, layout, version)
    text = TextOptions.of(params.ingest.sources[params.featurize.base])
    files = [open_row_file(path, text) for path in find_files(pattern)]
    reading = _Reading.of(labelling, list(columns_of(files)), label, ImportResult(name))
    rows = RowFiles(files, reading.columns)
    latest: dict[str, Label] = {}
    at, number = time.time(), 0
    while parts := rows.take(_SLICE):
        for part in parts:
            for broken in part.broken:
                reading.done.refuse(number + broken.row + 1, part.file.name, broken.reason)
            for found in reading.labels(part.frame, part.index, number, part.file.name, at):
                known = latest.get(found.key)
                reading.done.contradicting += known is not None and known.value != found.value
                latest[found.key] = found
            number += part.rows
        progress.update("rows read", number)
    rows.close()
    if strict and reading.done.bad:
        worst = reading.done.examples[0]
        raise DataRefused(
            f"{reading.done.bad} rows are no labels, the first in {worst['file']}, row "
            f"{worst['row']}: {worst['message']}",
            "Correct them, or leave out --fail-on-bad to import the others.",
        )
    _write(list(latest.values()), layout, reading.done, progress)
    return reading.done


def import_from_source(
    params: Params,
    layout: Layout,
    *,
    version: str,
    until: dt.datetime | None,
    progress: Progress,
) -> ImportResult:
    """Bring the labels of logged predictions from the base source, by the version's own target.

    Parameters
    ----------
    until
        Only what was known before this moment, less ``feedback.delay``; None: all that is there.

    Raises
    ------
    NotFound
        If there is no such version, or no event log.
    BadParams
        If predictions can't be found again: the base has no entity or no time.
    SourceUnreadable
        If the source can't be read, or the log's database not be written to.
    """
    labelling, name = _labelling(params, layout, version)
    program = labelling.served.scorer.program
    if not labelling.columns or program.base.time is None:
        raise BadParams(
            "labels can't be told by rule: predictions have no entity (serve.entity), or their "
            "source no time",
            "State serve.entity and the base source's `time`, or import a file with ids.",
        )
    asked = _asked(layout)
    done = ImportResult(name)
    if not asked:
        return done
    progress.update(f"reading {program.rules.base}")
    clock = None if until is None else subtract(until, params.feedback.delay)
    layout.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="truth-", dir=layout.work) as scratch:
        base = ingest_to_scratch(params, layout, [program.rules.base], Path(scratch), clock)
        wanted = (*labelling.columns, program.base.time)
        truth = labels_known_at(program, base[program.rules.base], wanted)
    at = time.time()
    labels = list(_by_rule(labelling, truth, asked, at))
    known = _labelled_by_id(layout, labels)
    new = [one for one in labels if known.get((one.entity, one.moment)) != {one.value}]
    done.counts["same"] += len(labels) - len(new)
    _write(new, layout, done, progress)
    return done


def _labelling(params: Params, layout: Layout, version: str) -> tuple[LabelParser, str]:
    try:
        from mlops_cli.serving.service.labels import LabelParser
        from mlops_cli.serving.service.loaded_model import LoadedModel
        from mlops_cli.serving.service.settings import Model
    except ModuleNotFoundError as error:
        raise NotInstalled(
            f"feedback needs {error.name}, which isn't installed",
            install_hint("serve"),
        ) from None
    found = select_model(params, layout, version)
    model = Model(found.name, found.number, found.folder)
    served = LoadedModel.open(model, layout.root, None, params.serve)
    return LabelParser(served), found.label


@dataclass(frozen=True)
class _Reading:
    """How the rows of a table are read as labels."""

    labelling: LabelParser
    by_id: bool
    time: str
    label: str
    done: ImportResult

    @classmethod
    def of(
        cls, labelling: LabelParser, there: Sequence[str], label: str, done: ImportResult
    ) -> _Reading:
        if label not in there:
            raise DataRefused(
                f"there is no column {label!r} with the labels",
                f"{nearest(label, there)} (--label)",
            )
        own = labelling.served.scorer.program.base.time
        times = [c for c in ("time", own) if c is not None and c in there]
        lacking = [c for c in labelling.columns if c not in there]
        if "id" not in there and (not labelling.columns or lacking or not times):
            entity = ", ".join((*labelling.columns, own or "time"))
            raise DataRefused(
                "the columns don't tell which predictions the labels are of: there is no `id`, "
                f"nor all of {entity or 'an entity'}",
                "Name them so in the file's header.",
            )
        return cls(labelling, "id" in there, times[0] if times else "", label, done)

    @property
    def columns(self) -> list[str]:
        about = ["id"] if self.by_id else [*self.labelling.columns, self.time]
        return list(dict.fromkeys([*about, self.label]))

    def labels(
        self, frame: pl.DataFrame, index: Sequence[int], start: int, file: str, at: float
    ) -> Iterator[Label]:
        from mlops_cli.serving.service.labels import InvalidLabel

        text = frame[self.label].dtype == _string()
        values = [self._plain(v) if text else v for v in frame[self.label].to_list()]
        abouts = frame.select(self.columns).to_dicts()
        for place, about, value in zip(index, abouts, values, strict=True):
            try:
                if self.by_id:
                    yield self.labelling.by_id(about["id"], value, at)
                else:
                    given = about[self.time]
                    told = given.isoformat() if isinstance(given, dt.date) else given
                    moment = self.labelling.moment(told)
                    yield self.labelling.by_entity(about, moment, value, at)
            except InvalidLabel as error:
                shown = about.get(self.label)
                self.done.refuse(start + place + 1, file, f"{error} (label {shown!r})")

    def _plain(self, text: str | None) -> Any:
        """A text as the model's classes, or numbers, have it."""
        if text is None:
            return None
        labels = self.labelling.served.scorer.bundle.labels
        if not labels.classes:
            try:
                return float(text)
            except ValueError:
                return text
        known = dict(zip(labels.names, labels.classes, strict=True))
        return known.get(text, known.get(text.lower(), text))


def _string() -> pl.DataType:
    import polars as pl

    return pl.String()


def _asked(layout: Layout) -> set[tuple[str, float]]:
    """Entity and moment of every prediction that named them."""
    import polars as pl

    reader = reader_for(layout, "no prediction to label")
    asked: set[tuple[str, float]] = set()
    try:
        for page in reader.predictions(columns=("entity", "moment")):
            known = page.drop_nulls().with_columns(_seconds(pl.col("moment")))
            asked.update(known.select("entity", "moment").iter_rows())
    finally:
        reader.close()
    return asked


def _labelled_by_id(
    layout: Layout, labels: Sequence[Label]
) -> dict[tuple[str | None, float | None], set[str | None]]:
    """What labels by id say of the predictions that labels by entity and moment are about.

    None is among the values where one of them has no label. A label that replaces one of its own
    key isn't looked at: which of them counts, only the log can say.
    """
    import polars as pl

    reader = reader_for(layout, "no prediction to label")
    found: dict[tuple[str | None, float | None], set[str | None]] = {}
    try:
        replaced = set(reader.labelled([label.key for label in labels])["key"])
        wanted = {(one.entity, one.moment) for one in labels if one.key not in replaced}
        for page in reader.predictions(columns=("id", "role", "entity", "moment")):
            rows = page.filter(pl.col("role") != "shadow").with_columns(_seconds(pl.col("moment")))
            abouts = rows.select("entity", "moment").rows()
            named = {
                i: about for i, about in zip(rows["id"], abouts, strict=True) if about in wanted
            }
            values = dict(reader.labelled(list(named)).select("key", "value").iter_rows())
            for i, about in named.items():
                found.setdefault(about, set()).add(values.get(i))
    finally:
        reader.close()
    return found


def _seconds(moment: pl.Expr) -> pl.Expr:
    # As the service keeps them: microseconds times this.
    return moment.dt.epoch("us") * 1e-6


def _by_rule(
    labelling: LabelParser, truth: pl.DataFrame, asked: set[tuple[str, float]], at: float
) -> Iterator[Label]:
    import orjson
    import polars as pl

    from mlops_cli.data.source_schema import utc_moment
    from mlops_cli.layout import TARGET

    time_column = labelling.served.scorer.program.base.time
    assert time_column is not None  # noqa: S101 - the caller looked
    types = labelling.served.scorer.inputs.columns
    read = truth.with_columns(pl.col(c).cast(types[c]) for c in labelling.columns if c in types)
    moments = read.select(
        _seconds(utc_moment(pl.col(time_column), read.schema[time_column]))
    ).to_series()
    values = {v: labelling.value(v) for v in read[TARGET].unique().to_list()}
    entities = zip(*(read[c].to_list() for c in labelling.columns), strict=True)
    for entity, when, value in zip(
        entities, moments.to_list(), read[TARGET].to_list(), strict=True
    ):
        told = orjson.dumps(list(entity)).decode()
        if (told, when) in asked:
            yield labelling.labelled(told, when, values[value], at)


def _write(labels: list[Label], layout: Layout, done: ImportResult, progress: Progress) -> None:
    events = open_events(log_url(), layout)
    try:
        for start in range(0, len(labels), _TOGETHER):
            try:
                done.counts.update(events.write((), labels[start : start + _TOGETHER]))
            except RefusedEvents:
                raise DataRefused(
                    "the event log's database refuses a label of these: its value can't be kept",
                    "Look for control characters in ids and labels.",
                ) from None
            progress.update("labels kept", start + _TOGETHER, len(labels))
    finally:
        events.close()
