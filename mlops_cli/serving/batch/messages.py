"""Per-row messages of a batch prediction: warnings of scored rows, reasons of rejected rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_cli.online.request_rows import ParsedRows
    from mlops_cli.serving.row_files import RowBatch

__all__ = ["rejected_rows", "warning_texts"]


def warning_texts(parsed: ParsedRows) -> list[str | None]:
    """Return the warnings of each scored row as one text; None for rows without warnings."""
    messages: dict[int, list[str]] = {}
    for warning in parsed.warnings:
        messages.setdefault(warning.row, []).append(warning.message)
    for row, count in parsed.count_unlisted_warnings().items():
        messages.setdefault(row, []).append(f"and {count} more")
    return ["; ".join(messages[row]) if row in messages else None for row in parsed.index]


def rejected_rows(batch: RowBatch, errors: Sequence[Any], row_offset: int) -> list[dict[str, Any]]:
    """Return a record for each rejected row: its number, file, reason, columns and input values."""
    reasons: dict[int, list[Any]] = {}
    for error in errors:
        reasons.setdefault(error.row, []).append(error)
    records = [
        {
            "row": row_offset + batch.index[row],
            "file": str(batch.file),
            "reason": "; ".join(e.message for e in row_errors),
            "columns": [e.column for e in row_errors],
            "input": _json_values(values),
        }
        for (row, row_errors), values in zip(
            reasons.items(), batch.full_rows(list(reasons)) if reasons else [], strict=True
        )
    ]
    records += [
        {
            "row": row_offset + broken.row,
            "file": str(batch.file),
            "reason": broken.reason,
            "columns": [],
            "input": broken.content,
        }
        for broken in batch.broken
    ]
    return sorted(records, key=lambda record: int(record["row"]))


def _json_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replace what JSON can't represent: NaN and infinity become texts."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
