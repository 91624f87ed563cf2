"""What a table looks like, in a few hundred kilobytes that add up: the reference, and windows.

A reference profile fixes how each column is coded (``drift.binning``) and keeps counts by code, how
far consecutive rows hang together, and a sample of rows as codes. Later rows are read in the same
codings. So no row of the training data is needed to compare with, only the profile.
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

    Each = Callable[[Callable[[str], Sketch], Iterable[str]], Iterable[Sketch]]

__all__ = ["Profile"]

_FORMAT = 1
_WORKERS = 8


@dataclass(frozen=True)
class Profile:
    """Sketches of columns, and a sample of rows.

    Parameters
    ----------
    columns
        Name -> sketch.
    sample
        Some of the rows.
    dependence
        Name -> how consecutive rows hang together; in a reference only.
    seed
        Which rows are in the sample.
    """

    columns: Mapping[str, Sketch]
    sample: Sample
    dependence: Mapping[str, DesignEffect] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def reference(cls, frame: pl.DataFrame, kinds: Mapping[str, str], *, seed: int = 0) -> Profile:
        """The profile of rows that fix the codings.

        Parameters
        ----------
        frame
            The rows, in the order of time if they have one.
        kinds
            Column -> number, boolean or category.
        seed
            Of the sample.
        """
        codings = {name: Binning.fit(frame[name], kind) for name, kind in kinds.items()}
        empty = cls(
            {n: Sketch.nothing(c) for n, c in codings.items()}, Sample.none(codings), seed=seed
        )
        whole = empty.of(frame)
        dependence = {
            name: DesignEffect.of(c.codes(frame[name]), ordered=c.kind == "number")
            for name, c in codings.items()
        }
        return replace(whole, dependence=dependence)

    @property
    def rows(self) -> int:
        """How many rows were seen."""
        return self.sample.seen

    @property
    def codings(self) -> dict[str, Binning]:
        """Column -> how it is coded."""
        return {name: sketch.coding for name, sketch in self.columns.items()}

    def of(self, frame: pl.DataFrame, start: int = 0, each: Each | None = None) -> Profile:
        """The profile of other rows in this one's codings.

        Parameters
        ----------
        frame
            The rows; columns of no coding are passed over.
        start
            The number of the first row in its stream: parts of one stream need different ones.
        each
            What does the work of each column, as ``map`` would; None: several threads.
        """
        if each is not None:
            return self._of(frame, start, each)
        with ThreadPoolExecutor(_cores()) as pool:
            return self._of(frame, start, pool.map)

    def over(self, batches: Iterable[pl.DataFrame]) -> Profile:
        """The profile of a stream of rows, of which one batch at a time is in memory."""
        total = self.of(self._nothing())
        with ThreadPoolExecutor(_cores()) as pool:
            for batch in batches:
                part = self._of(batch, total.rows, pool.map, below=total.sample.bar)
                total = total.merge(part)
        return total

    def merge(self, other: Profile) -> Profile:
        """The profile of this one's rows and then the other's.

        Raises
        ------
        ValueError
            If the two are not in the same codings.
        """
        columns = {name: s.merge(other.columns[name]) for name, s in self.columns.items()}
        return Profile(columns, self.sample.merge(other.sample), seed=self.seed)

    def to_json(self) -> dict[str, Any]:
        """As plain values; the sample as base64 text of its codes."""
        columns = {
            name: {
                **sketch.to_json(),
                **(
                    {"dependence": self.dependence[name].to_json()}
                    if name in self.dependence
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
        """From what ``to_json`` gave."""
        columns = {name: Sketch.from_json(entry) for name, entry in tree["columns"].items()}
        dependence = {
            name: DesignEffect.from_json(entry["dependence"])
            for name, entry in tree["columns"].items()
            if "dependence" in entry
        }
        codings = {name: sketch.coding for name, sketch in columns.items()}
        return cls(columns, Sample.from_json(tree["sample"], codings), dependence, tree["seed"])

    def _nothing(self) -> pl.DataFrame:
        import polars as pl

        return pl.DataFrame({name: pl.Series([], dtype=pl.Null) for name in self.columns})

    def _of(
        self,
        frame: pl.DataFrame,
        start: int,
        each: Each,
        *,
        below: int | None = None,
    ) -> Profile:
        given = dict.fromkeys(frame.columns)

        def sketch(name: str) -> Sketch:
            coding = self.columns[name].coding
            if name not in given:
                return Sketch.nothing(coding, frame.height)
            return Sketch.of(coding, coding.read(frame[name]))

        sketches = dict(zip(self.columns, each(sketch, self.columns), strict=True))
        sample = Sample.of(frame, self.codings, start=start, seed=self.seed, below=below)
        return Profile(sketches, sample, seed=self.seed)


def _cores() -> int:
    return max(1, min(_WORKERS, os.cpu_count() or 1))
