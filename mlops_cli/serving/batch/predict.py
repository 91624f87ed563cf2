"""Predictions of whole files: a slice at a time, in bounded memory, going on after a kill."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli import __version__
from mlops_cli.data.column_types import convert_or_null, ingested_type, table_of
from mlops_cli.errors import DataRefused, NotFound, Usage, nearest
from mlops_cli.online.materialize import read_validated
from mlops_cli.online.request_rows import ParsedRows
from mlops_cli.online.value_policies import known_columns
from mlops_cli.project.locks import lock
from mlops_cli.registry.select_version import SelectedModel, select_model
from mlops_cli.serving.batch.checkpoint import DonePart, OutputParts, file_fingerprint, rejects_path
from mlops_cli.serving.batch.messages import rejected_rows, warning_texts
from mlops_cli.serving.batch.scorable_rows import read_scorable
from mlops_cli.serving.batch.scoring import (
    FeatureScoring,
    Scoring,
    StoreScoring,
    TableScoring,
    explanations,
    prediction_columns,
    reserved_columns,
)
from mlops_cli.serving.row_files import (
    RowBatch,
    RowFile,
    RowFiles,
    TextOptions,
    columns_of,
    find_files,
    open_row_file,
)
from mlops_cli.serving.scorer import RequestScorer, UnscorableValue

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["SLICE", "BatchRequest", "BatchResult", "choose_scoring", "predict"]

SLICE = 100_000
"""Rows that are worked on at a time."""
_MEGABYTE = 2**20


@dataclass(frozen=True)
class BatchRequest:
    """What is to be predicted, and how.

    Attributes
    ----------
    pattern
        A file, or a glob.
    wanted
        A version, a stage, or ``workspace``.
    features
        The input holds the features themselves.
    keep
        Columns that come along.
    explain
        So many features that count most are told of each row.
    fail_on_bad
        Refuse it all if a row can't be scored.
    force
        Start over, whatever an earlier run has done.
    """

    pattern: str
    out: Path
    wanted: str = "production"
    features: bool = False
    keep: tuple[str, ...] = ()
    explain: int = 0
    fail_on_bad: bool = False
    force: bool = False
    slice_rows: int = SLICE


@dataclass(frozen=True)
class BatchResult:
    """How many rows were predicted and set aside, and where they are.

    Attributes
    ----------
    resumed
        Rows that an earlier run had done.
    """

    version: str
    rows: int
    rejected: int
    out: Path
    rejects: Path | None
    resumed: int


def predict(params: Params, layout: Layout, batch: BatchRequest, progress: Progress) -> BatchResult:
    """Predict all rows, and put them in the output's place.

    Raises
    ------
    Usage
        If the output can't be written, or is part of the input.
    NotFound
        If there is no such file or version, or nothing for joins and windows to look into.
    SourceUnreadable
        If a file can't be read.
    DataRefused
        If the bundle isn't as it was written, a column is missing, or with ``fail_on_bad`` a row
        can't be scored.
    Busy
        If another run writes the same output.
    """
    rejects = rejects_path(batch.out)
    paths = find_files(batch.pattern)
    if batch.out.resolve() in [p.resolve() for p in paths]:
        raise Usage(f"{batch.out} is one of the files to read", "Write to another name.")
    choice = select_model(params, layout, batch.wanted, progress)
    policies = params.serve.columns
    scorer = RequestScorer.open(choice.folder, layout.root, None, batch.keep, policies)
    if not batch.features:
        known_columns(policies, scorer.inputs)
    text = TextOptions.of(params.ingest.sources.get(scorer.program.rules.base))
    files = [open_row_file(path, text) for path in paths]
    scoring, looked_into = choose_scoring(batch, scorer, layout)
    run = _Run(batch, choice, scorer, scoring, files, progress)
    run.check()
    job = {
        "mlops": __version__,
        "version": choice.label,
        "bundle": scorer.bundle.sha256,
        "files": [file_fingerprint(path) for path in paths],
        "looked into": looked_into,
        "text": vars(text),
        "options": [batch.features, batch.keep, batch.explain, batch.slice_rows],
        "policies": {name: vars(policy) for name, policy in policies.items()},
    }
    name = hashlib.sha256(str(batch.out.resolve()).encode()).hexdigest()[:16]
    with lock(layout.work / "predict" / f"{name}.lock", f"the output {batch.out}"):
        parts = OutputParts(batch.out, job)
        begun = run.begun(parts)
        done = begun
        for done in run.slices(parts, begun):
            progress.update(f"{done.rows:,} rows; MB", *run.megabytes())
        found = parts.finish(done)
    return BatchResult(
        choice.label,
        done.rows - done.rejected,
        done.rejected,
        batch.out,
        rejects if found else None,
        begun.rows,
    )


def choose_scoring(
    batch: BatchRequest, scorer: RequestScorer, layout: Layout
) -> tuple[Scoring, list[Any]]:
    """How rows are scored, and by what the tables are known that they look into."""
    if batch.features:
        return FeatureScoring(scorer.bundle), []
    program = scorer.program
    used = {name: layout.valid / f"{name}.parquet" for name in program.used_sources}
    absent = [path for path in used.values() if not path.is_file()]
    if not absent:
        tables = {name: read_validated(program, name, layout) for name in used}
        return TableScoring(scorer, tables), [file_fingerprint(path) for path in used.values()]
    return _from_store(scorer, layout, absent[0])


def _from_store(scorer: RequestScorer, layout: Layout, absent: Path) -> tuple[Scoring, list[Any]]:
    import datetime as dt

    from mlops_cli.online.store import open_store, program_id
    from mlops_cli.online.store.cache import Lookups

    try:
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online)
        scorer = scorer.looking_into(Lookups(store))
    except NotFound as error:
        raise NotFound(
            f"the features look into {absent.relative_to(layout.root)}, which is not there, "
            f"and {error.message}",
            "Bring the data back with `dvc checkout` or `mlops pull`, or fill the online store "
            "with `mlops materialize`.",
        ) from None
    facts = store.facts(program_id(scorer.program)) or {}
    since = facts.get("since")
    begin = None if since is None else dt.datetime.fromisoformat(since)
    return StoreScoring(scorer, begin), [facts]


@dataclass
class _Run:
    """One run over the files."""

    batch: BatchRequest
    choice: SelectedModel
    scorer: RequestScorer
    scoring: Scoring
    files: Sequence[RowFile]
    progress: Progress

    def __post_init__(self) -> None:
        self._rows: RowFiles | None = None
        self._kept: dict[str, pl.DataType] = {}

    def check(self) -> None:
        """See that each file has what is needed, and settle the types of the kept columns."""
        inputs = self.scoring.inputs
        for file in self.files:
            for column in (*inputs.needed, *self.batch.keep):
                if column not in file.schema:
                    raise self._lacking(file, column)
        taken = reserved_columns(self.scorer.bundle, self.batch.explain)
        found = columns_of(self.files)
        for column in self.batch.keep:
            if column in taken or self.batch.keep.count(column) > 1:
                raise Usage(
                    f"--keep names {column!r}, which the output has already",
                    "Leave it out, or rename it in the input.",
                )
            if found[column].is_nested():
                raise Usage(f"--keep names {column!r}, which holds lists or structs", "Leave it.")
            self._kept[column] = inputs.columns.get(column) or ingested_type(found[column])

    def _lacking(self, file: RowFile, column: str) -> DataRefused:
        kept = column in self.batch.keep
        hint = nearest(column, file.schema)
        features = self.scorer.bundle.encoder.kinds
        if not kept and not self.batch.features and features.keys() <= file.schema.keys():
            hint = "It holds the features themselves: add --features."
        needs = "--keep names" if kept else "the model needs"
        return DataRefused(f"{file.path} has no column {column!r}, which {needs}", hint)

    def begun(self, parts: OutputParts) -> DonePart:
        """What an earlier run of the same has done."""
        found = None if self.batch.force else parts.found()
        if found is None:
            if parts.started and not self.batch.force:
                self.progress.note("an earlier run was of another input or version: starting over")
            parts.discard()
            return DonePart()
        if found.rejected and self.batch.fail_on_bad:
            parts.discard()
            return DonePart()
        if found.rows:
            self.progress.note(f"going on after row {found.rows:,}")
        return found

    def megabytes(self) -> tuple[float, float]:
        """How much of the files is read, and how large they are."""
        read = 0 if self._rows is None else self._rows.bytes_read
        return read / _MEGABYTE, sum(f.size for f in self.files) / _MEGABYTE

    def slices(self, parts: OutputParts, done: DonePart) -> Iterator[DonePart]:
        """Score what is left, and keep each slice."""
        inputs = self.scoring.inputs
        columns = dict.fromkeys((*inputs.needed, *inputs.optional, *self._kept))
        self._rows = RowFiles(self.files, list(columns), done.position)
        while taken := self._rows.take(self.batch.slice_rows):
            made, rejected = self._slice(taken, done.rows)
            if rejected and self.batch.fail_on_bad:
                parts.discard()
                first = rejected[0]
                raise DataRefused(
                    f"row {first['row']} of {first['file']}: {first['reason']} "
                    f"({len(rejected)} bad rows so far)",
                    "Correct it, or leave out --fail-on-bad to set such rows aside.",
                )
            done = DonePart(
                done.slices + 1,
                done.rows + sum(part.rows for part in taken),
                done.rejected + len(rejected),
                self._rows.position,
            )
            parts.add(done, made, rejected)
            yield done
        if not done.slices:
            done = replace(done, slices=1)
            parts.add(done, self._empty(), [])
            yield done

    def _slice(
        self, taken: Sequence[RowBatch], before: int
    ) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """Predictions of one slice's rows, and what is told of those that have none."""
        try:
            return self._scored(taken, before, self.scoring.read)
        except UnscorableValue:
            return self._scored(taken, before, partial(read_scorable, self.scoring))

    def _scored(
        self,
        taken: Sequence[RowBatch],
        before: int,
        read_rows: Callable[[pl.DataFrame], ParsedRows],
    ) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """The same, by a way to read them.

        Raises
        ------
        Unscorable
            If a row is not scored that was read.
        """
        import polars as pl

        typed: list[pl.DataFrame] = []
        warnings: list[str | None] = []
        beginnings: list[pl.DataFrame] = []
        rejected: list[dict[str, Any]] = []
        for part in taken:
            read = read_rows(part.frame)
            if read.frame.height:
                typed.append(read.frame)
                beginnings.append(self._beginning(part, read.index, before))
                warnings += warning_texts(read)
            rejected += rejected_rows(part, read.errors, before)
            before += part.rows
        if not typed:
            return self._empty(), rejected
        matrix, output = self.scoring.score(pl.concat(typed))
        return self._answered(pl.concat(beginnings), matrix, output, warnings), rejected

    def _beginning(self, part: RowBatch, index: Sequence[int], before: int) -> pl.DataFrame:
        """Row numbers and kept columns of the rows that are scored."""
        import polars as pl

        rows = pl.Series("row", part.index, dtype=pl.Int64) + before
        places = pl.Series(index, dtype=pl.UInt32)
        columns = [rows.gather(places)]
        for name, dtype in self._kept.items():
            made, lost = convert_or_null(part.frame.get_column(name).gather(places), dtype)
            if lost is not None:
                raise DataRefused(
                    f"column {name!r} of {part.file} is of another type than in the first file",
                    "Files of one run have the same columns; predict them one by one.",
                )
            columns.append(made)
        return table_of(columns)

    def _answered(
        self, beginning: pl.DataFrame, matrix: Any, output: Any, warnings: Sequence[str | None] = ()
    ) -> pl.DataFrame:
        import polars as pl

        columns = prediction_columns(self.scorer.bundle, output)
        if self.batch.explain:
            columns += explanations(self.scorer, matrix, output, self.batch.explain)
        version = pl.repeat(self.choice.number, beginning.height, dtype=pl.String, eager=True)
        told = pl.Series("warnings", warnings, dtype=pl.String)
        return beginning.hstack([*columns, version.alias("version"), told])

    def _empty(self) -> pl.DataFrame:
        """The output of no rows."""
        import numpy as np
        import polars as pl

        bundle = self.scorer.bundle
        classes = len(bundle.labels.classes)
        output = np.zeros((0, classes) if classes else (0,))
        beginning = pl.DataFrame(schema={"row": pl.Int64(), **self._kept})
        return self._answered(beginning, np.zeros((0, len(bundle.encoder.owners))), output)
