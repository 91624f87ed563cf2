"""Compares another version's responses with the logged ones: how many differ, where, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlops_cli.evaluation.slice_finder import SegmentSearch
from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.catalog import lookup
from mlops_cli.metrics.row_losses import row_losses
from mlops_cli.metrics.slices import slices
from mlops_cli.registry.champion_gate import PairedPredictions, judge_paired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mlops_cli.evaluation.slice_finder import Segment
    from mlops_cli.metrics.catalog import Floats, Metric
    from mlops_cli.params.register import ReplayGate
    from mlops_cli.registry.gates import GateResult

__all__ = ["MAX_SAMPLE_ROWS", "LoggedResponses", "Replay", "ReplayRules", "Sample"]

MAX_SAMPLE_ROWS = 100_000
"""The most rows kept for figures that need all rows at once; of more rows, a sample."""
_MAX_SHOWN = 5
_OLD, _NEW, _LABEL, _SAMPLE_KEY = "_old", "_new", "_label", "_drawn"


@dataclass(frozen=True)
class LoggedResponses:
    """Responses to some requests.

    Attributes
    ----------
    output
        Probabilities (n, classes), or values (n,).
    decisions
        Code of the class that was decided, (n,); None for values.
    """

    output: Floats
    decisions: NDArray[np.intp] | None = None

    @property
    def score(self) -> Floats:
        """One number for each row: the value, or the probability of the last class."""
        return self.output if self.output.ndim == 1 else self.output[:, -1]

    def filter(self, mask: NDArray[np.bool_]) -> LoggedResponses:
        """The responses in a mask (n,)."""
        decisions = None if self.decisions is None else self.decisions[mask]
        return LoggedResponses(self.output[mask], decisions)


class Sample:
    """A uniform sample of a stream's rows, of limited size, chosen by a hash of their ids."""

    def __init__(self, max_rows: int = MAX_SAMPLE_ROWS) -> None:
        self._max_rows = max_rows
        self._parts: list[pl.DataFrame] = []
        self._size = 0

    def add(self, ids: pl.Series, rows: pl.DataFrame) -> None:
        """Add rows."""
        self._parts.append(rows.with_columns(ids.hash(seed=0).alias(_SAMPLE_KEY)))
        self._size += rows.height
        if self._size > 2 * self._max_rows:
            self._parts = [self._reduce()]
            self._size = self._parts[0].height

    @property
    def rows(self) -> pl.DataFrame:
        """The sampled rows, in the order of the stream."""
        return self._reduce().drop(_SAMPLE_KEY) if self._parts else pl.DataFrame()

    def _reduce(self) -> pl.DataFrame:
        table = pl.concat(self._parts, how="vertical_relaxed")
        if table.height <= self._max_rows:
            return table
        return table[np.sort(table[_SAMPLE_KEY].arg_sort()[: self._max_rows].to_numpy())]


@dataclass(frozen=True)
class ReplayRules:
    """Settings of the comparison.

    Attributes
    ----------
    task
        The task's type.
    metrics
        The first one decides.
    columns
        Features by whose values the responses are broken down.
    features
        All features, in which segments are searched.
    """

    task: str
    metrics: Sequence[Metric]
    columns: Sequence[str]
    features: Sequence[str]
    min_rows: int
    resamples: int
    confidence: float
    seed: int
    costs: Floats | None = None


