"""The formats of tables in files, told by the ending of a file's name."""

from __future__ import annotations

__all__ = ["ENDINGS", "format_of_name"]

ENDINGS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""Ending of a file's name -> format; each but Parquet may be followed by .gz."""


def format_of_name(name: str) -> str | None:
    """Tell the format by a file's name; None if its ending isn't known.

    Examples
    --------
    >>> format_of_name("orders.CSV.gz"), format_of_name("orders.parquet.gz")
    ('csv', None)
    """
    lower = name.lower()
    inner = lower.removesuffix(".gz")
    kind = next((kind for ending, kind in ENDINGS.items() if inner.endswith(ending)), None)
    return None if kind == "parquet" and inner != lower else kind
