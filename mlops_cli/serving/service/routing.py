"""Rows by the version that answers them: one for all, or a canary for some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.online.request_rows import ParsedRows, RowError
    from mlops_cli.serving.scorer import ScoredRows
    from mlops_cli.serving.service.loaded_model import LoadedModel
    from mlops_cli.serving.service.versions import Versions

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["RoutedRows", "response_model", "route", "row_errors"]

_PIECE = 1024
"""Rows of a large request that are scored and written together: each further piece costs a batch's
fixed time and a commit, and more rows than that keep others waiting."""


@dataclass(slots=True)
class RoutedRows:
    """Rows that one version answers.

    Attributes
    ----------
    places
        Where they stand among all rows; None where the version answers all.
    table
        The rows, where they came as one; then only its pieces have them as objects, which take ten
        times the memory.
    """

    served: LoadedModel
    places: list[int] | None
    rows: Rows
    read: ParsedRows
    scored: ScoredRows | None = None
    table: pl.DataFrame | None = None

    def place(self, told: list[str], answers: list[str]) -> None:
        """Put what is told of the rows where they stand."""
        if self.places is None:
            answers[:] = told
            return
        for place, answer in zip(self.places, told, strict=True):
            answers[place] = answer

    def pieces(self) -> Iterator[RoutedRows]:
        """Pieces to score one after the other; while one is scored, the one before is written."""
        size = len(self.rows) if self.table is None else self.table.height
        for start in range(0, size, _PIECE):
            if self.table is None:
                rows = self.rows[start : start + _PIECE]
            else:
                rows = self.table[start : start + _PIECE].to_dicts()
            yield RoutedRows(self.served, self.places, rows, self.read.part(start, len(rows)))


def route(versions: Versions, rows: Rows | pl.DataFrame) -> list[RoutedRows]:
    """Raw rows by the version that answers them, read by it."""
    parts = []
    for served, places in versions.answering(rows):
        if isinstance(rows, list):
            some = rows if places is None else [rows[i] for i in places]
            parts.append(RoutedRows(served, places, some, served.fitting(served.scorer.read(some))))
        else:
            frame: pl.DataFrame = rows if places is None else rows[places]  # type: ignore[assignment, call-overload]
            read = served.fitting(served.scorer.read_frame(frame))
            parts.append(RoutedRows(served, places, [], read, table=frame))
    return parts


def row_errors(parts: Sequence[RoutedRows]) -> list[RowError]:
    """What is wrong with rows, by where they stand among all."""
    if len(parts) == 1 and parts[0].places is None:
        return list(parts[0].read.errors)
    errors = [
        replace(e, row=None if e.row is None or part.places is None else part.places[e.row])
        for part in parts
        for e in part.read.errors
    ]
    return sorted(errors, key=lambda e: -1 if e.row is None else e.row)


def response_model(parts: Sequence[RoutedRows], rows: range) -> LoadedModel:
    """In whose name an answer is headed: the version of all of its rows, else the first."""
    for part in parts[1:]:
        if part.places is not None and set(rows) <= set(part.places):
            return part.served
    return parts[0].served
