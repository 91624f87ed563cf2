"""What is walked through history, and where what was worked out is kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlops_cli import params as parameters
from mlops_cli.backtest.policies import Period
from mlops_cli.data.durations import subtract
from mlops_cli.layout import Layout
from mlops_cli.params import Params
from mlops_cli.params.modelling import Dimension, Tune

__all__ = ["ARRIVES", "ASKED", "BacktestConfig", "BacktestTask", "as_of"]

ASKED = "_asked"
"""Requests: when it was asked."""
ARRIVES = "_arrives"
"""Requests: when the label is told; null: never."""

_STAMP = "%Y%m%dT%H%M%SZ"


@lru_cache(maxsize=1)
def _parsed(text: str) -> Params:
    # Kept aside, as a case that other processes are told holds plain values only.
    return parameters.parse(text)


@dataclass(frozen=True)
class BacktestTask:
    """A piece of work of which others are independent.

    Attributes
    ----------
    kind
        period (its requests), train, score, or contest.
    model, other
        Numbers of steps: of the model; of the period, or the champion.
    """

    kind: str
    model: int
    other: int = -1


@dataclass(frozen=True)
class BacktestConfig:
    """One walk; plain values, so that other processes can be told.

    Attributes
    ----------
    text
        The project's ``params.yaml``.
    folder
        Where results are kept; named after all that they depend on.
    history
        Where the validated sources are, as they are known today.
    delay
        How long after its values are known a label arrives.
    family, settings
        What each model is, where ``backtest.trials`` asks for no search.
    """

    text: str
    root: Path
    folder: Path
    history: Path
    steps: tuple[Period, ...]
    delay: str | None
    family: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> Params:
        """The project's parameters."""
        return _parsed(self.text)

    @property
    def layout(self) -> Layout:
        """The history's files."""
        return Layout(self.root, self.history)

    def clock(self, step: int) -> dt.datetime:
        """Up to when data are known with their labels, when a step begins."""
        return subtract(self.steps[step].start, self.delay)

    def model(self, step: int) -> Path:
        """The folder of what training at a step came to."""
        return self.folder / "models" / self.clock(step).strftime(_STAMP)

    def period(self, step: int) -> Path:
        """The requests of a step's period, with features and labels."""
        return self.folder / "periods" / f"{self._span(step)}.parquet"

    def result(self, task: BacktestTask) -> Path:
        """The file that is there when a task is done."""
        if task.kind == "period":
            return self.period(task.model)
        model = self.model(task.model)
        if task.kind == "train":
            return model / "facts.json"
        if task.kind == "score":
            return self.folder / "scores" / f"{model.name}-{self._span(task.other)}.json"
        return self.folder / "contests" / f"{model.name}-{self.model(task.other).name}.json"

    def _span(self, step: int) -> str:
        found = self.steps[step]
        stamps = (found.start.strftime(_STAMP), found.end.strftime(_STAMP))
        return "-".join((*stamps, self.delay or "0"))


def as_of(case: BacktestConfig, step: int) -> Params:
    """The parameters with the data clock of a step, and without what only people read.

    A gate on measured time would not judge the same way twice.
    """
    params = case.params
    gates = params.register_.gates.model_copy(update={"milliseconds": None})
    return params.model_copy(
        update={
            "ingest": params.ingest.model_copy(update={"until": case.clock(step)}),
            "tune": _search(case, params),
            "evaluate": params.evaluate.model_copy(update={"shap_rows": 0, "segments": 0}),
            "register_": params.register_.model_copy(update={"gates": gates}),
        }
    )


def _search(case: BacktestConfig, params: Params) -> Tune:
    """How each model is found: by so many trials, or with the settings that are given."""
    if case.family is None:
        searched = {"trials": params.backtest.trials, "seconds": None}
        return params.tune.model_copy(update=searched)
    # One trial in a space that has one point, on all rows: the stage's own way to fit it.
    point = {name: Dimension(choices=(value,)) for name, value in case.settings.items()}
    given = {"families": (case.family,), "spaces": {case.family: point}, "rows": None}
    return params.tune.model_copy(update={**given, "trials": 1, "seconds": None})
