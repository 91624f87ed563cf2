"""A window of the event log: what a version predicted, and the labels that have come since.

Predictions are read in pages, of which little is kept: output, times, a hash of what labels name.
Their features go into a profile, whose size doesn't grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring.parse_events import Parser
from mlops_cli.monitoring.window import UNKNOWN, Window

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.events.reader import By, Reader
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.reporting import Progress

__all__ = ["Span", "WindowData", "read_window"]

_KEPT = ("id", "at", "moment", "entity", "milliseconds", "inputs", "features", "output", "role")


@dataclass(frozen=True)
class Span:
    """An interval ``[since, until)``, in seconds since 1970, of times asked or of moments."""

    since: float
    until: float
    by: By


@dataclass(frozen=True)
class WindowData:
    """What was read.

    Attributes
    ----------
    window
        To be judged.
    sample
        Some rows with ``inputs`` and ``features`` as they were logged, and their ``moment``.
    unread
        Predictions that aren't of this version's signature.
    strange
        Labels that are none of the model's classes, or no number.
    """

    window: Window
    sample: pl.DataFrame
    unread: int
    strange: int


@dataclass
class _Gathered:
    """What is kept of the pages."""

    parser: Parser
    slices: Sequence[str]
    most: int
    frames: list[pl.DataFrame] = field(default_factory=list)
    sliced: list[pl.DataFrame] = field(default_factory=list)
    outputs: list[NDArray[np.float64]] = field(default_factory=list)
    samples: list[pl.DataFrame] = field(default_factory=list)

    def features(self, pages: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The features of page after page, while the rest is kept."""
        for page in pages:
            kept, features, output = self.parser.predictions(page)
            if not len(kept):
                continue
            self.frames.append(kept.select(_facts()))
            self.sliced.append(features.select(self.slices))
            self.outputs.append(output)
            self._sample(kept)
            yield features

    def _sample(self, page: pl.DataFrame) -> None:
        """A few of each page, thinned where there are many pages."""
        if self.most:
            self.samples.append(
                page.select("inputs", "features", "moment").gather_every(
                    max(len(page) // self.most, 1)
                )[: self.most]
            )
        if sum(map(len, self.samples)) > 4 * self.most:
            self.samples = [self.sample]

    @property
    def sample(self) -> pl.DataFrame:
        import polars as pl

        if not self.samples:
            return pl.DataFrame(schema={"inputs": pl.String, "features": pl.String})
        whole = pl.concat(self.samples)
        return whole.gather_every(max(-(-len(whole) // max(self.most, 1)), 1))


def read_window(
    reader: Reader,
    span: Span,
    version: str,
    basis: Baseline,
    *,
    slices: Sequence[str],
    sample: int,
    progress: Progress,
) -> WindowData:
    """Read what a version predicted in a span, with the latest label of each prediction.

    Raises
    ------
    SourceUnreadable
        If the database goes away.
    """
    import numpy as np
    import polars as pl

    parser = Parser(basis)
    gathered = _Gathered(parser, [s for s in slices if s in basis.kinds], sample)
    pages = reader.predictions(span.since, span.until, version=version, columns=_KEPT, by=span.by)
    features = gathered.features(_counted(pages, progress))
    profile = None
    if basis.reference is None:
        for _ in features:
            pass
    else:
        profile = basis.reference.inputs.over(features)
    if not gathered.frames:
        none = np.zeros((0, len(basis.labels.classes)) if basis.labels.classes else 0)
        times = pl.Series("time", [], dtype=pl.Datetime("us", "UTC"))
        window = Window(times, none, np.zeros(0), None, pl.DataFrame())
        return WindowData(window, gathered.sample, parser.unread, 0)
    frame = pl.concat(gathered.frames)
    time = "at" if span.by == "at" else "moment"
    order = frame[time].arg_sort()
    known, strange = _labels(reader, frame, parser, progress)
    window = Window(
        frame[time][order],
        np.concatenate(gathered.outputs)[order.to_numpy()],
        known[order.to_numpy()],
        profile,
        _sorted(gathered.sliced, order),
        frame["milliseconds"][order].to_numpy(),
        _ends(frame["moment"].drop_nulls().sort()),
    )
    return WindowData(window, gathered.sample, parser.unread, strange)


def _sorted(parts: Sequence[pl.DataFrame], order: pl.Series) -> pl.DataFrame:
    import polars as pl

    whole = pl.concat(parts, how="vertical_relaxed")
    return whole[order] if whole.width else whole


def _ends(moments: pl.Series) -> tuple[dt.datetime, dt.datetime] | None:
    return (moments[0], moments[-1]) if len(moments) else None


def _counted(pages: Iterator[pl.DataFrame], progress: Progress) -> Iterator[pl.DataFrame]:
    rows = 0
    for page in pages:
        yield page
        rows += len(page)
        progress.update(f"read {rows:,} predictions")


def _facts() -> list[Any]:
    import polars as pl

    # Hashes instead of texts: of ten million rows two would agree once in 300,000 windows.
    return [
        pl.col("at"),
        pl.col("moment"),
        pl.col("milliseconds"),
        pl.col("id").hash().alias("by_id"),
        _about(),
    ]


def _about() -> Any:
    """One number for an entity at a moment; null where either lacks."""
    import polars as pl

    both = pl.concat_str("entity", pl.col("moment").dt.epoch("us").cast(pl.String), separator="|")
    return pl.when(both.is_not_null()).then(both.hash()).alias("by_entity")


def _labels(
    reader: Reader, frame: pl.DataFrame, parser: Parser, progress: Progress
) -> tuple[NDArray[np.float64], int]:
    """The latest label of each row, by its id or by entity and moment; NaN where there is none."""
    import numpy as np
    import polars as pl

    wanted = {
        "by_id": frame["by_id"].unique(),
        "by_entity": frame["by_entity"].drop_nulls().unique(),
    }
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in wanted}
    # Every label: one may have been received before its prediction, by a clock that is behind.
    for page in reader.labels():
        progress.update("reading labels")
        read = page.select(
            "value",
            "at",
            pl.when(pl.col("prediction").is_not_null())
            .then(pl.col("prediction").hash())
            .alias("by_id"),
            _about(),
        )
        for name, keys in wanted.items():
            part = read.filter(pl.col(name).is_in(keys.implode()))
            parts[name].append(part.select(pl.col(name).alias("key"), "value", "at"))
    rows = frame.select("by_id", "by_entity").with_row_index("row")
    both = [
        rows.join(pl.concat(found), left_on=name, right_on="key", how="inner")
        for name, found in parts.items()
        if found
    ]
    known = np.full(len(frame), UNKNOWN)
    if not both:
        return known, 0
    last = pl.concat([b.select("row", "value", "at") for b in both]).sort("at").group_by("row")
    latest = last.agg(pl.col("value").last())
    values = latest["value"].unique()
    codes = dict(zip(values.to_list(), parser.labels(values.to_list()), strict=True))
    told = np.array([codes[v] for v in latest["value"].to_list()], dtype=np.float64)
    known[latest["row"].to_numpy()] = told
    return known, int(np.isnan(told).sum())
