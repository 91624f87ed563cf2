"""Data file of a new project: how to read it, and the types of its columns."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.data.csv_dialect import name_all, records
from mlops_cli.errors import NotFound, SourceUnreadable, Usage

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.ingestion.sources import OpenedSource
    from mlops_cli.params.ingest import Source, TypeName
    from mlops_cli.scaffold.notations import Notation

__all__ = ["DataFile", "open_data_file"]

HEAD = 1 << 24
"""Bytes that are searched for the header, which may have many columns."""
SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class DataFile:
    """A readable data file, and how to read it.

    Attributes
    ----------
    types
        Columns whose type the project states: all of CSV, else dates that are written as text.
    notations
        Text columns that hold numbers or dates in another notation.
    frame
        The table in these types, with derived columns; valid only inside ``open_data_file``.
    """

    path: Path
    separator: str
    encoding: str
    null_values: dict[str, tuple[str, ...]]
    types: dict[str, TypeName]
    notations: dict[str, Notation]
    frame: pl.LazyFrame

    @property
    def derive(self) -> dict[str, str]:
        """Columns that are derived from texts in another notation: name -> SQL."""
        return {n.name: n.sql for n in self.notations.values() if n.sql is not None}


@contextmanager
def open_data_file(path: Path, scratch: Path, encoding: str = "utf-8") -> Iterator[DataFile]:
    """Open a CSV (also .gz), Parquet or JSON Lines file, and infer the types of its columns.

    Parameters
    ----------
    scratch
        A folder for temporary files, which must exist until the table has been read.

    Raises
    ------
    NotFound
        If there is no such file.
    SourceUnreadable
        If it is empty, damaged, or of an unknown format. Also for errors that occur while the
        frame is read inside the block.
    """
    import polars as pl

    from mlops_cli.data.file_formats import format_of_name
    from mlops_cli.params.ingest import Source

    if path.is_dir():
        raise Usage(
            f"{path} is a folder, and a project begins with one file",
            "Give one of its files, and set the source's `uri` to the folder afterwards.",
        )
    if not path.is_file():
        raise NotFound(f"there is no file {path}", "Correct the path after --data.")
    form = format_of_name(path.name)
    if form is None:
        raise Usage(
            f"the format of {path.name} cannot be told by its name",
            "Give a file that ends in .csv, .csv.gz, .parquet, .jsonl or .jsonl.gz.",
        )
    try:
        head = _read_head(path)
    except OSError as error:
        raise SourceUnreadable(
            f"{path} cannot be read: {error.strerror}", "Check the file's permissions."
        ) from None
    if form == "csv" and head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        encoding = "utf-16"
    separator, names = _guess_header(head, encoding) if form == "csv" else (",", [])
    source = Source(
        uri=path.name,
        separator=separator,
        encoding=encoding,
        types=dict.fromkeys(names, "string"),
    )
    with _reword_hints(path.name, encoding):
        table = _open_source(path, source, scratch)
        try:
            yield _describe(path, form, source, table.frame)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise table.explain(error) from error


def _describe(path: Path, form: str, source: Source, frame: pl.LazyFrame) -> DataFile:
    import polars as pl

    from mlops_cli.data.sql.tokens import is_selectable
    from mlops_cli.scaffold.column_profile import beyond_64_bits
    from mlops_cli.scaffold.infer_types import TextTypes, cast_columns, read_text_types
    from mlops_cli.scaffold.notations import find_notations

    texts = [n for n, t in frame.collect_schema().items() if t == pl.String and is_selectable(n)]
    inferred = read_text_types(frame.select(texts), only_dates=form != "csv")
    types = {n: t for n, t in inferred.types.items() if form == "csv" or t != "string"}
    # As in CSV: whole numbers that don't fit into 64 bits are codes.
    codes = beyond_64_bits(frame)
    types |= dict.fromkeys(codes, "string")
    frame = frame.with_columns(pl.col(n).cast(pl.String) for n in codes)
    notations = find_notations(frame, [n for n, t in inferred.types.items() if t == "string"])
    if form != "csv":
        # Only CSV has `null_values`.
        notations = {c: n for c, n in notations.items() if not n.missing}
    missing = inferred.null_values | {
        c: n.missing for c, n in notations.items() if n.missing and n.sql is not None
    }
    typed = cast_columns(frame, TextTypes(types, missing)).with_columns(
        pl.sql_expr(n.sql).alias(n.name) for n in notations.values() if n.sql is not None
    )
    return DataFile(
        path=path,
        separator=source.separator,
        encoding=source.encoding,
        null_values=missing,
        types=types,
        notations=notations,
        frame=typed,
    )


def _open_source(path: Path, source: Source, scratch: Path) -> OpenedSource:
    from mlops_cli.ingestion.sources import SourceRequest, open_table

    return open_table(SourceRequest(path.name, source, path.parent, scratch))


@contextmanager
def _reword_hints(name: str, encoding: str) -> Iterator[None]:
    """Reword the hints of source errors: their ``params.yaml`` doesn't exist yet."""
    try:
        yield
    except SourceUnreadable as error:
        hint = error.hint
        if "ncoding" in hint:
            hint = f"It was read as {encoding}; name another with --encoding, such as latin-1."
        elif "ingest.sources" in hint:
            hint = "Correct the file, then run `mlops init` again."
        message = error.message.replace(f" of source {name!r}", "")
        raise SourceUnreadable(message, hint) from error


def _read_head(path: Path) -> bytes:
    """The first bytes, unpacked; empty if the file is damaged, which is reported on opening."""
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read(HEAD) if gzipped else file.read(HEAD)
        except (OSError, EOFError, zlib.error):
            return b""


def _guess_header(head: bytes, encoding: str) -> tuple[str, list[str]]:
    """The separator that gives the most columns in the header, and the columns' names."""
    try:
        text = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    except LookupError:
        raise Usage(
            f"--encoding {encoding!r} is not an encoding",
            "Write one that Python knows, such as utf-8, latin-1, cp1252 or utf-16.",
        ) from None
    best = (",", _split_header(text, ","))
    for separator in SEPARATORS[1:]:
        names = _split_header(text, separator)
        if len(names) > len(best[1]):
            best = (separator, names)
    return best


def _split_header(text: str, separator: str) -> list[str]:
    try:
        rows = records(io.StringIO(text, newline=""), separator)
        return name_all(next(filter(None, rows), []))
    except csv.Error:
        return []