@dataclass
class Replay:
    """Comparison of the requests scored so far.

    Attributes
    ----------
    rows, flips
        Number of requests, and of those whose decision would have been another one.
    score_shift
        Sum of the differences of scores, new minus old, and of their absolute values.
    """

    rows: int = 0
    labelled: int = 0
    flips: int = 0
    score_shift: tuple[float, float] = (0.0, 0.0)
    _sample: Sample = field(default_factory=Sample)
    _labelled_sample: Sample = field(default_factory=Sample)

    def add(
        self,
        ids: pl.Series,
        features: pl.DataFrame,
        old: LoggedResponses,
        new: LoggedResponses,
        labels: pl.Series,
    ) -> None:
        """Add requests.

        Parameters
        ----------
        labels
            Codes or values (n,), null where there is none yet.
        """
        change = new.score - old.score
        self.rows += len(change)
        self.score_shift = (
            self.score_shift[0] + float(change.sum()),
            self.score_shift[1] + float(np.abs(change).sum()),
        )
        if new.decisions is not None and old.decisions is not None:
            self.flips += int((new.decisions != old.decisions).sum())
        table = features.with_columns(
            *_to_columns(_OLD, old), *_to_columns(_NEW, new), labels.alias(_LABEL)
        )
        labelled = labels.is_not_null()
        self.labelled += int(labelled.sum())
        self._sample.add(ids, table)
        self._labelled_sample.add(ids.filter(labelled), table.filter(labelled))

    def report(self, rules: ReplayRules) -> dict[str, Any]:
        """What would have been different, where, and whether it was better."""
        if not self.rows:
            return {"rows": 0, "labelled": 0}
        sample, labelled = self._sample.rows, self._labelled_sample.rows
        old, new = _from_columns(sample, _OLD), _from_columns(sample, _NEW)
        change = new.score - old.score
        report: dict[str, Any] = {
            "rows": self.rows,
            "labelled": self.labelled,
            "judged_on": labelled.height,
            "shift": {
                "mean": _round(self.score_shift[0] / self.rows),
                "mean_absolute": _round(self.score_shift[1] / self.rows),
                "quantiles": {
                    str(q): _round(float(np.quantile(change, q))) for q in (0.05, 0.5, 0.95)
                },
            },
        }
        if new.decisions is not None and old.decisions is not None:
            report["flips"] = {"rows": self.flips, "share": _round(self.flips / self.rows)}
        report["slices"] = {
            name: _slices(sample[name], old, new, rules.min_rows) for name in rules.columns
        }
        report["changed_most"] = _segments(sample, np.abs(change), rules, stream=1)
        if labelled.height:
            report |= self._compare_labelled(labelled, rules)
        return report

    def judge(
        self, gate: ReplayGate, rules: ReplayRules, exclusion_counts: Mapping[str, int]
    ) -> GateResult:
        """The gate's verdict on the new model.

        Parameters
        ----------
        exclusion_counts
            Reason -> number of requests left out because one of both models was trained on them.
        """
        from mlops_cli.params.register import ChampionGate
        from mlops_cli.registry.gates import GateResult

        note = "".join(f"; {rows:,} left out: {why}" for why, rows in exclusion_counts.items())
        if self.labelled < gate.rows:
            reason = (
                f"{self.labelled:,} labelled requests are left to judge by, and {gate.rows:,} "
                f"are required{note}"
            )
            return GateResult("replay", None, -gate.margin, passed=False, reason=reason)
        labelled = self._labelled_sample.rows
        rule = ChampionGate(metric=gate.metric, margin=gate.margin, confidence=gate.confidence)
        (verdict,) = judge_paired(
            rule,
            lookup(gate.metric, rules.task, rules.costs),
            PairedPredictions(
                labelled[_LABEL].to_numpy(),
                _from_columns(labelled, _NEW).output,
                _from_columns(labelled, _OLD).output,
            ),
            {},
            min_rows=gate.rows,
            resamples=rules.resamples,
            seed=rules.seed,
            champion_label="that of the answers",
        )
        reason = f"on {self.labelled:,} labelled requests {verdict.reason}{note}"
        return replace(verdict, name="replay", reason=reason)

    def _compare_labelled(self, labelled: pl.DataFrame, rules: ReplayRules) -> dict[str, Any]:
        y = labelled[_LABEL].to_numpy()
        old, new = _from_columns(labelled, _OLD), _from_columns(labelled, _NEW)
        comparison = compare(
            rules.metrics,
            y,
            {"new": new.output, "old": old.output},
            Bootstrap(rules.resamples, rules.confidence, (rules.seed, 11)),
        )
        metric = rules.metrics[0].name
        loss, new_losses = row_losses(metric, y, new.output)
        worse = new_losses - row_losses(metric, y, old.output)[1]
        report: dict[str, Any] = {
            "metrics": {
                m.name: {
                    "old": comparison.figures["old"][m.name].to_json(),
                    "new": comparison.figures["new"][m.name].to_json(),
                    "gain": comparison.gains["old"][m.name].to_json(),
                }
                for m in rules.metrics
                if m.name in comparison.gains["old"]
            },
            "loss": loss,
            "worse_where": _segments(labelled, worse, rules, stream=2),
            "better_where": _segments(labelled, -worse, rules, stream=3),
        }
        if new.decisions is not None and old.decisions is not None:
            flipped = new.decisions != old.decisions
            report["flips_judged"] = {
                "to_right": int((flipped & (new.decisions == y)).sum()),
                "to_wrong": int((flipped & (old.decisions == y)).sum()),
            }
        return report


def _to_columns(prefix: str, responses: LoggedResponses) -> list[pl.Series]:
    matrix = responses.output.reshape(len(responses.output), -1)
    columns = [pl.Series(f"{prefix}{i}", matrix[:, i]) for i in range(matrix.shape[1])]
    if responses.decisions is not None:
        columns.append(pl.Series(f"{prefix}_decided", responses.decisions))
    return columns


def _from_columns(table: pl.DataFrame, prefix: str) -> LoggedResponses:
    decided = f"{prefix}_decided"
    names = [c for c in table.columns if c.startswith(prefix) and c != decided]
    matrix = table.select(names).to_numpy()
    if decided not in table.columns:
        return LoggedResponses(matrix[:, 0])
    return LoggedResponses(matrix, table[decided].to_numpy())


def _slices(
    column: pl.Series, old: LoggedResponses, new: LoggedResponses, min_rows: int
) -> list[dict[str, Any]]:
    change = new.score - old.score
    entries = []
    for part in slices(column):
        if len(part.rows) < min_rows:
            continue
        entry: dict[str, Any] = {"value": part.value, "rows": len(part.rows)}
        entry["shift"] = _round(float(change[part.rows].mean()))
        if new.decisions is not None and old.decisions is not None:
            flipped = new.decisions[part.rows] != old.decisions[part.rows]
            entry["flips"] = _round(float(flipped.mean()))
        entries.append(entry)
    return entries


def _segments(
    table: pl.DataFrame, loss: Floats, rules: ReplayRules, stream: int
) -> list[dict[str, Any]]:
    """Segments of the features where the loss is credibly higher than elsewhere."""
    seed = (rules.seed, 11, stream)
    search = SegmentSearch(rules.min_rows, _MAX_SHOWN, rules.confidence, seed)
    segments, _ = search.run({name: table[name] for name in rules.features}, loss)
    return [_describe(segment) for segment in segments]


def _describe(segment: Segment) -> dict[str, Any]:
    condition: Mapping[str, Any] = segment.where
    figures = {"mean": _round(segment.loss), "elsewhere": _round(segment.loss_elsewhere)}
    return {"where": dict(condition), "rows": len(segment.rows), **figures}


def _round(value: float) -> float:
    return round(value, 6) + 0.0
