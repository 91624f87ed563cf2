"""Rows of a table with a value that the feature program can't take, found by halves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.online.request_rows import ParsedRows, RowError
from mlops_cli.serving.scorer import UnscorableValue

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.serving.batch.scoring import Scoring

__all__ = ["read_scorable"]

_MOST = 1_000
"""Such rows of one slice; with more, it is not the rows that are at fault."""


def read_scorable(scoring: Scoring, frame: pl.DataFrame) -> ParsedRows:
    """What ``scoring.read`` gives, with such rows among its errors.

    Raises
    ------
    Unscorable
        If there are more than a thousand.
    """
    reasons: dict[int, str] = {}
    _find(scoring, frame, 0, reasons)
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


def _find(scoring: Scoring, frame: pl.DataFrame, start: int, reasons: dict[int, str]) -> None:
    """Row -> why it can't be scored."""
    try:
        read = scoring.read(frame)
        if read.frame.height:
            scoring.score(read.frame)
    except UnscorableValue as error:
        if frame.height == 1:
            reasons[start] = error.message
            if len(reasons) > _MOST:
                raise
            return
        half = frame.height // 2
        _find(scoring, frame[:half], start, reasons)
        _find(scoring, frame[half:], start + half, reasons)
