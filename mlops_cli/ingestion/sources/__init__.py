"""Kinds of sources (CSV, Parquet, JSON Lines, HTTP, Python), behind one ``open_table``.

A further kind is one module with ``open_table`` and one row in ``KINDS``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from mlops_cli.data.urls import mask_url
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest, format_of

if TYPE_CHECKING:
    from mlops_cli.params.ingest import Source

__all__ = ["KINDS", "OpenedSource", "SourceKind", "SourceRequest", "open_table", "source_kind"]

KINDS = {
    "csv": "csv_files",
    "parquet": "parquet_files",
    "jsonl": "jsonl_files",
    "http": "web",
    "python": "python_objects",
}
"""Kind -> module of this package."""


class SourceKind(Protocol):
    """Interface of the module of a kind."""

    def open_table(self, request: SourceRequest) -> OpenedSource:
        """Check the source and return its lazy table, which is read later, in a stream."""


def source_kind(source: Source) -> str:
    """The kind of a source, by its URI and ``format``."""
    scheme, colon, _ = source.uri.partition(":")
    if colon and scheme.lower() in {"http", "https"}:
        return "http"
    if colon and scheme == "python":
        return "python"
    if "://" in source.uri:
        raise SourceUnreadable(
            f"{mask_url(source.uri)} is not of a kind of source that can be read",
            "Give a path, glob or folder, an http(s) URL, or python:module:attribute.",
        )
    return source.format or "file"


def open_table(request: SourceRequest) -> OpenedSource:
    """Open any source.

    Raises
    ------
    SourceUnreadable
        If it doesn't exist, is empty, or isn't what its name or ``format`` says.
    """
    kind = source_kind(request.source)
    if kind == "file":
        kind = format_of(request)
    module = cast("SourceKind", import_module(f"{__name__}.{KINDS[kind]}"))
    return module.open_table(request)
