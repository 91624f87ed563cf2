"""Bisection for the rows whose values make the feature program fail, so that others are scored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.online.request_rows import ParsedRows, RowError
from mlops_cli.serving.scorer import UnscorableValue

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.serving.batch.scoring import Scoring

__all__ = ["read_scorable"]

_MAX_UNSCORABLE = 1_000
"""Limit of unscorable rows in one slice; if there are more, the cause isn't the rows."""


def read_scorable(scoring: Scoring, frame: pl.DataFrame) -> ParsedRows:
    """Parse rows like ``scoring.read``, and add an error for each row that can't be scored.

    Raises
    ------
    UnscorableValue
        If more than a thousand rows can't be scored.
    """
    reasons: dict[int, str] = {}
    _find_unscorable(scoring, frame, 0, reasons)
    places = [row for row in range(frame.height) if row not in reasons]
    read = scoring.read(frame[places])
    errors = [replace(e, row=None if e.row is None else places[e.row]) for e in read.errors]
    errors += [RowError(row, "", None, reason) for row, reason in reasons.items()]
    return ParsedRows(
        read.frame,
        [places[row] for row in read.index],
        tuple(sorted(errors, key=lambda e: -1 if e.row is None else e.row)),
        tuple(replace(w, row=places[w.row]) for w in read.warnings),
        read.flagged,
    )


def _find_unscorable(
    scoring: Scoring, frame: pl.DataFrame, start: int, reasons: dict[int, str]
) -> None:
    """Add the rows that can't be scored to ``reasons``: row number -> message."""
    try:
        read = scoring.read(frame)
        if read.frame.height:
            scoring.score(read.frame)
    except UnscorableValue as error:
        if frame.height == 1:
            reasons[start] = error.message
            if len(reasons) > _MAX_UNSCORABLE:
                raise
            return
        half = frame.height // 2
        _find_unscorable(scoring, frame[:half], start, reasons)
        _find_unscorable(scoring, frame[half:], start + half, reasons)
