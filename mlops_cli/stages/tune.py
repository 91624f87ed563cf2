"""Stage tune: search model families and settings; the validation split decides."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlops_cli
from mlops_cli.core.encoding import Encoder
from mlops_cli.core.labels import LabelCodec
from mlops_cli.core.learners import FAMILIES, Setting, TaskInfo, Watch, chosen
from mlops_cli.core.metrics import Metric, lookup
from mlops_cli.core.objectives import check_target, fit_weights, search_metric, task_info
from mlops_cli.core.search import Candidate, Limits, Result, Trial, best, narrowed, search
from mlops_cli.layout import TARGET
from mlops_cli.reporting import Summary, Table
from mlops_cli.store.files import read_json, sha256, staged, write_json
from mlops_cli.store.journal import Journal
from mlops_cli.store.splits import feature_kinds, read_split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.params.modelling import Dimension
    from mlops_cli.reporting import Progress

__all__ = ["run"]

_PATIENCE = 50
"""Rounds without a better score after which a boosting family stops, while searching."""


@dataclass(frozen=True)
class _Problem:
    """What a trial fits and is judged by: matrices, labels, metric."""

    task: TaskInfo
    metric: Metric
    seed: int
    X: npt.NDArray[np.float64]
    y: npt.NDArray[Any]
    X_validation: npt.NDArray[np.float64]
    y_validation: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None = None
    weight_validation: npt.NDArray[np.float64] | None = None

    def evaluate(self, candidate: Candidate, report: Callable[[int, float], None]) -> Result:
        """Fit on the sampled training rows, score on the whole validation split."""
        sign = 1.0 if self.metric.maximise else -1.0
        watch = Watch(
            self.X_validation,
            lambda prediction: sign * self._judge(prediction),
            lambda step, score: report(step, sign * score),
            _PATIENCE,
        )
        family = FAMILIES[candidate.family]
        fitted = family.fit(
            self.X,
            self.y,
            self.task,
            candidate.settings,
            seed=self.seed,
            watch=watch,
            weight=self.weight,
        )
        score = self._judge(fitted.predict(self.X_validation))
        return Result(float(score), fitted.iterations)

    def _judge(self, prediction: npt.NDArray[np.float64]) -> float:
        return self.metric(self.y_validation, prediction, self.weight_validation)


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Search, and write ``best.json`` and ``trials.json`` to ``layout.tuning``."""
    tune = params.tune
    kind = params.task.type
    metric = lookup(tune.metric or search_metric(kind, params.train.objective), kind)
    problem = _problem(params, layout, metric, progress)
    families, notes = chosen(tune.families, problem.task)
    given: dict[str, dict[str, Dimension]] = {
        str(name): space for name, space in tune.spaces.items()
    }
    spaces: dict[str, dict[str, Setting]] = {
        name: narrowed(family.space, given.get(name, {}), name) for name, family in families.items()
    }
    path = _journal(params, layout)
    started = time.monotonic()
    trials = search(
        spaces,
        problem.evaluate,
        Journal.open(path, "maximize" if metric.maximise else "minimize", progress),
        Limits(tune.trials, tune.seconds),
        maximise=metric.maximise,
        seed=params.project.seed,
        pruning=tune.pruning,
        progress=progress,
    )
    winner = best(trials, maximise=metric.maximise)
    states = Counter(t.state for t in trials)
    counts = {state: states[state] for state in ("complete", "pruned", "failed")}
    with staged(layout.tuning) as folder:
        folder.mkdir()
        write_json(folder / "best.json", _best(winner, metric, counts, len(problem.y)))
        write_json(folder / "trials.json", [_entry(t) for t in trials])
    path.unlink(missing_ok=True)
    return _summary(trials, winner, metric, counts, time.monotonic() - started, notes)


def _problem(params: Params, layout: Layout, metric: Metric, progress: Progress) -> _Problem:
    progress.update("reading train and validation")
    seed = params.project.seed
    kinds = feature_kinds(read_json(layout.program))
    weight = params.train.weight
    train = read_split(layout, "train", kinds, params.tune.rows, seed, weight)
    validation = read_split(layout, "validation", kinds, also=weight)
    labels = LabelCodec.fit(train[TARGET], params.task.type, params.task.positive)
    encoder = Encoder.fit(train, kinds)
    y = labels.encode(train[TARGET], "the train split")
    check_target(y, params.train.objective, "the train split")
    return _Problem(
        task_info(params.task.type, len(labels.classes), params.train, encoder),
        metric,
        seed,
        encoder.transform(train),
        y,
        encoder.transform(validation),
        labels.encode(validation[TARGET], "the validation split"),
        fit_weights(train, weight),
        fit_weights(validation, weight),
    )


def _journal(params: Params, layout: Layout) -> Path:
    """The journal of exactly this search; those of other ones are removed."""
    parts = {
        "version": mlops_cli.__version__,
        "seed": params.project.seed,
        "task": params.task.model_dump(mode="json"),
        "tune": params.tune.model_dump(mode="json"),
        "train": params.train.model_dump(mode="json"),
        "program": sha256(layout.program),
        "train split": sha256(layout.split("train")),
        "validation split": sha256(layout.split("validation")),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    path = layout.work / "tune" / f"{key}.journal"
    for other in path.parent.glob("*.journal"):
        if other != path:
            other.unlink()
    return path


def _best(winner: Trial, metric: Metric, counts: dict[str, int], rows: int) -> dict[str, Any]:
    return {
        "family": winner.family,
        "settings": winner.settings,
        "iterations": winner.iterations,
        "metric": metric.name,
        "score": _rounded(winner.score),
        "rows": rows,
        "trials": counts,
    }


def _entry(trial: Trial) -> dict[str, Any]:
    entry = {
        "number": trial.number,
        "family": trial.family,
        "settings": trial.settings,
        "state": trial.state,
        "score": _rounded(trial.score),
        "iterations": trial.iterations,
        "steps": {str(step): _rounded(score) for step, score in trial.steps.items()},
    }
    return entry | ({"reason": trial.reason} if trial.reason else {})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _summary(
    trials: list[Trial],
    winner: Trial,
    metric: Metric,
    counts: dict[str, int],
    seconds: float,
    notes: list[str],
) -> Summary:
    order = sorted(
        (t for t in trials if t.score is not None),
        key=lambda t: (-(t.score or 0) if metric.maximise else (t.score or 0), t.number),
    )
    rows = [(t.number + 1, t.family, f"{t.score:.4f}", t.iterations or "") for t in order[:5]]
    failed = [t for t in trials if t.state == "failed"]
    warnings = [f"trial {t.number + 1} ({t.family}) failed: {t.reason}" for t in failed[:3]]
    warnings = [*notes, *warnings]
    return Summary(
        headline=f"{winner.family} is best of {len(trials)} trials: "
        f"validation {metric.name} {winner.score:.4f}",
        tables=(Table("Best trials", ("trial", "family", metric.name, "iterations"), tuple(rows)),),
        warnings=tuple(warnings),
        facts={
            "family": winner.family,
            "metric": metric.name,
            "score": _rounded(winner.score),
            "trials": counts,
            "seconds": round(seconds, 3),
        },
    )
