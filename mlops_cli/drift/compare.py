"""Compares a window's profile with the reference's, with a bounded rate of false alarms.

A finding is an alarm only if it is both large (an effect that matters, whatever the number of rows)
and significant (more than chance with the number of rows on both sides). Dependent rows count for
fewer (``drift.effective_sample_size``). Over all tests of a window the false discovery rate is
controlled (Benjamini and Hochberg 1995). This bounds the rate of false alarms for windows of any
size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.drift.candidates import Candidate
from mlops_cli.drift.column_drift import Column
from mlops_cli.drift.report import Bar, ColumnDrift, DriftReport, DriftRules, Finding
from mlops_cli.drift.significance import benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlops_cli.drift.profile import Profile
    from mlops_cli.drift.reference import Reference

__all__ = ["Bar", "ColumnDrift", "DriftReport", "DriftRules", "Finding", "compare"]

_ORDER = (
    "vanished", "type", "constant", "swap", "missing", "unseen", "range", "scale", "shift", "drift",
    "joint",
)  # fmt: skip
_WHOLE_COLUMN = {"vanished", "type", "constant"}
"""Kinds after which a column's other findings are redundant."""
_EVEN_SMALL = {"range", "unseen"}
"""Kinds that are reported even if they are small."""


def compare(
    reference: Reference,
    *,
    inputs: Profile | None,
    outputs: Profile | None = None,
    labels: Profile | None = None,
    rules: DriftRules | None = None,
    seed: int = 0,
) -> DriftReport:
    """Find the differences between a window and the reference.

    Everything is tested at once, so that the false discovery rate holds over all tests.

    Parameters
    ----------
    reference
        The model's reference profiles.
    inputs, outputs, labels
        A window's profiles, in the binnings of the reference; None: not compared.
    rules
        Thresholds of drift.
    seed
        Seed of the classifier for joint drift.
    """
    rules = rules or DriftRules()
    parts = {"inputs": inputs, "outputs": outputs, "labels": labels}
    windows = {part: window for part, window in parts.items() if window is not None}
    candidates: list[Candidate] = []
    distances: list[ColumnDrift] = []
    for part, window in windows.items():
        part_distances, part_candidates = _compare_columns(
            part, getattr(reference, part), window, rules
        )
        distances += part_distances
        candidates += part_candidates
    rows = max((window.rows for window in windows.values()), default=0)
    notes = (*_size_notes(windows, rules), *_untested_notes(reference, windows))
    if inputs is not None and rules.joint and inputs.rows >= rules.min_rows:
        candidates += _find_joint_drift(reference.inputs, inputs, candidates, rules, seed)
    return _make_report(candidates, distances, rows, notes, rules)


def _compare_columns(
    part: str, reference: Profile, window: Profile, rules: DriftRules
) -> tuple[list[ColumnDrift], list[Candidate]]:
    distances, candidates = [], []
    for name in reference.columns:
        column = Column.from_profiles(part, name, reference, window, rules)
        drift = column.distances
        distances.append(drift)
        if not window.rows:
            continue
        failure = column.find_failure()
        if failure is not None:
            candidates.append(replace(failure, part=part))
        elif window.rows >= rules.min_rows:
            candidates += [replace(c, part=part) for c in column.find_candidates(drift)]
    return distances, candidates


def _find_joint_drift(
    reference: Profile,
    window: Profile,
    candidates: Iterable[Candidate],
    rules: DriftRules,
    seed: int,
) -> list[Candidate]:
    """Test the joint distribution of the columns that show no drift by themselves."""
    from mlops_cli.drift.joint_drift import joint_drift

    # By the p-value before correction: a column that is suspicious alone would hide joint drift.
    suspicious = {
        c.column
        for c in candidates
        if c.part == "inputs" and (c.p_value is None or (c.large and c.p_value <= rules.alpha))
    }
    names = [
        name
        for name, sketch in reference.columns.items()
        if name not in suspicious and not sketch.binning.untestable
    ]
    candidate = joint_drift(reference, window, names, rules, seed=seed)
    return [] if candidate is None else [candidate]


def _make_report(
    candidates: Sequence[Candidate],
    distances: Iterable[ColumnDrift],
    rows: int,
    notes: tuple[str, ...],
    rules: DriftRules,
) -> DriftReport:
    tested = [c for c in candidates if c.p_value is not None]
    rates = dict(
        zip(map(id, tested), benjamini_hochberg([c.p_value or 0.0 for c in tested]), strict=True)
    )
    findings = []
    for c in candidates:
        rate = rates.get(id(c))
        if rate is not None and rate > rules.alpha:
            continue
        if not c.large and c.kind not in _EVEN_SMALL:
            continue
        findings.append(_make_finding(c, rate))
    failed_columns = {(f.part, f.column) for f in findings if f.kind in _WHOLE_COLUMN}
    findings = [
        f for f in findings if f.kind in _WHOLE_COLUMN or (f.part, f.column) not in failed_columns
    ]
    findings.sort(key=lambda f: (f.severity, _ORDER.index(f.kind), -f.value))
    rates_by_column = {
        (c.part, c.column): rates[id(c)] for c in tested if c.statistic.endswith("distance")
    }
    columns = [replace(d, adjusted=rates_by_column.get((d.part, d.column))) for d in distances]
    return DriftReport(tuple(findings), tuple(columns), rows, len(tested), notes)


def _make_finding(c: Candidate, rate: float | None) -> Finding:
    return Finding(
        kind=c.kind,
        part=c.part,
        column=c.column,
        statistic=c.statistic,
        value=float(c.value),
        threshold=float(c.threshold),
        p_value=c.p_value,
        adjusted=rate,
        severity="alarm" if c.large else "notice",
        sentence=c.sentence,
        details=c.details,
    )


def _size_notes(windows: dict[str, Profile], rules: DriftRules) -> tuple[str, ...]:
    notes = [
        f"{part}: {window.rows:,} rows are too few to test anything; {rules.min_rows} are needed"
        for part, window in windows.items()
        if window.rows < rules.min_rows
    ]
    return tuple(notes)


def _untested_notes(reference: Reference, parts: Iterable[str]) -> list[str]:
    return [
        f"{part}: {name!r} has many names, and the model's profile is of a version that didn't "
        "count them by groups: its drift isn't tested until a model is registered again"
        for part in parts
        for name, sketch in getattr(reference, part).columns.items()
        if sketch.binning.untestable
    ]
