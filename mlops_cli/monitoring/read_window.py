"""Reads a window of the event log: a version's predictions, and their labels.

Predictions are read in pages. Only outputs, times, latencies, slices and hashes of the labels' keys
are kept. The features go into a profile, whose size doesn't grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring.parse_events import Parser
from mlops_cli.monitoring.window import NO_LABEL, Window

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.events.reader import Reader, TimeColumn
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.reporting import Progress

__all__ = ["Span", "WindowData", "read_window"]

_COLUMNS = ("id", "at", "moment", "entity", "milliseconds", "inputs", "features", "output", "role")


@dataclass(frozen=True)
class Span:
    """An interval ``[since, until)``, in seconds since 1970, of request times or of moments."""

    since: float
    until: float
    by: TimeColumn


@dataclass(frozen=True)
class WindowData:
    """A window, a sample of its logged rows, and counts of what couldn't be read.

    Attributes
    ----------
    window
        The window to evaluate.
    sample
        Some rows, with ``inputs`` and ``features`` as logged, and their ``moment``.
    unreadable_rows
        Number of predictions that don't fit this version's features or task.
    unknown_labels
        Number of labels that are no number, or none of the model's classes.
    """

    window: Window
    sample: pl.DataFrame
    unreadable_rows: int
    unknown_labels: int


@dataclass
class _PageCollector:
    """Collects what is kept of the pages."""

    parser: Parser
    slices: Sequence[str]
    max_sample_rows: int
    frames: list[pl.DataFrame] = field(default_factory=list)
    slice_columns: list[pl.DataFrame] = field(default_factory=list)
    outputs: list[NDArray[np.float64]] = field(default_factory=list)
    samples: list[pl.DataFrame] = field(default_factory=list)

    def features(self, pages: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the features of page after page, and collect the rest."""
        for page in pages:
            rows, features, output = self.parser.parse_predictions(page)
            if not len(rows):
                continue
            self.frames.append(rows.select(_row_facts()))
            self.slice_columns.append(features.select(self.slices))
            self.outputs.append(output)
            self._add_sample(rows)
            yield features

    def _add_sample(self, page: pl.DataFrame) -> None:
        """Sample a few rows of each page; thin the sample if there are many pages."""
        if self.max_sample_rows:
            self.samples.append(
                page.select("inputs", "features", "moment").gather_every(
                    max(len(page) // self.max_sample_rows, 1)
                )[: self.max_sample_rows]
            )
        if sum(map(len, self.samples)) > 4 * self.max_sample_rows:
            self.samples = [self.sample]

    @property
    def sample(self) -> pl.DataFrame:
        import polars as pl

        if not self.samples:
            return pl.DataFrame(schema={"inputs": pl.String, "features": pl.String})
        rows = pl.concat(self.samples)
        return rows.gather_every(max(-(-len(rows) // max(self.max_sample_rows, 1)), 1))


def read_window(
    reader: Reader,
    span: Span,
    version: str,
    baseline: Baseline,
    *,
    slices: Sequence[str],
    sample_rows: int,
    progress: Progress,
) -> WindowData:
    """Read a version's predictions in a span, with the latest label of each prediction.

    Raises
    ------
    SourceUnreadable
        If the connection to the database is lost.
    """
    import numpy as np
    import polars as pl

    parser = Parser(baseline)
    collector = _PageCollector(parser, [s for s in slices if s in baseline.kinds], sample_rows)
    pages = reader.predictions(
        span.since, span.until, version=version, columns=_COLUMNS, time_column=span.by
    )
    features = collector.features(_count_rows(pages, progress))
    profile = None
    if baseline.reference is None:
        for _ in features:
            pass
    else:
        profile = baseline.reference.inputs.profile_batches(features)
    if not collector.frames:
        no_output = np.zeros((0, len(baseline.labels.classes)) if baseline.labels.classes else 0)
        times = pl.Series("time", [], dtype=pl.Datetime("us", "UTC"))
        window = Window(times, no_output, np.zeros(0), None, pl.DataFrame())
        return WindowData(window, collector.sample, parser.unreadable_rows, 0)
    frame = pl.concat(collector.frames)
    time = "at" if span.by == "at" else "moment"
    order = frame[time].arg_sort()
    labels, unknown_labels = _find_labels(reader, frame, parser, progress)
    window = Window(
        frame[time][order],
        np.concatenate(collector.outputs)[order.to_numpy()],
        labels[order.to_numpy()],
        profile,
        _sort_rows(collector.slice_columns, order),
        frame["milliseconds"][order].to_numpy(),
        _first_and_last(frame["moment"].drop_nulls().sort()),
    )
    return WindowData(window, collector.sample, parser.unreadable_rows, unknown_labels)


def _sort_rows(parts: Sequence[pl.DataFrame], order: pl.Series) -> pl.DataFrame:
    import polars as pl

    rows = pl.concat(parts, how="vertical_relaxed")
    return rows[order] if rows.width else rows


def _first_and_last(moments: pl.Series) -> tuple[dt.datetime, dt.datetime] | None:
    return (moments[0], moments[-1]) if len(moments) else None


def _count_rows(pages: Iterator[pl.DataFrame], progress: Progress) -> Iterator[pl.DataFrame]:
    rows = 0
    for page in pages:
        yield page
        rows += len(page)
        progress.update(f"read {rows:,} predictions")


def _row_facts() -> list[Any]:
    import polars as pl

    # Hashes instead of texts: among ten million rows, two collide in one of 300,000 windows.
    return [
        pl.col("at"),
        pl.col("moment"),
        pl.col("milliseconds"),
        pl.col("id").hash().alias("by_id"),
        _entity_hash(),
    ]


def _entity_hash() -> Any:
    """Hash of entity and moment; null where either is missing."""
    import polars as pl

    both = pl.concat_str("entity", pl.col("moment").dt.epoch("us").cast(pl.String), separator="|")
    return pl.when(both.is_not_null()).then(both.hash()).alias("by_entity")


def _find_labels(
    reader: Reader, frame: pl.DataFrame, parser: Parser, progress: Progress
) -> tuple[NDArray[np.float64], int]:
    """Find each row's latest label, by id or by entity and moment; NaN where there is none."""
    import numpy as np
    import polars as pl

    keys_by_name = {
        "by_id": frame["by_id"].unique(),
        "by_entity": frame["by_entity"].drop_nulls().unique(),
    }
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in keys_by_name}
    # Read every label: a slow clock may date a label before its prediction.
    for page in reader.labels():
        progress.update("reading labels")
        labels = page.select(
            "value",
            "at",
            pl.when(pl.col("prediction").is_not_null())
            .then(pl.col("prediction").hash())
            .alias("by_id"),
            _entity_hash(),
        )
        for name, keys in keys_by_name.items():
            part = labels.filter(pl.col(name).is_in(keys.implode()))
            parts[name].append(part.select(pl.col(name).alias("key"), "value", "at"))
    rows = frame.select("by_id", "by_entity").with_row_index("row")
    matches = [
        rows.join(pl.concat(pages), left_on=name, right_on="key", how="inner")
        for name, pages in parts.items()
        if pages
    ]
    values_by_row = np.full(len(frame), NO_LABEL)
    if not matches:
        return values_by_row, 0
    last = (
        pl.concat([match.select("row", "value", "at") for match in matches])
        .sort("at")
        .group_by("row")
    )
    latest = last.agg(pl.col("value").last())
    values = latest["value"].unique()
    codes = dict(zip(values.to_list(), parser.parse_labels(values.to_list()), strict=True))
    codes_by_row = np.array([codes[v] for v in latest["value"].to_list()], dtype=np.float64)
    values_by_row[latest["row"].to_numpy()] = codes_by_row
    return values_by_row, int(np.isnan(codes_by_row).sum())
