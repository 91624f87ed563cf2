"""Compare two revisions of a project: metrics, slices, parameters, data and features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlops_cli.metrics.catalog import METRICS

__all__ = [
    "Difference",
    "FigureChange",
    "MetricValue",
    "PairedMetrics",
    "RevisionFacts",
    "SliceChange",
    "ValueChange",
    "compare",
]

Verdict = Literal["better", "worse", "same", "unclear"]

_DIGITS = 6
_ABSENT = object()


@dataclass(frozen=True)
class RevisionFacts:
    """Reports, parameters and output hashes of one revision; empty where a file is missing.

    Attributes
    ----------
    name
        The revision's name: ``workspace``, or such as ``main (45f51fc)``.
    params
        Contents of ``params.yaml``.
    metrics, evaluation, features, validation
        The reports with these names.
    registration
        The record of the register stage, with the gates' decision.
    outputs
        Path -> hash of each output in ``dvc.lock``.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    registration: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricValue:
    """A metric's value, with its interval if it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairedMetrics:
    """Metric differences of two models on the test rows that both have.

    Attributes
    ----------
    rows, split_rows
        Number of these rows, and of the rows in the larger test split.
    differences
        Metric -> new minus old on these rows, with its interval.
    """

    rows: int
    split_rows: int
    differences: Mapping[str, MetricValue]


@dataclass(frozen=True)
class FigureChange:
    """One metric in the old and the new revision.

    Attributes
    ----------
    difference
        New minus old; None if one of them is missing.
    verdict
        ``unclear`` if the difference may be chance; None if it is unknown which is better.
    overlap
        Whether the two intervals overlap; None if one of them is missing.
    paired
        The difference on the same rows, with its interval; None if there is none.
    """

    metric: str
    old: MetricValue | None
    new: MetricValue | None
    difference: float | None
    verdict: Verdict | None
    overlap: bool | None
    paired: MetricValue | None = None


@dataclass(frozen=True)
class SliceChange:
    """One slice of the test rows in the old and the new revision."""

    column: str
    value: Any
    rows: tuple[int, int]
    change: FigureChange


@dataclass(frozen=True)
class ValueChange:
    """A named value in the old and the new revision; None where it is absent."""

    name: str
    kind: Literal["added", "removed", "changed"]
    old: Any
    new: Any


@dataclass(frozen=True)
class Difference:
    """The differences between two revisions.

    Attributes
    ----------
    metrics
        Every metric of either revision.
    worse_slices
        Slices evaluated in both revisions whose first metric got worse, and not by chance; the
        largest change first.
    slices
        Number of slices evaluated in both revisions.
    params
        Parameters by dotted key, in the new file's order.
    data
        Data clock, row counts, time windows and hash of the data.
    result
        The gates' decision and the model families.
    same_model
        Whether both revisions have the same bundle.
    notes
        What a reader must know to interpret the figures.
    """

    old: str
    new: str
    metrics: tuple[FigureChange, ...]
    worse_slices: tuple[SliceChange, ...]
    slices: int
    params: tuple[ValueChange, ...]
    data: tuple[ValueChange, ...]
    features_added: tuple[str, ...]
    features_removed: tuple[str, ...]
    result: tuple[ValueChange, ...]
    same_model: bool
    notes: tuple[str, ...]


def compare(old: RevisionFacts, new: RevisionFacts, paired: PairedMetrics | str = "") -> Difference:
    """List the differences from an old to a new revision.

    Parameters
    ----------
    paired
        Comparison of both models on the same rows, or a sentence on why there is none.
    """
    slice_changes = list(_compare_slices(old.evaluation, new.evaluation))
    worse = [s for s in slice_changes if s.change.verdict == "worse"]
    worse.sort(key=lambda s: abs(s.change.difference or 0.0), reverse=True)
    before, after = old.features.get("features", {}), new.features.get("features", {})
    bundles = {facts.registration.get("bundle_sha256") for facts in (old, new)}
    same = len(bundles) == 1 and None not in bundles
    return Difference(
        old=old.name,
        new=new.name,
        metrics=tuple(
            _compare_metrics(
                old.metrics.get("model", {}),
                new.metrics.get("model", {}),
                {} if isinstance(paired, str) else paired.differences,
            )
        ),
        worse_slices=tuple(worse),
        slices=len(slice_changes),
        params=_changes(dict(_flatten(old.params)), dict(_flatten(new.params))),
        data=_changes(_data_facts(old), _data_facts(new)),
        features_added=tuple(name for name in after if name not in before),
        features_removed=tuple(name for name in before if name not in after),
        result=_changes(_result_facts(old), _result_facts(new)),
        same_model=same,
        notes=() if same else tuple(_notes(old, new, paired)),
    )


def _compare_metrics(
    old: Mapping[str, Any], new: Mapping[str, Any], paired: Mapping[str, MetricValue]
) -> Iterator[FigureChange]:
    for name in dict.fromkeys([*new, *old]):
        yield _compare_values(
            name, _parse_value(old.get(name)), _parse_value(new.get(name)), paired.get(name)
        )


def _parse_value(entry: Mapping[str, Any] | None) -> MetricValue | None:
    if not entry or entry.get("value") is None:
        return None
    low, high = (None if entry.get(end) is None else float(entry[end]) for end in ("low", "high"))
    return MetricValue(float(entry["value"]), low, high)


def _compare_values(
    name: str, old: MetricValue | None, new: MetricValue | None, paired: MetricValue | None = None
) -> FigureChange:
    if old is None or new is None:
        return FigureChange(name, old, new, None, None, None)
    difference = round(new.value - old.value, _DIGITS) + 0.0
    overlap = None
    if None not in (old.low, old.high, new.low, new.high):
        overlap = bool(old.low <= new.high and new.low <= old.high)  # type: ignore[operator]
    if paired is not None:
        difference = round(paired.value, _DIGITS) + 0.0
        unclear = bool(paired.low <= 0 <= paired.high)  # type: ignore[operator]
    else:
        unclear = overlap is True
    verdict = _verdict(name, difference, unclear=unclear)
    return FigureChange(name, old, new, difference, verdict, overlap, paired)


def _verdict(name: str, difference: float, *, unclear: bool) -> Verdict | None:
    if difference == 0:
        return "same"
    if name not in METRICS:
        return None
    if unclear:
        return "unclear"
    return "better" if (difference > 0) == METRICS[name].maximise else "worse"


def _compare_slices(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[SliceChange]:
    """Slices evaluated in both revisions, compared by the new revision's first metric."""
    first = next(iter(new.get("metrics", ())), None)
    # A slice's interval belongs to the first metric of its own revision.
    comparable = first is not None and first == next(iter(old.get("metrics", ())), None)
    for column, new_slices in new.get("slices", {}).items():
        old_slices = old.get("slices", {}).get(column, {})
        old_entries = {str(entry["value"]): entry for entry in old_slices.get("judged", ())}
        for new_entry in new_slices.get("judged", ()):
            old_entry = old_entries.get(str(new_entry["value"]))
            if old_entry is None or first is None:
                continue
            values = [_slice_value(e, first, interval=comparable) for e in (old_entry, new_entry)]
            if None not in values:
                rows = (int(old_entry["rows"]), int(new_entry["rows"]))
                yield SliceChange(column, new_entry["value"], rows, _compare_values(first, *values))


