"""Batch prediction of whole files: slice by slice in bounded memory, resumable after a kill."""

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
"""Rows that are scored at a time."""
_MEGABYTE = 2**20


@dataclass(frozen=True)
class BatchRequest:
    """Options of a batch prediction.

    Attributes
    ----------
    pattern
        Path or glob of the input files.
    out
        Path of the output file.
    version
        A version, a stage, or ``workspace``.
    features
        The input holds the features, not the raw columns of the base source.
    keep_columns
        Input columns that are copied to the output.
    explain
        How many features to explain in each row, by size of their contributions.
    fail_on_bad
        Stop without an output if a row can't be scored.
    force
        Start over, even if an earlier run can be resumed.
    slice_rows
        Rows that are scored at a time.
    """

    pattern: str
    out: Path
    version: str = "production"
    features: bool = False
    keep_columns: tuple[str, ...] = ()
    explain: int = 0
    fail_on_bad: bool = False
    force: bool = False
    slice_rows: int = SLICE


@dataclass(frozen=True)
class BatchResult:
    """Counts and output files of a batch prediction.

    Attributes
    ----------
    rows, rejected
        How many rows were predicted, and how many were rejected.
    rejects
        The file with the rejected rows; None if there are none.
    resumed
        How many rows an earlier run had completed.
    """

    version: str
    rows: int
    rejected: int
    out: Path
    rejects: Path | None
    resumed: int


def predict(params: Params, layout: Layout, batch: BatchRequest, progress: Progress) -> BatchResult:
    """Predict all rows of the input files, and write the output.

    Raises
    ------
    Usage
        If the output can't be written, or is one of the input files.
    NotFound
        If the file or the version doesn't exist, or joins and windows have neither validated
        tables nor an online store.
    SourceUnreadable
        If a file can't be read.
    DataRefused
        If the bundle's checksums don't match, a column is missing, or with ``fail_on_bad`` a row
        can't be scored.
    Busy
        If another run writes the same output.
    """
    rejects = rejects_path(batch.out)
    paths = find_files(batch.pattern)
    if batch.out.resolve() in [p.resolve() for p in paths]:
        raise Usage(f"{batch.out} is one of the files to read", "Write to another name.")
    choice = select_model(params, layout, batch.version, progress)
    policies = params.serve.columns
    scorer = RequestScorer.open(choice.folder, layout.root, None, batch.keep_columns, policies)
    if not batch.features:
        known_columns(policies, scorer.inputs)
    text = TextOptions.from_source(params.ingest.sources.get(scorer.program.rules.base))
    files = [open_row_file(path, text) for path in paths]
    scoring, table_ids = choose_scoring(batch, scorer, layout)
    run = _Run(batch, choice, scorer, scoring, files, progress)
    run.check()
    job = {
        "mlops": __version__,
        "version": choice.label,
        "bundle": scorer.bundle.sha256,
        "files": [file_fingerprint(path) for path in paths],
        "looked into": table_ids,
        "text": vars(text),
        "options": [batch.features, batch.keep_columns, batch.explain, batch.slice_rows],
        "policies": {name: vars(policy) for name, policy in policies.items()},
    }
    name = hashlib.sha256(str(batch.out.resolve()).encode()).hexdigest()[:16]
    with lock(layout.work / "predict" / f"{name}.lock", f"the output {batch.out}"):
        parts = OutputParts(batch.out, job)
        resumed = run.resume(parts)
        done = resumed
        for done in run.slices(parts, resumed):
            progress.update(f"{done.rows:,} rows; MB", *run.megabytes())
        rejects_file = parts.finish(done)
    return BatchResult(
        choice.label,
        done.rows - done.rejected,
        done.rejected,
        batch.out,
        rejects if rejects_file else None,
        resumed.rows,
    )


