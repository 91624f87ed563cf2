"""What another model would have answered: how many answers differ, where, and for the better."""

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
    from mlops_cli.params.modelling import ReplayGate
    from mlops_cli.registry.gates import GateResult

__all__ = ["KEPT", "LoggedResponses", "Replay", "ReplayRules", "Sample"]

KEPT = 100_000
"""Rows that are kept for what needs them all at once; of more, so many drawn ones."""
_SHOWN = 5
_OLD, _NEW, _LABEL, _DRAWN = "_old", "_new", "_label", "_drawn"


@dataclass(frozen=True)
class LoggedResponses:
    """Answers to some requests.

    Attributes
    ----------
    output
        Probabilities (n, classes), or values (n,).
    decided
        Code of the class that was decided for, (n,); None for values.
    """

    output: Floats
    decided: NDArray[np.intp] | None = None

    @property
    def score(self) -> Floats:
        """One number a row: the value, or the probability of the last class."""
        return self.output if self.output.ndim == 1 else self.output[:, -1]

    def where(self, good: NDArray[np.bool_]) -> LoggedResponses:
        """Some of them, by a mask (n,)."""
        decided = None if self.decided is None else self.decided[good]
        return LoggedResponses(self.output[good], decided)


class Sample:
    """At most so many rows of a stream, each as likely as any other, by a hash of their ids."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._parts: list[pl.DataFrame] = []
        self._held = 0

    def add(self, ids: pl.Series, rows: pl.DataFrame) -> None:
        """Take rows in."""
        self._parts.append(rows.with_columns(ids.hash(seed=0).alias(_DRAWN)))
        self._held += rows.height
        if self._held > 2 * self._most:
            self._parts = [self._drawn()]
            self._held = self._parts[0].height

    @property
    def rows(self) -> pl.DataFrame:
        """What was drawn, in the order of the stream."""
        return self._drawn().drop(_DRAWN) if self._parts else pl.DataFrame()

    def _drawn(self) -> pl.DataFrame:
        held = pl.concat(self._parts, how="vertical_relaxed")
        if held.height <= self._most:
            return held
        return held[np.sort(held[_DRAWN].arg_sort()[: self._most].to_numpy())]


@dataclass(frozen=True)
class ReplayRules:
    """By what answers are judged.

    Attributes
    ----------
    task
        The task's type.
    metrics
        The first one decides.
    columns
        Features by whose values answers are broken down.
    features
        All of them, among which segments are looked for.
    """

    task: str
    metrics: Sequence[Metric]
    columns: Sequence[str]
    features: Sequence[str]
    least_rows: int
    resamples: int
    confidence: float
    seed: int
    costs: Floats | None = None


@dataclass
class Replay:
    """What is known of the requests that were scored so far.

    Attributes
    ----------
    rows, flips
        Requests, and those of them that would have been decided otherwise.
    moved
        Sum of the differences of scores, new minus old, and of their absolute values.
    """

    rows: int = 0
    labelled: int = 0
    flips: int = 0
    moved: tuple[float, float] = (0.0, 0.0)
    _all: Sample = field(default_factory=Sample)
    _known: Sample = field(default_factory=Sample)

    def add(
        self,
        ids: pl.Series,
        features: pl.DataFrame,
        old: LoggedResponses,
        new: LoggedResponses,
        labels: pl.Series,
    ) -> None:
        """Take in some requests.

        Parameters
        ----------
        labels
            Codes or values (n,), null where there is none yet.
        """
        change = new.score - old.score
        self.rows += len(change)
        self.moved = (
            self.moved[0] + float(change.sum()),
            self.moved[1] + float(np.abs(change).sum()),
        )
        if new.decided is not None and old.decided is not None:
            self.flips += int((new.decided != old.decided).sum())
        table = features.with_columns(
            *_columns(_OLD, old), *_columns(_NEW, new), labels.alias(_LABEL)
        )
        there = labels.is_not_null()
        self.labelled += int(there.sum())
        self._all.add(ids, table)
        self._known.add(ids.filter(there), table.filter(there))

    def report(self, judging: ReplayRules) -> dict[str, Any]:
        """What would have been different, where, and whether it was better."""
        if not self.rows:
            return {"rows": 0, "labelled": 0}
        drawn, known = self._all.rows, self._known.rows
        old, new = _answers(drawn, _OLD), _answers(drawn, _NEW)
        change = new.score - old.score
        told: dict[str, Any] = {
            "rows": self.rows,
            "labelled": self.labelled,
            "judged_on": known.height,
            "shift": {
                "mean": _round(self.moved[0] / self.rows),
                "mean_absolute": _round(self.moved[1] / self.rows),
                "quantiles": {
                    str(q): _round(float(np.quantile(change, q))) for q in (0.05, 0.5, 0.95)
                },
            },
        }
        if new.decided is not None and old.decided is not None:
            told["flips"] = {"rows": self.flips, "share": _round(self.flips / self.rows)}
        told["slices"] = {
            name: _slices(drawn[name], old, new, judging.least_rows) for name in judging.columns
        }
        told["changed_most"] = _segments(drawn, np.abs(change), judging, stream=1)
        if known.height:
            told |= self._better(known, judging)
        return told

    def judged(
        self, gate: ReplayGate, judging: ReplayRules, learnt: Mapping[str, int]
    ) -> GateResult:
        """Whether the gate lets the new model through.

        Parameters
        ----------
        learnt
            Why requests were left out that one of both models has learnt from -> how many.
        """
        from mlops_cli.params.modelling import ChampionGate
        from mlops_cli.registry.gates import GateResult

        note = "".join(f"; {rows:,} left out: {why}" for why, rows in learnt.items())
        if self.labelled < gate.rows:
            reason = (
                f"{self.labelled:,} labelled requests are left to judge by, and {gate.rows:,} "
                f"are required{note}"
            )
            return GateResult("replay", None, -gate.margin, passed=False, reason=reason)
        known = self._known.rows
        rule = ChampionGate(metric=gate.metric, margin=gate.margin, confidence=gate.confidence)
        (found,) = judge_paired(
            rule,
            lookup(gate.metric, judging.task, judging.costs),
            PairedPredictions(
                known[_LABEL].to_numpy(),
                _answers(known, _NEW).output,
                _answers(known, _OLD).output,
            ),
            {},
            least_rows=gate.rows,
            resamples=judging.resamples,
            seed=judging.seed,
            other="that of the answers",
        )
        reason = f"on {self.labelled:,} labelled requests {found.reason}{note}"
        return replace(found, name="replay", reason=reason)

    def _better(self, known: pl.DataFrame, judging: ReplayRules) -> dict[str, Any]:
        y = known[_LABEL].to_numpy()
        old, new = _answers(known, _OLD), _answers(known, _NEW)
        found = compare(
            judging.metrics,
            y,
            {"new": new.output, "old": old.output},
            Bootstrap(judging.resamples, judging.confidence, (judging.seed, 11)),
        )
        first = judging.metrics[0].name
        loss, after = row_losses(first, y, new.output)
        worse = after - row_losses(first, y, old.output)[1]
        told: dict[str, Any] = {
            "metrics": {
                m.name: {
                    "old": found.figures["old"][m.name].rounded(),
                    "new": found.figures["new"][m.name].rounded(),
                    "gain": found.gains["old"][m.name].rounded(),
                }
                for m in judging.metrics
                if m.name in found.gains["old"]
            },
            "loss": loss,
            "worse_where": _segments(known, worse, judging, stream=2),
            "better_where": _segments(known, -worse, judging, stream=3),
        }
        if new.decided is not None and old.decided is not None:
            flipped = new.decided != old.decided
            told["flips_judged"] = {
                "to_right": int((flipped & (new.decided == y)).sum()),
                "to_wrong": int((flipped & (old.decided == y)).sum()),
            }
        return told


def _columns(prefix: str, answers: LoggedResponses) -> list[pl.Series]:
    matrix = answers.output.reshape(len(answers.output), -1)
    columns = [pl.Series(f"{prefix}{i}", matrix[:, i]) for i in range(matrix.shape[1])]
    if answers.decided is not None:
        columns.append(pl.Series(f"{prefix}_decided", answers.decided))
    return columns


def _answers(table: pl.DataFrame, prefix: str) -> LoggedResponses:
    decided = f"{prefix}_decided"
    names = [c for c in table.columns if c.startswith(prefix) and c != decided]
    matrix = table.select(names).to_numpy()
    if decided not in table.columns:
        return LoggedResponses(matrix[:, 0])
    return LoggedResponses(matrix, table[decided].to_numpy())


def _slices(
    column: pl.Series, old: LoggedResponses, new: LoggedResponses, least: int
) -> list[dict[str, Any]]:
    change = new.score - old.score
    told = []
    for part in slices(column):
        if len(part.rows) < least:
            continue
        entry: dict[str, Any] = {"value": part.value, "rows": len(part.rows)}
        entry["shift"] = _round(float(change[part.rows].mean()))
        if new.decided is not None and old.decided is not None:
            flipped = new.decided[part.rows] != old.decided[part.rows]
            entry["flips"] = _round(float(flipped.mean()))
        told.append(entry)
    return told


def _segments(
    table: pl.DataFrame, loss: Floats, judging: ReplayRules, stream: int
) -> list[dict[str, Any]]:
    """Segments of the features where the loss is credibly above that elsewhere."""
    seed = (judging.seed, 11, stream)
    search = SegmentSearch(judging.least_rows, _SHOWN, judging.confidence, seed)
    found, _ = search.run({name: table[name] for name in judging.features}, loss)
    return [_told(segment) for segment in found]


def _told(segment: Segment) -> dict[str, Any]:
    where: Mapping[str, Any] = segment.where
    figures = {"mean": _round(segment.loss), "elsewhere": _round(segment.elsewhere)}
    return {"where": dict(where), "rows": len(segment.rows), **figures}


def _round(value: float) -> float:
    return round(value, 6) + 0.0