def _slice_value(entry: Mapping[str, Any], metric: str, *, interval: bool) -> MetricValue | None:
    if interval and entry.get("interval"):
        return _parse_value(entry["interval"])
    return _parse_value({"value": entry["metrics"].get(metric)})


def _flatten(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten a tree into (dotted key, value); a list is one value, as its order matters."""
    if isinstance(tree, Mapping) and (tree or not path):
        for key, value in tree.items():
            yield from _flatten(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    changes = []
    for name in dict.fromkeys([*new, *old]):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if before is _ABSENT:
            changes.append(ValueChange(name, "added", None, after))
        elif after is _ABSENT:
            changes.append(ValueChange(name, "removed", before, None))
        # Python takes 1, 1.0 and True for equal; as settings they differ.
        elif (before, type(before)) != (after, type(after)):
            changes.append(ValueChange(name, "changed", before, after))
    return tuple(changes)


def _data_facts(facts: RevisionFacts) -> dict[str, Any]:
    row_counts = {
        f"rows of {name}": source.get("rows_in")
        for name, source in facts.validation.get("sources", {}).items()
    }
    training = facts.registration.get("training") or {}
    values = {
        "data clock": (facts.params.get("ingest") or {}).get("until"),
        **row_counts,
        "labelled rows": facts.features.get("rows", {}).get("labelled"),
        **{f"{name} rows": n for name, n in (training.get("rows") or {}).items()},
        "trained on": _window_text(training.get("window")),
        "test rows": facts.evaluation.get("rows"),
        "tested on": _window_text(facts.evaluation.get("window")),
        "hash of the ingested data": facts.outputs.get("data/ingested"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _window_text(window: Any) -> str | None:
    return f"{window['first']} to {window['last']}" if isinstance(window, Mapping) else None


def _result_facts(facts: RevisionFacts) -> dict[str, Any]:
    record = facts.registration
    values = {"decision": record.get("decision"), "families": record.get("families")}
    return {name: value for name, value in values.items() if value is not None}


def _notes(old: RevisionFacts, new: RevisionFacts, paired: PairedMetrics | str) -> Iterator[str]:
    for facts in (old, new):
        if not facts.metrics:
            yield f"{facts.name} has no reports, so there is nothing to compare with"
            return
    levels = [facts.evaluation.get("confidence") for facts in (old, new)]
    level = f"{levels[1]:.0%} " if levels[1] else ""
    if levels[0] != levels[1]:
        yield f"the intervals are of different confidence: {levels[0]} then, {levels[1]} now"
        level = ""
    if isinstance(paired, PairedMetrics):
        yield f"differences are of both models on the same {paired.rows:,} test rows: paired"
        if paired.rows < paired.split_rows:
            yield (
                f"the test splits differ; of up to {paired.split_rows:,} rows those are left out "
                "that one of the models may have learnt from"
            )
        return
    yield (
        f"each {level}interval is of one model alone, from its own test rows: they are unpaired. "
        "Where they don't overlap the difference is clear; where they do, it may be chance"
    )
    if paired:
        yield paired
    tests = [(f.evaluation.get("rows"), f.evaluation.get("window")) for f in (old, new)]
    splits = [f.outputs.get("data/splits") for f in (old, new)]
    if tests[0] != tests[1]:
        yield "the two models were tested on different rows"
    elif splits[0] != splits[1]:
        yield "the splits differ, so the two models may have been tested on different rows"
