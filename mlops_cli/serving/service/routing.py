"""Routes rows to the production or canary version."""

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

_CHUNK_ROWS = 1024
"""Rows of a large request that are scored and logged together: each chunk has a batch's fixed cost
and a commit, and larger chunks would keep other requests waiting."""


@dataclass(slots=True)
class RoutedRows:
    """Rows that one version responds to.

    Attributes
    ----------
    positions
        Their positions among all rows; None if the version responds to all.
    table
        The rows, if they came as a table. Only its chunks become objects, which take ten times the
        memory.
    """

    served: LoadedModel
    positions: list[int] | None
    rows: Rows
    parsed: ParsedRows
    scored: ScoredRows | None = None
    table: pl.DataFrame | None = None

    def put_answers(self, part_answers: list[str], all_answers: list[str]) -> None:
        """Put the answers to these rows at their positions among all answers."""
        if self.positions is None:
            all_answers[:] = part_answers
            return
        for place, answer in zip(self.positions, part_answers, strict=True):
            all_answers[place] = answer

    def chunks(self) -> Iterator[RoutedRows]:
        """Chunks to score in turn; while one is scored, the previous one is written to the log."""
        size = len(self.rows) if self.table is None else self.table.height
        for start in range(0, size, _CHUNK_ROWS):
            if self.table is None:
                rows = self.rows[start : start + _CHUNK_ROWS]
            else:
                rows = self.table[start : start + _CHUNK_ROWS].to_dicts()
            yield RoutedRows(self.served, self.positions, rows, self.parsed.slice(start, len(rows)))


def route(versions: Versions, rows: Rows | pl.DataFrame) -> list[RoutedRows]:
    """Group raw rows by the version that responds to them, parsed by that version."""
    parts = []
    for served, places in versions.assign_rows(rows):
        if isinstance(rows, list):
            own_rows = rows if places is None else [rows[i] for i in places]
            parts.append(
                RoutedRows(
                    served,
                    places,
                    own_rows,
                    served.refuse_long_entities(served.scorer.read(own_rows)),
                )
            )
        else:
            frame: pl.DataFrame = rows if places is None else rows[places]  # type: ignore[assignment, call-overload]
            read = served.refuse_long_entities(served.scorer.read_frame(frame))
            parts.append(RoutedRows(served, places, [], read, table=frame))
    return parts


def row_errors(parts: Sequence[RoutedRows]) -> list[RowError]:
    """Errors of the rows, by their positions among all rows."""
    if len(parts) == 1 and parts[0].positions is None:
        return list(parts[0].parsed.errors)
    errors = [
        replace(e, row=None if e.row is None or part.positions is None else part.positions[e.row])
        for part in parts
        for e in part.parsed.errors
    ]
    return sorted(errors, key=lambda e: -1 if e.row is None else e.row)


def response_model(parts: Sequence[RoutedRows], rows: range) -> LoadedModel:
    """The version named in a response's head: the one that scored all its rows, else the first."""
    for part in parts[1:]:
        if part.positions is not None and set(rows) <= set(part.positions):
            return part.served
    return parts[0].served