def choose_scoring(
    batch: BatchRequest, scorer: RequestScorer, layout: Layout
) -> tuple[Scoring, list[Any]]:
    """Choose how to score; also return the fingerprints of the tables, or the store's facts."""
    if batch.features:
        return FeatureScoring(scorer.bundle), []
    program = scorer.program
    paths = {name: layout.validated / f"{name}.parquet" for name in program.used_sources}
    absent = [path for path in paths.values() if not path.is_file()]
    if not absent:
        tables = {name: read_validated(program, name, layout) for name in paths}
        return TableScoring(scorer, tables), [file_fingerprint(path) for path in paths.values()]
    return _store_scoring(scorer, layout, absent[0])


def _store_scoring(
    scorer: RequestScorer, layout: Layout, absent: Path
) -> tuple[Scoring, list[Any]]:
    import datetime as dt

    from mlops_cli.online.store import open_store, program_id
    from mlops_cli.online.store.cache import Lookups

    try:
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online)
        scorer = scorer.with_lookups(Lookups(store))
    except NotFound as error:
        raise NotFound(
            f"the features look into {absent.relative_to(layout.root)}, which is not there, "
            f"and {error.message}",
            "Bring the data back with `dvc checkout` or `mlops pull`, or fill the online store "
            "with `mlops materialize`.",
        ) from None
    facts = store.metadata(program_id(scorer.program)) or {}
    since = facts.get("since")
    earliest = None if since is None else dt.datetime.fromisoformat(since)
    return StoreScoring(scorer, earliest), [facts]


