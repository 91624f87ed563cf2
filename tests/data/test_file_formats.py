"""File formats by the extensions of file names."""

from __future__ import annotations

import pytest

from mlops_cli.data.file_formats import format_of_name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("orders.CSV.gz", "csv"),
        ("orders.ndjson", "jsonl"),
        ("orders.pq", "parquet"),
        ("orders.parquet.gz", None),
        ("orders.txt", None),
    ],
)
def test_the_ending_tells_the_format(name: str, kind: str | None) -> None:
    assert format_of_name(name) == kind
