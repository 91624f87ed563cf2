"""Configuration of a backtest, its tasks, and the paths of their cached results."""

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
from mlops_cli.params.tune import Dimension, Tune

__all__ = ["LABEL_ARRIVAL", "REQUEST_TIME", "BacktestConfig", "BacktestTask", "as_of"]

REQUEST_TIME = "_asked"
"""Column of requests: time of the request."""
LABEL_ARRIVAL = "_arrives"
"""Column of requests: time at which the label arrives; null: never."""

_STAMP = "%Y%m%dT%H%M%SZ"


@lru_cache(maxsize=1)
def _parse(text: str) -> Params:
    # Cached here, as the configuration is sent to other processes and has only plain values.
    return parameters.parse(text)


@dataclass(frozen=True)
class BacktestTask:
    """A unit of work that is independent of other tasks.

    Attributes
    ----------
    kind
        period (compute its requests), train, score, or contest (with the champion).
    step, other_step
        Numbers of steps: that of the model, or of the requests to compute; that of the scored
        period, or of the champion.
    """

    kind: str
    step: int
    other_step: int = -1


@dataclass(frozen=True)
class BacktestConfig:
    """Configuration of a backtest, in plain values that can be sent to other processes.

    Attributes
    ----------
    params_text
        The project's ``params.yaml``.
    cache_folder
        Cache folder of the results; its name is a hash of all that they depend on.
    history_folder
        Folder with the validated sources, as they are known today.
    label_delay
        Time from when a label's values are known to its arrival.
    family, settings
        Family and settings of each model, if ``backtest.trials`` is 0 (no search).
    """

    params_text: str
    root: Path
    cache_folder: Path
    history_folder: Path
    steps: tuple[Period, ...]
    label_delay: str | None
    family: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> Params:
        """The project's parameters."""
        return _parse(self.params_text)

    @property
    def layout(self) -> Layout:
        """Paths of the history."""
        return Layout(self.root, self.history_folder)

    def clock(self, step: int) -> dt.datetime:
        """Data clock at the start of a step: labels of earlier rows have arrived."""
        return subtract(self.steps[step].start, self.label_delay)

    def model_folder(self, step: int) -> Path:
        """Folder of the result of training at a step."""
        return self.cache_folder / "models" / self.clock(step).strftime(_STAMP)

    def period_file(self, step: int) -> Path:
        """File with the requests of a step's period, with features and labels."""
        return self.cache_folder / "periods" / f"{self._span(step)}.parquet"

    def result_file(self, task: BacktestTask) -> Path:
        """File that exists when a task is done."""
        if task.kind == "period":
            return self.period_file(task.step)
        model = self.model_folder(task.step)
        if task.kind == "train":
            return model / "facts.json"
        if task.kind == "score":
            return self.cache_folder / "scores" / f"{model.name}-{self._span(task.other_step)}.json"
        return (
            self.cache_folder
            / "contests"
            / f"{model.name}-{self.model_folder(task.other_step).name}.json"
        )

    def _span(self, step: int) -> str:
        period = self.steps[step]
        stamps = (period.start.strftime(_STAMP), period.end.strftime(_STAMP))
        return "-".join((*stamps, self.label_delay or "0"))


def as_of(config: BacktestConfig, step: int) -> Params:
    """Set the data clock of a step in the parameters, and drop what is only for people to read.

    The gate on measured time is dropped, too, as its result would differ between runs.
    """
    params = config.params
    gates = params.register_.gates.model_copy(update={"milliseconds": None})
    return params.model_copy(
        update={
            "ingest": params.ingest.model_copy(update={"until": config.clock(step)}),
            "tune": _search(config, params),
            "evaluate": params.evaluate.model_copy(update={"shap_rows": 0, "segments": 0}),
            "register_": params.register_.model_copy(update={"gates": gates}),
        }
    )


def _search(config: BacktestConfig, params: Params) -> Tune:
    """Make the parameters of the search: with a number of trials, or with fixed settings."""
    if config.family is None:
        trials = {"trials": params.backtest.trials, "seconds": None}
        return params.tune.model_copy(update=trials)
    # One trial in a search space with one point, on all rows: so the stage itself fits it.
    point = {name: Dimension(choices=(value,)) for name, value in config.settings.items()}
    search_space = {"families": (config.family,), "spaces": {config.family: point}, "rows": None}
    return params.tune.model_copy(update={**search_space, "trials": 1, "seconds": None})