@dataclass
class _Run:
    """A batch prediction: reads the files and yields its progress after each slice."""

    batch: BatchRequest
    choice: SelectedModel
    scorer: RequestScorer
    scoring: Scoring
    files: Sequence[RowFile]
    progress: Progress

    def __post_init__(self) -> None:
        self._row_files: RowFiles | None = None
        self._kept_types: dict[str, pl.DataType] = {}

    def check(self) -> None:
        """Check that each file has the columns it needs, and set the types of the kept columns."""
        inputs = self.scoring.inputs
        for file in self.files:
            for column in (*inputs.required, *self.batch.keep_columns):
                if column not in file.schema:
                    raise self._missing_column(file, column)
        reserved = reserved_columns(self.scorer.bundle, self.batch.explain)
        types = columns_of(self.files)
        for column in self.batch.keep_columns:
            if column in reserved or self.batch.keep_columns.count(column) > 1:
                raise Usage(
                    f"--keep names {column!r}, which the output has already",
                    "Leave it out, or rename it in the input.",
                )
            if types[column].is_nested():
                raise Usage(f"--keep names {column!r}, which holds lists or structs", "Leave it.")
            self._kept_types[column] = inputs.columns.get(column) or ingested_type(types[column])

    def _missing_column(self, file: RowFile, column: str) -> DataRefused:
        kept = column in self.batch.keep_columns
        hint = nearest(column, file.schema)
        features = self.scorer.bundle.encoder.kinds
        if not kept and not self.batch.features and features.keys() <= file.schema.keys():
            hint = "It holds the features themselves: add --features."
        needs = "--keep names" if kept else "the model needs"
        return DataRefused(f"{file.path} has no column {column!r}, which {needs}", hint)

    def resume(self, parts: OutputParts) -> DonePart:
        """Return the progress of an earlier run of the same job; discard that of any other."""
        done = None if self.batch.force else parts.load_progress()
        if done is None:
            if parts.exists and not self.batch.force:
                self.progress.note("an earlier run was of another input or version: starting over")
            parts.discard()
            return DonePart()
        if done.rejected and self.batch.fail_on_bad:
            parts.discard()
            return DonePart()
        if done.rows:
            self.progress.note(f"going on after row {done.rows:,}")
        return done

    def megabytes(self) -> tuple[float, float]:
        """Return how many megabytes of the files have been read, and how many there are."""
        read = 0 if self._row_files is None else self._row_files.bytes_read
        return read / _MEGABYTE, sum(f.size for f in self.files) / _MEGABYTE

    def slices(self, parts: OutputParts, done: DonePart) -> Iterator[DonePart]:
        """Score the remaining rows; save each slice and yield the progress."""
        inputs = self.scoring.inputs
        columns = dict.fromkeys((*inputs.required, *inputs.optional, *self._kept_types))
        self._row_files = RowFiles(self.files, list(columns), done.position)
        while batches := self._row_files.read_batches(self.batch.slice_rows):
            predictions, rejected = self._score_slice(batches, done.rows)
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
                done.rows + sum(batch.rows for batch in batches),
                done.rejected + len(rejected),
                self._row_files.position,
            )
            parts.add(done, predictions, rejected)
            yield done
        if not done.slices:
            done = replace(done, slices=1)
            parts.add(done, self._empty_output(), [])
            yield done

    def _score_slice(
        self, batches: Sequence[RowBatch], before: int
    ) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """Return the predictions of one slice, and a record for each rejected row."""
        try:
            return self._score_batches(batches, before, self.scoring.read)
        except UnscorableValue:
            return self._score_batches(batches, before, partial(read_scorable, self.scoring))

    def _score_batches(
        self,
        batches: Sequence[RowBatch],
        before: int,
        read_rows: Callable[[pl.DataFrame], ParsedRows],
    ) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
        """Score the rows of one slice, parsed with ``read_rows``; see ``_score_slice``.

        Raises
        ------
        UnscorableValue
            If a row that was parsed can't be scored.
        """
        import polars as pl

        frames: list[pl.DataFrame] = []
        warnings: list[str | None] = []
        leading: list[pl.DataFrame] = []
        rejected: list[dict[str, Any]] = []
        for batch in batches:
            read = read_rows(batch.frame)
            if read.frame.height:
                frames.append(read.frame)
                leading.append(self._leading_columns(batch, read.index, before))
                warnings += warning_texts(read)
            rejected += rejected_rows(batch, read.errors, before)
            before += batch.rows
        if not frames:
            return self._empty_output(), rejected
        matrix, output = self.scoring.score(pl.concat(frames))
        return self._output_table(pl.concat(leading), matrix, output, warnings), rejected

    def _leading_columns(self, batch: RowBatch, index: Sequence[int], before: int) -> pl.DataFrame:
        """Return the row numbers and the kept columns of scored rows."""
        import polars as pl

        rows = pl.Series("row", batch.index, dtype=pl.Int64) + before
        places = pl.Series(index, dtype=pl.UInt32)
        columns = [rows.gather(places)]
        for name, dtype in self._kept_types.items():
            values, lost = convert_or_null(batch.frame.get_column(name).gather(places), dtype)
            if lost is not None:
                raise DataRefused(
                    f"column {name!r} of {batch.file} is of another type than in the first file",
                    "Files of one run have the same columns; predict them one by one.",
                )
            columns.append(values)
        return table_of(columns)

    def _output_table(
        self, leading: pl.DataFrame, matrix: Any, output: Any, warnings: Sequence[str | None] = ()
    ) -> pl.DataFrame:
        import polars as pl

        columns = prediction_columns(self.scorer.bundle, output)
        if self.batch.explain:
            columns += explanations(self.scorer, matrix, output, self.batch.explain)
        version = pl.repeat(self.choice.number, leading.height, dtype=pl.String, eager=True)
        warning_column = pl.Series("warnings", warnings, dtype=pl.String)
        return leading.hstack([*columns, version.alias("version"), warning_column])

    def _empty_output(self) -> pl.DataFrame:
        """Return the output for no rows, with all columns."""
        import numpy as np
        import polars as pl

        bundle = self.scorer.bundle
        classes = len(bundle.labels.classes)
        output = np.zeros((0, classes) if classes else (0,))
        leading = pl.DataFrame(schema={"row": pl.Int64(), **self._kept_types})
        return self._output_table(
            leading, np.zeros((0, len(bundle.encoder.feature_of_column))), output
        )
