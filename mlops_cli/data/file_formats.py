"""File formats of tables, by the ending of the file's name."""

from __future__ import annotations

__all__ = ["EXTENSIONS", "format_of_name"]

EXTENSIONS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""Ending of a file's name -> format; each but Parquet may be followed by .gz."""


def format_of_name(name: str) -> str | None:
    """The format of a file, by its name; None for an unknown ending.

    Examples
    --------
    >>> format_of_name("orders.CSV.gz"), format_of_name("orders.parquet.gz")
    ('csv', None)
    """
    lower = name.lower()
    uncompressed = lower.removesuffix(".gz")
    kind = next(
        (kind for ending, kind in EXTENSIONS.items() if uncompressed.endswith(ending)), None
    )
    return None if kind == "parquet" and uncompressed != lower else kind
