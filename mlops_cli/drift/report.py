"""Results of a comparison with the reference, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

__all__ = ["Bar", "ColumnDrift", "DriftReport", "DriftRules", "Finding"]


@dataclass(frozen=True)
class DriftRules:
    """Thresholds of drift, which has to be both significant and large.

    Parameters
    ----------
    alpha
        False discovery rate over all tests of one window.
    ks, js
        Minimum Kolmogorov-Smirnov distance of numbers, minimum Jensen-Shannon distance of names.
    missing
        Minimum change of the missing share, as Cohen's h (0.15: from none to 0.6%, 50% to 57%).
    unseen, outside
        Minimum share of rows with a category that the reference lacks, or a number out of range.
    auc
        Minimum ROC AUC of a classifier that separates the window's rows from the reference's.
    joint
        Whether to train that classifier.
    min_rows
        Minimum rows of a window; with fewer nothing is tested.
    """

    alpha: float = 0.01
    ks: float = 0.1
    js: float = 0.1
    missing: float = 0.15
    unseen: float = 0.005
    outside: float = 0.005
    auc: float = 0.6
    joint: bool = True
    min_rows: int = 50


@dataclass(frozen=True)
class Finding:
    """One difference from the reference.

    Parameters
    ----------
    kind
        vanished, type, constant, missing, range, unseen, drift, shift, scale, swap or joint.
    part
        inputs, outputs (predictions) or labels.
    column
        Name of the column; None for several columns.
    statistic, value, threshold
        What was measured, its value, and the value from which it counts.
    p_value, adjusted
        Of the single test, and adjusted for the false discovery rate; None without a test.
    severity
        alarm, or notice: significant, but small.
    sentence
        Description for people.
    details
        Further figures, by name.
    """

    kind: str
    part: str
    column: str | None
    statistic: str
    value: float
    threshold: float
    p_value: float | None
    adjusted: float | None
    severity: str
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return dict(_to_plain(asdict(self)))


class Bar(NamedTuple):
    """A range or category, and its share of the rows with a value."""

    label: str
    reference: float
    window: float


@dataclass(frozen=True)
class ColumnDrift:
    """Distances of one column, with or without a finding.

    Parameters
    ----------
    part, column, kind
        inputs, outputs or labels; the column's name; number, boolean or category.
    rows
        The window's rows with a value.
    effective_rows
        Effective number of these rows (``drift.effective_sample_size``).
    missing, reference_missing
        Shares of rows without a value.
    psi, js, ks, wasserstein
        Distances; the last two only of numbers.
    p_value, adjusted
        Of the test for equal distributions.
    bars
        The distribution, for tables and plots.
    """

    part: str
    column: str
    kind: str
    rows: int
    effective_rows: float
    missing: float
    reference_missing: float
    psi: float | None = None
    js: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    p_value: float | None = None
    adjusted: float | None = None
    bars: tuple[Bar, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        tree = asdict(self)
        tree["bars"] = [bar._asdict() for bar in self.bars]
        return dict(_to_plain(tree))


@dataclass(frozen=True)
class DriftReport:
    """All findings of a window, alarms first, and every column's distances."""

    findings: tuple[Finding, ...]
    columns: tuple[ColumnDrift, ...]
    rows: int
    tests: int = 0
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Findings that are alarms."""
        return tuple(f for f in self.findings if f.severity == "alarm")

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "rows": self.rows,
            "tests": self.tests,
            "notes": list(self.notes),
            "findings": [f.to_json() for f in self.findings],
            "columns": [c.to_json() for c in self.columns],
        }


def _to_plain(tree: Any) -> Any:
    """Convert to plain values: floats of six significant digits, None for NaN and infinity."""
    if isinstance(tree, Mapping):
        return {key: _to_plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_to_plain(value) for value in tree]
    if isinstance(tree, float):
        return float(f"{tree:.6g}") if abs(tree) < float("inf") else None
    return tree
