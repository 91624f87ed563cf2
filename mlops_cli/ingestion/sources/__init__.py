"""Where tables come from: a table of source kinds with one signature.

A further kind is one module with ``open_table`` and one row in ``KINDS``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from mlops_cli.data.urls import mask_url
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest, format_of

if TYPE_CHECKING:
    from mlops_cli.params.data import Source

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
    """What each kind's module offers."""

    def open_table(self, request: SourceRequest) -> OpenedSource:
        """Look at the source and give a lazy table over it; reading comes later, in a stream."""


def source_kind(source: Source) -> str:
    """Tell a source's kind by its URI and ``format``."""
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
        If it isn't there, is empty, or isn't what its name or ``format`` says.
    """
    kind = source_kind(request.source)
    if kind == "file":
        kind = format_of(request)
    module = cast("SourceKind", import_module(f"{__name__}.{KINDS[kind]}"))
    return module.open_table(request)
