"""What differs between two revisions of a project: metrics, slices, parameters, data, features."""

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
    """What one revision of a project says about its model; what isn't there is empty.

    Attributes
    ----------
    name
        How the revision is called: ``workspace``, or such as ``main (45f51fc)``.
    params
        The tree of ``params.yaml``.
    metrics, evaluation, features, validation
        The reports of that name.
    registration
        The gates' decision.
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
    """A metric's value with its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairedMetrics:
    """Both models on the test rows that they have in common.

    Attributes
    ----------
    rows, most
        How many these are, and how many the larger test split has.
    differences
        Metric -> new minus old on these rows, with its interval.
    """

    rows: int
    most: int
    differences: Mapping[str, MetricValue]


@dataclass(frozen=True)
class FigureChange:
    """One metric, then and now.

    Attributes
    ----------
    difference
        New minus old; None where one of them is missing.
    verdict
        ``unclear`` where the difference may be chance; None where nothing can be told.
    overlap
        Whether the two intervals overlap; None where there aren't two.
    paired
        The difference on the same rows, with its interval; None where there is none.
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
    """One slice of the test rows, then and now."""

    column: str
    value: Any
    rows: tuple[int, int]
    change: FigureChange


@dataclass(frozen=True)
class ValueChange:
    """A named value, then and now; what was absent is None."""

    name: str
    kind: Literal["added", "removed", "changed"]
    old: Any
    new: Any


@dataclass(frozen=True)
class Difference:
    """All that differs between two revisions.

    Attributes
    ----------
    metrics
        Every metric of either.
    worse_slices
        Slices judged in both whose first metric got worse and not by chance, the most first.
    slices
        How many slices were judged in both.
    params
        By dotted key, in the new file's order.
    data
        The clock, rows, windows and hash of the data.
    result
        The decision and the families of the model.
    same_model
        Whether both have the very same bundle.
    notes
        What a reader must know to judge the figures.
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
    """Say what changed from one revision to another.

    Parameters
    ----------
    paired
        Both models on the same rows, or why that can't be.
    """
    judged = list(_slices(old.evaluation, new.evaluation))
    worse = [s for s in judged if s.change.verdict == "worse"]
    worse.sort(key=lambda s: abs(s.change.difference or 0.0), reverse=True)
    before, after = old.features.get("features", {}), new.features.get("features", {})
    bundles = {facts.registration.get("bundle_sha256") for facts in (old, new)}
    same = len(bundles) == 1 and None not in bundles
    return Difference(
        old=old.name,
        new=new.name,
        metrics=tuple(
            _metrics(
                old.metrics.get("model", {}),
                new.metrics.get("model", {}),
                {} if isinstance(paired, str) else paired.differences,
            )
        ),
        worse_slices=tuple(worse),
        slices=len(judged),
        params=_changes(dict(_dotted(old.params)), dict(_dotted(new.params))),
        data=_changes(_data(old), _data(new)),
        features_added=tuple(name for name in after if name not in before),
        features_removed=tuple(name for name in before if name not in after),
        result=_changes(_result(old), _result(new)),
        same_model=same,
        notes=() if same else tuple(_notes(old, new, paired)),
    )


def _metrics(
    old: Mapping[str, Any], new: Mapping[str, Any], paired: Mapping[str, MetricValue]
) -> Iterator[FigureChange]:
    for name in dict.fromkeys([*new, *old]):
        yield _figures(name, _figure(old.get(name)), _figure(new.get(name)), paired.get(name))


def _figure(given: Mapping[str, Any] | None) -> MetricValue | None:
    if not given or given.get("value") is None:
        return None
    low, high = (None if given.get(end) is None else float(given[end]) for end in ("low", "high"))
    return MetricValue(float(given["value"]), low, high)


def _figures(
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


def _slices(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[SliceChange]:
    """Slices judged in both, by the first metric of the new revision."""
    first = next(iter(new.get("metrics", ())), None)
    # A slice's interval is of the first metric of its own revision.
    comparable = first is not None and first == next(iter(old.get("metrics", ())), None)
    for column, now in new.get("slices", {}).items():
        then = old.get("slices", {}).get(column, {})
        before = {str(entry["value"]): entry for entry in then.get("judged", ())}
        for entry in now.get("judged", ()):
            other = before.get(str(entry["value"]))
            if other is None or first is None:
                continue
            figures = [_of_slice(e, first, interval=comparable) for e in (other, entry)]
            if None not in figures:
                rows = (int(other["rows"]), int(entry["rows"]))
                yield SliceChange(column, entry["value"], rows, _figures(first, *figures))


def _of_slice(entry: Mapping[str, Any], metric: str, *, interval: bool) -> MetricValue | None:
    if interval and entry.get("interval"):
        return _figure(entry["interval"])
    return _figure({"value": entry["metrics"].get(metric)})


def _dotted(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key -> value; a list is one value, as its order matters."""
    if isinstance(tree, Mapping) and (tree or not path):
        for key, value in tree.items():
            yield from _dotted(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    found = []
    for name in dict.fromkeys([*new, *old]):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if before is _ABSENT:
            found.append(ValueChange(name, "added", None, after))
        elif after is _ABSENT:
            found.append(ValueChange(name, "removed", before, None))
        # 1, 1.0 and true are equal to Python, and not the same setting.
        elif (before, type(before)) != (after, type(after)):
            found.append(ValueChange(name, "changed", before, after))
    return tuple(found)


def _data(facts: RevisionFacts) -> dict[str, Any]:
    read = {
        f"rows of {name}": source.get("rows_in")
        for name, source in facts.validation.get("sources", {}).items()
    }
    training = facts.registration.get("training") or {}
    said = {
        "data clock": (facts.params.get("ingest") or {}).get("until"),
        **read,
        "labelled rows": facts.features.get("rows", {}).get("labelled"),
        **{f"{name} rows": n for name, n in (training.get("rows") or {}).items()},
        "trained on": _span(training.get("window")),
        "test rows": facts.evaluation.get("rows"),
        "tested on": _span(facts.evaluation.get("window")),
        "hash of the ingested data": facts.outputs.get("data/ingested"),
    }
    return {name: value for name, value in said.items() if value is not None}


def _span(window: Any) -> str | None:
    return f"{window['first']} to {window['last']}" if isinstance(window, Mapping) else None


def _result(facts: RevisionFacts) -> dict[str, Any]:
    record = facts.registration
    said = {"decision": record.get("decision"), "families": record.get("families")}
    return {name: value for name, value in said.items() if value is not None}


def _notes(old: RevisionFacts, new: RevisionFacts, paired: PairedMetrics | str) -> Iterator[str]:
    for facts in (old, new):
        if not facts.metrics:
            yield f"{facts.name} has no reports, so there is nothing to compare with"
            return
    shares = [facts.evaluation.get("confidence") for facts in (old, new)]
    level = f"{shares[1]:.0%} " if shares[1] else ""
    if shares[0] != shares[1]:
        yield f"the intervals are of different confidence: {shares[0]} then, {shares[1]} now"
        level = ""
    if isinstance(paired, PairedMetrics):
        yield f"differences are of both models on the same {paired.rows:,} test rows: paired"
        if paired.rows < paired.most:
            yield (
                f"the test splits differ; of up to {paired.most:,} rows those are left out that "
                "one of the models may have learnt from"
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
