"""Reader of labels in the rows of files, which counts the rows that are no valid labels."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused, nearest

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.events import Label
    from mlops_cli.reporting import Progress
    from mlops_cli.serving.row_files import RowFiles
    from mlops_cli.serving.service.labels import LabelParser

__all__ = ["ImportResult", "LabelReader"]

_READ_BATCH = 50_000
"""Rows of a file that are read at a time."""
_MAX_EXAMPLES = 100
"""Limit of bad rows that are listed with their reason."""


@dataclass
class ImportResult:
    """Counts of imported labels by result.

    Attributes
    ----------
    version
        The version whose rules were used.
    counts
        new; same (as a stored label); changed; unknown (no such prediction yet, stored anyway).
    contradicting
        Rows of the files whose label is replaced by a later row for the same prediction.
    bad
        Rows that are no valid labels; ``examples`` has the first of them.
    """

    version: str
    counts: Counter[str] = field(default_factory=Counter)
    contradicting: int = 0
    bad: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add_bad_row(self, row: int, file: str, message: str) -> None:
        """Count a bad row."""
        self.bad += 1
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append({"file": file, "row": row, "message": message})


@dataclass(frozen=True)
class LabelReader:
    """Parses rows of a table as labels, and counts the bad ones.

    Attributes
    ----------
    by_id
        True if rows have the ``id`` of a prediction; otherwise they have entity and time.
    time_column, label_column
        The columns of the time and of the label.
    result
        The import's result, to which bad rows are added.
    """

    parser: LabelParser
    by_id: bool
    time_column: str
    label_column: str
    result: ImportResult

    @classmethod
    def from_columns(
        cls, parser: LabelParser, columns: Sequence[str], label_column: str, result: ImportResult
    ) -> LabelReader:
        """Read rows with these columns.

        Raises
        ------
        DataRefused
            If there is no column with the labels, or the columns don't identify predictions.
        """
        if label_column not in columns:
            raise DataRefused(
                f"there is no column {label_column!r} with the labels",
                f"{nearest(label_column, columns)} (--label)",
            )
        base_time = parser.served.scorer.program.base.time
        times = [c for c in ("time", base_time) if c is not None and c in columns]
        missing = [c for c in parser.entity_columns if c not in columns]
        if "id" not in columns and (not parser.entity_columns or missing or not times):
            entity = ", ".join((*parser.entity_columns, base_time or "time"))
            raise DataRefused(
                "the columns don't identify the predictions of the labels: there is no `id`, "
                f"nor all of {entity or 'an entity'}",
                "Name them so in the file's header.",
            )
        return cls(parser, "id" in columns, times[0] if times else "", label_column, result)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        identifiers = ["id"] if self.by_id else [*self.parser.entity_columns, self.time_column]
        return list(dict.fromkeys([*identifiers, self.label_column]))

    def read_all(self, rows: RowFiles, progress: Progress) -> list[Label]:
        """Parse all rows of the files; of several labels of a prediction, the last one counts."""
        latest: dict[str, Label] = {}
        now, row = time.time(), 0
        while batches := rows.read_batches(_READ_BATCH):
            for batch in batches:
                for broken in batch.broken:
                    self.result.add_bad_row(row + broken.row + 1, batch.file.name, broken.reason)
                for new_label in self._parse(batch.frame, batch.index, row, batch.file.name, now):
                    previous = latest.get(new_label.key)
                    self.result.contradicting += (
                        previous is not None and previous.value != new_label.value
                    )
                    latest[new_label.key] = new_label
                row += batch.rows
            progress.update("rows read", row)
        return list(latest.values())

    def _parse(
        self,
        frame: pl.DataFrame,
        index: Sequence[int],
        first_row: int,
        file: str,
        received_at: float,
    ) -> Iterator[Label]:
        import polars as pl

        from mlops_cli.serving.service.labels import InvalidLabel

        is_text = frame[self.label_column].dtype == pl.String
        values = [
            self._class_or_number(v) if is_text else v for v in frame[self.label_column].to_list()
        ]
        rows = frame.select(self.columns).to_dicts()
        for position, row, value in zip(index, rows, values, strict=True):
            try:
                if self.by_id:
                    yield self.parser.by_id(row["id"], value, received_at)
                else:
                    when = row[self.time_column]
                    time_text = when.isoformat() if isinstance(when, dt.date) else when
                    moment = self.parser.parse_moment(time_text)
                    yield self.parser.by_entity(row, moment, value, received_at)
            except InvalidLabel as error:
                label = row.get(self.label_column)
                self.result.add_bad_row(
                    first_row + position + 1, file, f"{error} (label {label!r})"
                )

    def _class_or_number(self, text: str | None) -> Any:
        """Convert a text to a class of the model, or to a number for regression."""
        if text is None:
            return None
        labels = self.parser.served.scorer.bundle.labels
        if not labels.classes:
            try:
                return float(text)
            except ValueError:
                return text
        classes = dict(zip(labels.names, labels.classes, strict=True))
        return classes.get(text, classes.get(text.lower(), text))
