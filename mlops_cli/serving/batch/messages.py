"""What batch prediction tells of rows: warnings of scored ones, reasons of rejected ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_cli.online.request_rows import ParsedRows
    from mlops_cli.serving.row_files import RowBatch

__all__ = ["rejected_rows", "warning_texts"]


def warning_texts(read: ParsedRows) -> list[str | None]:
    """What is told of each row that has a prediction; None of most."""
    told: dict[int, list[str]] = {}
    for warning in read.warnings:
        told.setdefault(warning.row, []).append(warning.message)
    for row, count in read.unlisted().items():
        told.setdefault(row, []).append(f"and {count} more")
    return ["; ".join(told[row]) if row in told else None for row in read.index]


def rejected_rows(part: RowBatch, errors: Sequence[Any], before: int) -> list[dict[str, Any]]:
    """What is told of each row without a prediction: which one, why, and what it holds."""
    reasons: dict[int, list[Any]] = {}
    for error in errors:
        reasons.setdefault(error.row, []).append(error)
    told = [
        {
            "row": before + part.index[row],
            "file": str(part.file),
            "reason": "; ".join(e.message for e in found),
            "columns": [e.column for e in found],
            "input": _plain(given),
        }
        for (row, found), given in zip(
            reasons.items(), part.whole(list(reasons)) if reasons else [], strict=True
        )
    ]
    told += [
        {
            "row": before + broken.row,
            "file": str(part.file),
            "reason": broken.reason,
            "columns": [],
            "input": broken.given,
        }
        for broken in part.broken
    ]
    return sorted(told, key=lambda line: int(line["row"]))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
