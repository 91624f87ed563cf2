"""Request to open a source, the opened source, and the files and format of its URI."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.file_formats import EXTENSIONS, format_of_name
from mlops_cli.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from mlops_cli.params.ingest import Source

__all__ = ["OpenedSource", "SourceRequest", "files_of", "format_of"]


@dataclass(frozen=True)
class SourceRequest:
    """Request to open one source of ``params.yaml``.

    Parameters
    ----------
    name
        The source's name in the project.
    source
        Its settings.
    root
        The project's folder; relative paths start there.
    scratch
        A folder for temporary files, which must exist until the table has been read.
    """

    name: str
    source: Source
    root: Path
    scratch: Path

    @property
    def setting(self) -> str:
        """The source's section of ``params.yaml``, for errors."""
        return f"ingest.sources.{self.name}"

    def display_path(self, path: Path) -> str:
        """A file's path for errors: relative to the project's folder, if it is below that."""
        return (
            path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        )


@dataclass(frozen=True)
class OpenedSource:
    """A source's lazy table, and a function that explains an error while it is read.

    Attributes
    ----------
    rows
        Number of rows by a count that is independent of the table; None if there is none.
    """

    frame: pl.LazyFrame
    explain: Callable[[Exception], SourceUnreadable]
    rows: int | None = None


def format_of(request: SourceRequest) -> str:
    """The format of a source of files, by their names.

    Raises
    ------
    SourceUnreadable
        If there are no files, their endings are unknown, or they have different formats.
    """
    uri = request.source.uri
    paths_by_format = {format_of_name(path.name): path for path in files_of(request)}
    if None in paths_by_format:
        raise SourceUnreadable(
            f"the format of {request.display_path(paths_by_format[None])} cannot be told by its "
            "name",
            f"Set `{request.setting}.format` to csv, parquet or jsonl.",
        )
    if len(paths_by_format) > 1:
        raise SourceUnreadable(
            f"{uri} holds files of different formats: "
            + ", ".join(request.display_path(path) for path in paths_by_format.values()),
            "Write a glob that matches one format, such as data/*.csv.",
        )
    return str(next(iter(paths_by_format)))


def files_of(request: SourceRequest) -> list[Path]:
    """The files of a path, glob or folder, in the order of their names.

    A folder is searched with its subfolders, for files of the source's ``format`` or else of any
    known ending; hidden files are skipped.

    Raises
    ------
    SourceUnreadable
        If there are none.
    """
    uri = request.source.uri
    target = request.root / uri
    if target.is_file():
        return [target]
    if target.is_dir():
        files = [p for p in target.rglob("*") if p.is_file() and not _is_hidden(p, target)]
        tables = [p for p in files if format_of_name(p.name) is not None]
        fitting = [p for p in tables if request.source.format in (None, format_of_name(p.name))]
        if fitting:
            return sorted(fitting, key=lambda p: p.relative_to(target).as_posix())
        raise SourceUnreadable(
            f"the folder {uri} of source {request.name!r} holds no table that can be read",
            f"Known endings: {', '.join(EXTENSIONS)} (also .csv.gz and .jsonl.gz).",
        )
    if glob.has_magic(uri):
        # Unlike Path.glob, this accepts absolute patterns, too.
        matches = sorted(glob.glob(uri, root_dir=request.root, recursive=True))  # noqa: PTH207
        files = [request.root / m for m in matches if (request.root / m).is_file()]
        if files:
            return files
        raise SourceUnreadable(
            f"no file matches {uri!r} of source {request.name!r}",
            f"Paths start at the project's folder; correct `{request.setting}.uri`.",
        )
    raise SourceUnreadable(
        f"{uri} of source {request.name!r} is not there",
        f"Paths start at the project's folder; correct `{request.setting}.uri`, or run "
        "`dvc pull` if DVC keeps the file.",
    )


def _is_hidden(path: Path, top: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(top).parts)
