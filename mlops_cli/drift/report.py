"""What a comparison with the reference finds, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

__all__ = ["Bar", "ColumnDrift", "DriftReport", "DriftRules", "Finding"]


@dataclass(frozen=True)
class DriftRules:
    """What counts as drift: both significant and large.

    Parameters
    ----------
    alpha
        The false discovery rate over everything that is tested of one window.
    ks, js
        Least Kolmogorov-Smirnov distance of a number, least Jensen-Shannon distance of a category.
    missing
        Least change of the missing share, as Cohen's h (0.15: from none to 0.6%, from 50% to 57%).
    unseen, outside
        Least share of rows with a category, or a number, that the reference hasn't shown.
    auc
        Least ROC AUC of a model that tells the window's rows from the reference's.
    joint
        Whether to train that model.
    least_rows
        Of a window; with fewer nothing is tested.
    """

    alpha: float = 0.01
    ks: float = 0.1
    js: float = 0.1
    missing: float = 0.15
    unseen: float = 0.005
    outside: float = 0.005
    auc: float = 0.6
    joint: bool = True
    least_rows: int = 50


@dataclass(frozen=True)
class Finding:
    """One thing that is not as in the reference.

    Parameters
    ----------
    kind
        vanished, type, constant, missing, range, unseen, drift, shift, scale, swap or joint.
    part
        inputs, outputs (predictions) or labels.
    column
        Which; None where it is about several.
    statistic, value, threshold
        What was measured, and from where on it counts.
    p_value, adjusted
        By itself, and by the false discovery rate; None where there is nothing to test.
    severity
        alarm, or notice: significant, but small.
    sentence
        The same for people.
    details
        What else there is to know.
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
        """As plain values."""
        return dict(_plain(asdict(self)))


class Bar(NamedTuple):
    """A range or category, and its share of the rows with a value."""

    label: str
    reference: float
    window: float


@dataclass(frozen=True)
class ColumnDrift:
    """A column's distances, whatever they mean.

    Parameters
    ----------
    part, column, kind
        Where, and number, boolean or category.
    rows
        The window's, that have a value.
    effective_rows
        As many as they are worth (``drift.effective_sample_size``).
    missing, reference_missing
        Shares of the rows.
    psi, js, ks, wasserstein
        Distances; the last two only of numbers.
    p_value, adjusted
        Of the distribution's test.
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
        """As plain values."""
        tree = asdict(self)
        tree["bars"] = [bar._asdict() for bar in self.bars]
        return dict(_plain(tree))


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
        """The findings that call for somebody."""
        return tuple(f for f in self.findings if f.severity == "alarm")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "rows": self.rows,
            "tests": self.tests,
            "notes": list(self.notes),
            "findings": [f.to_json() for f in self.findings],
            "columns": [c.to_json() for c in self.columns],
        }


def _plain(tree: Any) -> Any:
    """With floats of six significant digits, none of which is no number."""
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    if isinstance(tree, float):
        return float(f"{tree:.6g}") if abs(tree) < float("inf") else None
    return tree
