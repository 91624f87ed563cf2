"""Mergeable profile of a table, of the reference or a window, in a few hundred kilobytes.

A reference profile fixes the binning of each column (``drift.binning``). It holds counts by code,
the design effect of consecutive rows, and a sample of rows as codes. Later rows are counted in the
same binnings. So a comparison needs no rows of the training data, only the profile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlops_cli.drift.binning import Binning
from mlops_cli.drift.column_sketch import Sketch
from mlops_cli.drift.effective_sample_size import DesignEffect
from mlops_cli.drift.row_sample import Sample

if TYPE_CHECKING:
    import polars as pl

    ColumnMapper = Callable[[Callable[[str], Sketch], Iterable[str]], Iterable[Sketch]]

__all__ = ["Profile"]

_FORMAT = 1
_MAX_THREADS = 8


@dataclass(frozen=True)
class Profile:
    """Sketches of a table's columns, and a sample of its rows.

    Parameters
    ----------
    columns
        Name -> sketch.
    sample
        Some of the rows.
    design_effects
        Name -> design effect of consecutive rows; only in a reference.
    seed
        Seed of the sample.
    """

    columns: Mapping[str, Sketch]
    sample: Sample
    design_effects: Mapping[str, DesignEffect] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def fit(cls, frame: pl.DataFrame, kinds: Mapping[str, str], *, seed: int = 0) -> Profile:
        """Profile reference rows, which fix the binnings.

        Parameters
        ----------
        frame
            The rows, in order of time if they have one.
        kinds
            Column -> number, boolean or category.
        seed
            Seed of the sample.
        """
        binnings = {name: Binning.fit(frame[name], kind) for name, kind in kinds.items()}
        empty = cls(
            {n: Sketch.from_absent_column(c) for n, c in binnings.items()},
            Sample.empty(binnings),
            seed=seed,
        )
        profile = empty.profile_frame(frame)
        design_effects = {
            name: DesignEffect.measure(c.codes(frame[name]), ordered=c.kind == "number")
            for name, c in binnings.items()
        }
        return replace(profile, design_effects=design_effects)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.sample.stream_rows

    @property
    def binnings(self) -> dict[str, Binning]:
        """Column -> binning."""
        return {name: sketch.binning for name, sketch in self.columns.items()}

    def profile_frame(
        self, frame: pl.DataFrame, start: int = 0, map_columns: ColumnMapper | None = None
    ) -> Profile:
        """Profile other rows in the same binnings.

        Parameters
        ----------
        frame
            The rows; columns without a binning are ignored.
        start
            Number of the first row in its stream; parts of one stream need different ones.
        map_columns
            Applies a function to each column, like ``map``; None: in several threads.
        """
        if map_columns is not None:
            return self._profile_rows(frame, start, map_columns)
        with ThreadPoolExecutor(_thread_count()) as pool:
            return self._profile_rows(frame, start, pool.map)

    def profile_batches(self, batches: Iterable[pl.DataFrame]) -> Profile:
        """Profile a stream of rows, with one batch at a time in memory."""
        total = self.profile_frame(self._empty_frame())
        with ThreadPoolExecutor(_thread_count()) as pool:
            for batch in batches:
                part = self._profile_rows(
                    batch, total.rows, pool.map, rank_limit=total.sample.rank_limit
                )
                total = total.merge(part)
        return total

    def merge(self, other: Profile) -> Profile:
        """Profile this one's rows followed by the other's.

        Raises
        ------
        ValueError
            If the two have different binnings.
        """
        columns = {name: s.merge(other.columns[name]) for name, s in self.columns.items()}
        return Profile(columns, self.sample.merge(other.sample), seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON; the sample as base64 text of its codes."""
        columns = {
            name: {
                **sketch.to_json(),
                **(
                    {"dependence": self.design_effects[name].to_json()}
                    if name in self.design_effects
                    else {}
                ),
            }
            for name, sketch in self.columns.items()
        }
        return {
            "format": _FORMAT,
            "seed": self.seed,
            "columns": columns,
            "sample": self.sample.to_json(),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Profile:
        """Restore from the result of ``to_json``."""
        columns = {name: Sketch.from_json(entry) for name, entry in tree["columns"].items()}
        design_effects = {
            name: DesignEffect.from_json(entry["dependence"])
            for name, entry in tree["columns"].items()
            if "dependence" in entry
        }
        binnings = {name: sketch.binning for name, sketch in columns.items()}
        return cls(
            columns, Sample.from_json(tree["sample"], binnings), design_effects, tree["seed"]
        )

    def _empty_frame(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame({name: pl.Series([], dtype=pl.Null) for name in self.columns})

    def _profile_rows(
        self,
        frame: pl.DataFrame,
        start: int,
        map_columns: ColumnMapper,
        *,
        rank_limit: int | None = None,
    ) -> Profile:
        frame_columns = dict.fromkeys(frame.columns)

        def sketch(name: str) -> Sketch:
            binning = self.columns[name].binning
            if name not in frame_columns:
                return Sketch.from_absent_column(binning, frame.height)
            return Sketch.from_binned(binning, binning.count_values(frame[name]))

        sketches = dict(zip(self.columns, map_columns(sketch, self.columns), strict=True))
        sample = Sample.draw(
            frame, self.binnings, start=start, seed=self.seed, rank_limit=rank_limit
        )
        return Profile(sketches, sample, seed=self.seed)


def _thread_count() -> int:
    return max(1, min(_MAX_THREADS, os.cpu_count() or 1))
