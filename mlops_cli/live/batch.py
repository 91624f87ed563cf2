"""Predictions of whole files: a slice at a time, in bounded memory, going on after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.core.inputs import Read
from mlops_cli.errors import DataRefused, NotFound, Usage, nearest
from mlops_cli.store import tables
from mlops_cli.store.files import read_json, staged, write_json
from mlops_cli.store.locks import held

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.live.scoring import Scorer
    from mlops_cli.reporting import Progress

__all__ = ["ENDINGS", "Batch", "Predicted", "predict"]

SLICE = 100_000
"""Rows that are worked on at a time."""
ENDINGS = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True)
class Batch:
    """What is to be predicted, and where it goes.

    Attributes
    ----------
    rows
        The input, read lazily.
    fingerprint
        What the result depends on: input, version and options. A run that was killed goes on only
        if it is the same.
    features
        Whether the input holds the features themselves.
    keep
        Columns of the input that come along.
    strict
        Refuse the whole if a row can't be scored.
    """

    rows: pl.LazyFrame
    out: Path
    version: str
    fingerprint: Mapping[str, Any]
    features: bool = False
    keep: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True)
class Predicted:
    """How many rows were predicted and rejected, and where they are."""

    rows: int
    rejected: int
    out: Path
    rejects: Path | None


def predict(batch: Batch, scorer: Scorer, layout: Layout, progress: Progress) -> Predicted:
    """Predict all rows.

    Raises
    ------
    Usage
        If the output's name says no format that can be written, or its folder isn't there.
    DataRefused
        If a column is missing, or with ``strict`` if a row can't be scored.
    NotFound
        If the project lacks the tables that the features look into.
    Busy
        If another run writes the same output.
    """
    out = batch.out
    if out.suffix not in ENDINGS:
        raise Usage(
            f"the output {out.name!r} ends with none of {', '.join(ENDINGS)}", "Rename it with -o."
        )
    if not out.parent.is_dir():
        raise Usage(f"the folder {out.parent} of the output isn't there", "Make it first.")
    given = batch.rows.collect_schema().names()
    for column in batch.keep:
        if column not in given:
            raise DataRefused(f"--keep names {column!r}, which isn't there", nearest(column, given))
    parts = out.parent / f".{out.name}.parts"
    with held(out.parent / f".{out.name}.lock", f"another `mlops predict` writes {out.name}"):
        done = _prepared(parts, batch.fingerprint)
        looked_into = None if batch.features else _tables(scorer, layout)
        total = int(batch.rows.select(_len()).collect(engine="streaming").item())
        for number, frame in enumerate(_slices(batch.rows, done * SLICE), start=done):
            _slice(batch, scorer, frame, looked_into, parts, number)
            progress.update("rows", min((number + 1) * SLICE, total), total)
        predicted = _together(parts, out)
        shutil.rmtree(parts)
    for ending in ("lock", "pid"):
        (out.parent / f".{out.name}.{ending}").unlink(missing_ok=True)
    return predicted


def _len() -> pl.Expr:
    import polars as pl

    return pl.len()


def _prepared(parts: Path, fingerprint: Mapping[str, Any]) -> int:
    """How many slices an earlier run of the very same has done."""
    state = parts / "state.json"
    try:
        same = read_json(state) == json.loads(json.dumps(fingerprint))
    except (NotFound, DataRefused):
        same = False
    if not same:
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        write_json(state, fingerprint)
    done = 0
    while (parts / f"{done:06d}.parquet").is_file():
        done += 1
    return done


def _slices(rows: pl.LazyFrame, start: int) -> Iterator[pl.DataFrame]:
    """Slices of a fixed size, whatever the pieces in which a reader hands them over."""
    import polars as pl

    waiting: list[pl.DataFrame] = []
    count = 0
    for piece in rows.slice(start).collect_batches(maintain_order=True, chunk_size=SLICE):
        waiting.append(piece)
        count += piece.height
        while count >= SLICE:
            whole = pl.concat(waiting)
            yield whole[:SLICE]
            waiting, count = [whole[SLICE:]], count - SLICE
    if count or not start:
        yield pl.concat(waiting) if waiting else rows.collect_schema().to_frame()


def _tables(scorer: Scorer, layout: Layout) -> dict[str, pl.LazyFrame]:
    program = scorer.program
    return {
        name: program.cleaned(name, tables.scan(layout.valid / f"{name}.parquet"))
        for name in program.used_sources
    }


def _slice(
    batch: Batch,
    scorer: Scorer,
    frame: pl.DataFrame,
    looked_into: Mapping[str, pl.LazyFrame] | None,
    parts: Path,
    number: int,
) -> None:
    """Predict one slice; its part is there only when it is complete."""
    import polars as pl

    start = number * SLICE
    read = Read(frame, range(frame.height))
    if looked_into is not None:
        read = scorer.read_frame(frame)
    lacking = next((e for e in read.errors if e.row is None), None)
    if lacking is not None:
        raise DataRefused(
            f"{lacking.message} (rows from {start} on)",
            "Give the raw columns that the model's features read; GET /docs.json lists them.",
        )
    if read.errors and batch.strict:
        first = read.errors[0]
        raise DataRefused(
            f"row {start + (first.row or 0)}: {first.message}",
            "Correct the row, or set such rows aside without --strict.",
        )
    features = (
        read.frame
        if looked_into is None
        else scorer.program.transform(read.frame.drop("_at", strict=False), looked_into)
    )
    index = list(read.index)
    columns = [pl.Series("row", index, dtype=pl.Int64) + start]
    columns += [frame[index].get_column(c) for c in batch.keep]
    made = pl.DataFrame(columns).hstack(_outputs(scorer, features, batch.version))
    if read.errors:
        lines = [
            json.dumps({"row": start + (e.row or 0), "column": e.column, "value": e.value,
                        "reason": e.message}, ensure_ascii=False)
            for e in read.errors
        ]  # fmt: skip
        (parts / f"{number:06d}.rejected").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables.write(made, parts / f"{number:06d}.parquet")


def _outputs(scorer: Scorer, features: pl.DataFrame, version: str) -> list[pl.Series]:
    import polars as pl

    bundle = scorer.bundle
    output = bundle.predict(features)
    stated = pl.Series("version", [version] * features.height, dtype=pl.String)
    if output.ndim == 1:
        return [pl.Series("prediction", output), stated]
    labels = bundle.labels
    found = [pl.Series("prediction", labels.decode(output.argmax(axis=1)))]
    for code, label in enumerate(labels.classes):
        name = str(label).lower() if isinstance(label, bool) else str(label)
        found.append(pl.Series(f"probability_{name}", output[:, code]))
    if bundle.threshold is not None:
        decided = (output[:, 1] >= bundle.threshold).astype("int64")
        found.append(pl.Series("decision", labels.decode(decided)))
    return [*found, stated]


def _together(parts: Path, out: Path) -> Predicted:
    """Put the parts together in the output's format, and the rejected rows beside it."""
    import polars as pl

    found = sorted(parts.glob("*.parquet"))
    rows = pl.scan_parquet(found, glob=False)
    with staged(out) as temporary:
        if out.suffix == ".csv":
            rows.sink_csv(temporary, maintain_order=True)
        elif out.suffix == ".jsonl":
            rows.sink_ndjson(temporary, maintain_order=True)
        else:
            tables.sink(rows, temporary)
    rejected = sorted(parts.glob("*.rejected"))
    beside = out.with_name(f"{out.stem}-rejected.jsonl")
    count = 0
    if rejected:
        with staged(beside) as temporary, temporary.open("w", encoding="utf-8") as file:
            for path in rejected:
                lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
                count += len({json.loads(line)["row"] for line in lines})
                file.writelines(lines)
    else:
        beside.unlink(missing_ok=True)
    total = int(rows.select(_len()).collect().item())
    return Predicted(total, count, out, beside if rejected else None)
