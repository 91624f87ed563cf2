"""Drift of a window's profile from the reference's, with a bounded rate of false alarms.

A finding is an alarm only if it is both large (an effect that matters, whatever the number of rows)
and significant (more than chance does with so many rows, on both sides). Rows that hang together
count for fewer (``drift.effective_sample_size``), and over all tests of a window the false
discovery rate is controlled (Benjamini and Hochberg 1995). This bounds the rate of false alarms for
windows of any size.
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
_WHOLE = {"vanished", "type", "constant"}
"""Kinds that say it all of a column."""
_EVEN_SMALL = {"range", "unseen"}
"""Kinds that are told even where they are small."""


def compare(
    reference: Reference,
    *,
    inputs: Profile | None,
    outputs: Profile | None = None,
    labels: Profile | None = None,
    rules: DriftRules | None = None,
    seed: int = 0,
) -> DriftReport:
    """All that is not as in the reference.

    Everything is tested at once, so that the false discovery rate is held over all of it.

    Parameters
    ----------
    reference
        Of the model.
    inputs, outputs, labels
        A window's profiles, made by those of the reference; None: not looked at.
    rules
        What counts as drift.
    seed
        Of the model that looks for joint drift.
    """
    rules = rules or DriftRules()
    parts = {"inputs": inputs, "outputs": outputs, "labels": labels}
    given = {part: window for part, window in parts.items() if window is not None}
    candidates: list[Candidate] = []
    distances: list[ColumnDrift] = []
    for part, window in given.items():
        columns, found = _columns(part, getattr(reference, part), window, rules)
        distances += columns
        candidates += found
    rows = max((window.rows for window in given.values()), default=0)
    notes = (*_notes(given, rules), *_untested(reference, given))
    if inputs is not None and rules.joint and inputs.rows >= rules.least_rows:
        candidates += _joint(reference.inputs, inputs, candidates, rules, seed)
    return _report(candidates, distances, rows, notes, rules)


def _columns(
    part: str, reference: Profile, window: Profile, rules: DriftRules
) -> tuple[list[ColumnDrift], list[Candidate]]:
    distances, candidates = [], []
    for name in reference.columns:
        column = Column.of(part, name, reference, window, rules)
        found = column.distances
        distances.append(found)
        if not window.rows:
            continue
        broken = column.broken()
        if broken is not None:
            candidates.append(replace(broken, part=part))
        elif window.rows >= rules.least_rows:
            candidates += [replace(c, part=part) for c in column.tested(found)]
    return distances, candidates


def _joint(
    reference: Profile,
    window: Profile,
    candidates: Iterable[Candidate],
    rules: DriftRules,
    seed: int,
) -> list[Candidate]:
    """Joint drift of the columns that are well each by itself."""
    from mlops_cli.drift.joint_drift import joint_drift

    # By its own p-value: what is suspicious alone isn't left to be found jointly.
    suspicious = {
        c.column
        for c in candidates
        if c.part == "inputs" and (c.p_value is None or (c.large and c.p_value <= rules.alpha))
    }
    names = [
        name
        for name, sketch in reference.columns.items()
        if name not in suspicious and not sketch.coding.untested
    ]
    found = joint_drift(reference, window, names, rules, seed=seed)
    return [] if found is None else [found]


def _report(
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
        findings.append(_finding(c, rate))
    whole = {(f.part, f.column) for f in findings if f.kind in _WHOLE}
    findings = [f for f in findings if f.kind in _WHOLE or (f.part, f.column) not in whole]
    findings.sort(key=lambda f: (f.severity, _ORDER.index(f.kind), -f.value))
    drifts = {(c.part, c.column): rates[id(c)] for c in tested if c.statistic.endswith("distance")}
    columns = [replace(d, adjusted=drifts.get((d.part, d.column))) for d in distances]
    return DriftReport(tuple(findings), tuple(columns), rows, len(tested), notes)


def _finding(c: Candidate, rate: float | None) -> Finding:
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


def _notes(given: dict[str, Profile], rules: DriftRules) -> tuple[str, ...]:
    few = [
        f"{part}: {window.rows:,} rows are too few to test anything; {rules.least_rows} are needed"
        for part, window in given.items()
        if window.rows < rules.least_rows
    ]
    return tuple(few)


def _untested(reference: Reference, given: Iterable[str]) -> list[str]:
    return [
        f"{part}: {name!r} has many names, and the model's profile is of a version that didn't "
        "count them by groups: its drift isn't tested until a model is registered anew"
        for part in given
        for name, sketch in getattr(reference, part).columns.items()
        if sketch.coding.untested
    ]
