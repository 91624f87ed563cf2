"""Drift tests of one column: a window against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.drift import significance
from mlops_cli.drift.binning import ABOVE, BELOW, MISSING, OTHER
from mlops_cli.drift.candidates import Candidate
from mlops_cli.drift.distances import cells, jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from mlops_cli.drift.drift_types import find_shift_or_scale, find_swap, median_ratio
from mlops_cli.drift.effective_sample_size import DesignEffect, cluster_design_effect
from mlops_cli.drift.name_cells import NameCells
from mlops_cli.drift.report import Bar, ColumnDrift, DriftRules

if TYPE_CHECKING:
    from mlops_cli.drift.column_sketch import Sketch
    from mlops_cli.drift.profile import Profile

__all__ = ["Column"]

_NAMED_ROWS = 10
"""Minimum rows with a category whose name is shown."""
_TREND_FAR = 10
"""Distance from the range, in its widths, that a trend by itself doesn't reach."""
_LARGE_SHARE = 0.2
"""Share of rows outside the reference's range that no dependence of the rows explains."""


@dataclass(frozen=True)
class Column:
    """One column of the reference and of a window, with effective sample sizes.

    Parameters
    ----------
    part, name
        ``inputs``, ``outputs`` or ``labels``; the column's name.
    reference, window
        The column's sketches.
    rules
        Thresholds of drift.
    m, n
        Effective rows with a value, of the reference and of the window.
    all_m, all_n
        Effective rows, with or without a value, for the test of missing values.
    longest_run
        Longest run of one value in the reference.
    has_trend
        Whether the reference has a trend (``DesignEffect.has_trend``).
    values
        A sample of the window's numbers.
    """

    part: str
    name: str
    reference: Sketch
    window: Sketch
    rules: DriftRules
    m: float
    n: float
    all_m: float
    all_n: float
    longest_run: int
    has_trend: bool
    values: np.ndarray[Any, np.dtype[np.float64]]

    @classmethod
    def from_profiles(
        cls, part: str, name: str, reference: Profile, window: Profile, rules: DriftRules
    ) -> Column:
        """Take a column from two profiles."""
        ours, theirs = reference.columns[name], window.columns[name]
        design_effect = reference.design_effects.get(name, DesignEffect())
        ordered = ours.binning.kind == "number"
        own_effect = 1.0
        if not theirs.absent and window.rows:
            own_effect = cluster_design_effect(
                window.sample.column_codes(name), window.rows, ordered=ordered
            )
        effective_share = min(
            design_effect.effective_rows(window.rows) / max(window.rows, 1), 1 / own_effect
        )
        return cls(
            part,
            name,
            ours,
            theirs,
            rules,
            m=max(
                design_effect.effective_rows(reference.rows) / reference.rows * ours.present, 1.0
            ),
            n=max(effective_share * theirs.present, min(theirs.present, 1.0)),
            all_m=design_effect.effective_rows(reference.rows, for_missing=True),
            all_n=design_effect.effective_rows(window.rows, for_missing=True),
            longest_run=design_effect.longest_run,
            has_trend=design_effect.has_trend,
            values=window.sample.column_values(name) if ordered else np.zeros(0),
        )

    @property
    def distances(self) -> ColumnDrift:
        """Distances between reference and window, without a verdict."""
        ours, theirs = self.reference, self.window
        is_number = ours.binning.kind == "number"
        cell_counts = cells(ours, theirs)
        drift = ColumnDrift(
            self.part,
            self.name,
            ours.binning.kind,
            theirs.present,
            self.n,
            _share(theirs.missing, theirs.rows),
            _share(ours.missing, ours.rows),
            bars=tuple(
                Bar(label, _share(p, ours.present), _share(q, theirs.present))
                for label, p, q in cell_counts
            ),
        )
        if not ours.present or not theirs.present:
            return drift
        p, q = (np.array([cell[side] for cell in cell_counts]) for side in (1, 2))
        chance = significance.distance_by_chance(len(cell_counts), self.m, self.n)
        return replace(
            drift,
            psi=psi(p, q, chance) if is_number else self.name_cells.distance(psi),
            js=jensen_shannon(p, q, chance)
            if is_number
            else self.name_cells.distance(jensen_shannon),
            ks=kolmogorov_smirnov(ours.counts[:MISSING], theirs.counts[:MISSING])
            if is_number
            else None,
            wasserstein=wasserstein(ours, theirs) if is_number else None,
            p_value=self._distribution_p_value(),
        )

    @cached_property
    def name_cells(self) -> NameCells:
        """Cells over which names are compared."""
        return NameCells.choose(self.reference, self.window, self.m, self.n)

    def find_failure(self) -> Candidate | None:
        """A failure of the whole column, after which no test makes sense; None if there is none."""
        ours, theirs, name = self.reference, self.window, self.name
        if theirs.absent:
            sentence = f"{name!r} is not among the columns of the {theirs.rows:,} rows"
            return Candidate("vanished", name, "missing share", 1.0, 1.0, None, True, sentence)
        misfits = _share(theirs.misfits, theirs.rows)
        if misfits > _share(ours.misfits, ours.rows) + self.rules.outside:
            sentence = (
                f"{misfits:.1%} of the rows have a value in {name!r} that can't be read as a "
                f"{ours.binning.kind} (type {theirs.dtype})"
            )
            details = {"type": theirs.dtype, "reference_type": ours.dtype}
            return Candidate(
                "type", name, "share of misfits", misfits, self.rules.outside, None, True, sentence,
                details=details,
            )  # fmt: skip
        return None

    def find_candidates(self, distances: ColumnDrift) -> Iterator[Candidate]:
        """Candidates that a test decides on."""
        yield self._test_missing()
        if not self.window.present or not self.reference.present:
            return
        if (constant := self._test_constant()) is not None:
            yield constant
        if (outside := self._test_outside()) is not None:
            yield outside
        if not self.reference.binning.untestable:
            yield self._test_drift(distances)

    def _test_missing(self) -> Candidate:
        before = _share(self.reference.missing, self.reference.rows)
        now = _share(self.window.missing, self.window.rows)
        size = significance.cohen_h(before, now)
        p_value = significance.proportions_p_value(before, now, self.all_m, self.all_n)
        large = abs(size) >= self.rules.missing
        details = {"share": now, "reference_share": before}
        if now == 1.0:
            sentence = (
                f"{self.name!r} is missing in all {self.window.rows:,} rows; in {before:.1%} of "
                "the reference's"
            )
            kind = "vanished"
        else:
            sentence = (
                f"{self.name!r} is missing in {now:.1%} of the rows; {before:.1%} in the reference"
            )
            kind = "missing"
        return Candidate(
            kind, self.name, "Cohen's h", abs(size), self.rules.missing, p_value, large, sentence,
            details=details,
        )  # fmt: skip

    def _test_constant(self) -> Candidate | None:
        ours, theirs = self.reference, self.window
        if theirs.distinct > 1 or ours.distinct < 2 or theirs.low != theirs.high:  # noqa: PLR2004
            return None
        code = int(np.argmax(theirs.counts[:MISSING]))
        if code == OTHER and len(theirs.others) > 1:
            return None
        value = f"{theirs.low:.6g}" if theirs.low is not None else repr(self._constant_name(code))
        share = (ours.counts[code] + 1) / (ours.present + 1)
        sentence = (
            f"{self.name!r} is {value} in all {theirs.present:,} rows that have it; in the "
            f"reference {ours.counts[code] / ours.present:.1%} are like this, and at most "
            f"{self.longest_run:,} in a row"
        )
        return Candidate(
            "constant",
            self.name,
            "equal rows",
            theirs.present,
            2 * self.longest_run,
            float(share**self.n),
            theirs.present > 2 * self.longest_run,
            sentence,
            details={"value": value},
        )

    def _constant_name(self, code: int) -> str:
        if self.window.others:
            return next(iter(self.window.others))
        return self.reference.binning.label(code)

    def _test_outside(self) -> Candidate | None:
        """Test numbers outside the reference's range, or categories that the reference lacks."""
        ours, theirs, rules = self.reference, self.window, self.rules
        share = theirs.outside / theirs.present
        if not share:
            return None
        if ours.binning.kind == "number":
            p_value = min(
                significance.outside_range_p_value(share, self.n, 2.0, self.m),
                self._far_outside_p_value(),
            )
            low, high = ours.binning.breaks[0], ours.binning.breaks[-1]
            sentence = (
                f"{share:.2%} of the values of {self.name!r} lie outside {low:.6g} to {high:.6g}, "
                f"the range of the reference; they go from {theirs.low:.6g} to {theirs.high:.6g}"
            )
            details = {
                "below": int(theirs.counts[BELOW]),
                "above": int(theirs.counts[ABOVE]),
                "low": theirs.low,
                "high": theirs.high,
            }
            return Candidate(
                "range", self.name, "share outside", share, rules.outside, p_value,
                share >= rules.outside, sentence, details=details,
            )  # fmt: skip
        unseen_rows = ours.binning.unseen_rate * self.m + 1
        p_value = significance.outside_range_p_value(share, self.n, unseen_rows, self.m)
        # A category of few rows may identify a person.
        frequent = [name for name, count in theirs.others.items() if count >= _NAMED_ROWS]
        examples = sorted(frequent, key=lambda name: (-theirs.others[name], name))[:3]
        sentence = (
            f"{share:.2%} of the values of {self.name!r} are categories that the reference lacks"
            f"{'' if ours.binning.complete else ' or has rarely'}"
            f"{', such as ' if examples else ''}{', '.join(map(repr, examples))}"
        )
        if ours.binning.unseen_rate:
            sentence += f"; {ours.binning.unseen_rate:.2%} were to be expected"
        # As large a change as from 0 to ``rules.unseen``, by Cohen's h.
        least = significance.shifted_share(ours.binning.unseen_rate, rules.unseen)
        return Candidate(
            "unseen", self.name, "share unseen", share, least, p_value, share >= least, sentence,
            details={"examples": examples, "expected": ours.binning.unseen_rate},
        )  # fmt: skip

    def _far_outside_p_value(self) -> float:
        """P-value of numbers so far outside the reference's range that each row counts in full.

        Either they are further outside than the range is wide, which no season causes. Or they are
        in so many rows that the model has to extrapolate, whatever the cause. A column with a
        trend, such as the month in a model's first year, leaves the range by itself.
        """
        low, high = self.reference.binning.breaks[0], self.reference.binning.breaks[-1]
        width = high - low
        if not len(self.values) or not width > 0:
            return 1.0
        far = width * (_TREND_FAR if self.has_trend else 1)
        share = float(((self.values < low - far) | (self.values > high + far)).mean())
        if share < self.rules.outside:
            if self.has_trend:
                return 1.0
            share = self.window.outside / self.window.present
            if share < _LARGE_SHARE:
                return 1.0
        return significance.outside_range_p_value(
            share, self.window.present, 2.0, self.reference.present
        )

    def _distribution_p_value(self) -> float | None:
        """P-value of equal distributions; None if they can't be tested."""
        ours, theirs = self.reference, self.window
        if ours.binning.kind == "number":
            distance = kolmogorov_smirnov(ours.counts[:MISSING], theirs.counts[:MISSING])
            return significance.ks_p_value(distance, self.m, self.n)
        return None if ours.binning.untestable else self.name_cells.p_value

    def _test_drift(self, distances: ColumnDrift) -> Candidate:
        is_number = self.reference.binning.kind == "number"
        statistic = "Kolmogorov-Smirnov distance" if is_number else "Jensen-Shannon distance"
        value = (distances.ks if is_number else distances.js) or 0.0
        least = self.rules.ks if is_number else self.rules.js
        details: dict[str, Any] = {"psi": distances.psi, "js": distances.js}
        kind, sentence, p_value = "drift", "", distances.p_value
        if is_number:
            details |= {"ks": distances.ks, "wasserstein": distances.wasserstein}
            details |= {"mean": self.window.mean, "reference_mean": self.reference.mean}
        if value >= least:
            kind, sentence, extra = self._classify_drift(value)
            details |= extra
            if kind == "scale" and p_value is not None:
                p_value = min(p_value, self._far_outside_p_value())
        sentence = sentence or self._describe_drift(distances)
        return Candidate(
            kind, self.name, statistic, value, least, p_value, value >= least, sentence,
            details=details,
        )  # fmt: skip

    def _classify_drift(self, distance: float) -> tuple[str, str, dict[str, Any]]:
        name = self.name
        if self.reference.binning.kind == "number":
            return self._classify_shift_or_scale(distance)
        swap = find_swap(self.reference, self.window, distance)
        if swap is None:
            return "drift", "", {}
        details = {"swapped": [swap.first, swap.second]}
        sentence = f"{swap.first!r} and {swap.second!r} have changed places in {name!r}"
        return "swap", sentence, details

    def _classify_shift_or_scale(self, distance: float) -> tuple[str, str, dict[str, Any]]:
        name = self.name
        change = find_shift_or_scale(self.reference, self.values, distance)
        if change is None:
            return "drift", "", {}
        details: dict[str, Any] = {
            "factor": change.factor,
            "offset": change.offset,
            "left": change.remaining_distance,
        }
        if change.kind == "shift":
            deviations = change.offset / (self.reference.deviation or 1.0)
            sentence = (
                f"{name!r} has moved by {change.offset:+.4g} ({deviations:+.2f} standard "
                "deviations)"
            )
            if change.factor != 1.0:
                sentence = (
                    f"{name!r} is about {change.factor:.3g} times what it was, {change.offset:+.4g}"
                )
            return "shift", sentence, details
        ratio = median_ratio(self.reference, self.values, (self.m, self.n))
        if ratio is not None and not change.offset:
            sentence = (
                f"{name!r} has another scale: its median is {ratio[0]:.3g} times the reference's "
                f"[{ratio[1]:.3g}, {ratio[2]:.3g}]"
            )
            details |= {"low": ratio[1], "high": ratio[2]}
        else:
            sentence = (
                f"{name!r} has another scale: it is spread {change.factor:.3g} times as far as in "
                f"the reference, about a mean of {self.window.mean:.4g} in place of "
                f"{self.reference.mean:.4g}"
            )
        return "scale", sentence, details

    def _describe_drift(self, distances: ColumnDrift) -> str:
        """Describe drift of no known type, by a number's means or the name that changed most."""
        if self.reference.binning.kind == "number":
            return (
                f"{self.name!r} has another distribution: mean {self.window.mean:.4g}, "
                f"{self.reference.mean:.4g} in the reference (KS {distances.ks:.2f}, "
                f"PSI {distances.psi:.2f})"
            )
        label, now, before = self.name_cells.most_changed()
        return (
            f"{self.name!r} has another distribution: {label} in {now:.1%} of the rows, "
            f"{before:.1%} in the reference; tested over {self.name_cells.describe_cells()} "
            f"(JS {distances.js:.2f}, PSI {distances.psi:.2f})"
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
