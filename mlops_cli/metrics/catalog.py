"""Metrics by name: a value for one prediction, and a fast path for many weightings of its rows.

Definitions are scikit-learn's, in plain NumPy. A bootstrap computes the same metric hundreds of
times with other weights, so everything that doesn't depend on the weights (a sort, a term per row)
is computed once. Sums are NumPy's own, not BLAS's, whose last digits depend on the number of cores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from mlops_cli.errors import BadParams, nearest
from mlops_cli.metrics import classification as classes
from mlops_cli.metrics import ranking as ranks
from mlops_cli.metrics import regression as values
from mlops_cli.metrics.classification import decide
from mlops_cli.metrics.weighted import Floats, Statistic, Truth

__all__ = [
    "BEST_BY_MEDIAN",
    "METRICS",
    "Floats",
    "Metric",
    "Statistic",
    "Truth",
    "decide",
    "default_metrics",
    "lookup",
]

BEST_BY_MEDIAN = frozenset({"mae", "median_absolute_error"})
"""Metrics for which the best constant is the median; for the others, it is the mean."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes
    ----------
    name
        Name in ``params.yaml``.
    tasks
        Task types that it is for: binary, multiclass, regression.
    maximise
        Whether higher is better.
    prepare
        Function from labels and predictions to a function of the weights alone.
    """

    name: str
    tasks: frozenset[str]
    maximise: bool
    prepare: Callable[[Truth, Floats], Statistic] = field(repr=False)

    def __call__(self, y: Truth, prediction: Floats, weights: Floats | None = None) -> float:
        """Compute the metric; NaN where it isn't defined (such as a ranking of one class).

        Parameters
        ----------
        y
            Class codes from 0, or values; (n,).
        prediction
            Probabilities (n, k), or values (n,). In a binary task, the positive class is in
            column 1.
        weights
            Weight of each row, (n,); by default 1.
        """
        if weights is None:
            weights = np.ones(len(y))
        return self.prepare(y, prediction)(np.asarray(weights, dtype=np.float64))

    def gain(self, value: float, reference: float) -> float:
        """How much better ``value`` is than ``reference``, whatever the metric's direction."""
        return value - reference if self.maximise else reference - value

    def reaches(self, value: float, limit: float) -> bool:
        """Whether ``value`` is at least as good as ``limit``."""
        return self.gain(value, limit) >= 0


_CLASSES = ("binary", "multiclass")
_COST = "cost"
_DEFINITIONS = (
    ("roc_auc", ("binary",), True, ranks.roc_auc),
    ("average_precision", ("binary",), True, ranks.average_precision),
    ("log_loss", _CLASSES, False, classes.log_loss),
    ("brier", _CLASSES, False, classes.brier),
    ("accuracy", _CLASSES, True, classes.accuracy),
    ("balanced_accuracy", _CLASSES, True, classes.balanced_accuracy),
    ("f1", ("binary",), True, classes.score_positive("f1")),
    ("precision", ("binary",), True, classes.score_positive("precision")),
    ("recall", ("binary",), True, classes.score_positive("recall")),
    ("jaccard", ("binary",), True, classes.score_positive("jaccard")),
    *(
        (f"{name}_{average}", _CLASSES, True, classes.over_classes(name, average))
        for average in ("macro", "weighted")
        for name in ("f1", "precision", "recall", "jaccard")
    ),
    ("matthews_corrcoef", _CLASSES, True, classes.matthews_corrcoef),
    ("cohen_kappa", _CLASSES, True, classes.cohen_kappa),
    (_COST, _CLASSES, False, classes.cost()),
    ("roc_auc_ovr", ("multiclass",), True, ranks.roc_auc_ovr),
    ("roc_auc_ovr_weighted", ("multiclass",), True, ranks.roc_auc_ovr_weighted),
    ("average_precision_macro", ("multiclass",), True, ranks.average_precision_macro),
    ("top_2_accuracy", ("multiclass",), True, classes.top_accuracy(2)),
    ("top_3_accuracy", ("multiclass",), True, classes.top_accuracy(3)),
    ("top_5_accuracy", ("multiclass",), True, classes.top_accuracy(5)),
    ("rmse", ("regression",), False, values.rmse),
    ("mse", ("regression",), False, values.mse),
    ("mae", ("regression",), False, values.mae),
    ("mape", ("regression",), False, values.mape),
    ("rmsle", ("regression",), False, values.rmsle),
    ("r2", ("regression",), True, values.r2),
    ("explained_variance", ("regression",), True, values.explained_variance),
    ("d2_absolute_error", ("regression",), True, values.d2_absolute_error),
    ("median_absolute_error", ("regression",), False, values.median_absolute_error),
    ("max_error", ("regression",), False, values.max_error),
    ("poisson_deviance", ("regression",), False, values.poisson_deviance),
    ("gamma_deviance", ("regression",), False, values.gamma_deviance),
    *(
        (f"pinball_{percent:02d}", ("regression",), False, values.pinball(percent / 100))
        for percent in (5, 10, 50, 90, 95)
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        name: Metric(name, frozenset(tasks), maximise, prepare)
        for name, tasks, maximise, prepare in _DEFINITIONS
    }
)
"""Every metric by its name."""

_DEFAULTS = {
    "binary": (
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "accuracy",
        "balanced_accuracy",
        "f1",
    ),
    "multiclass": ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr"),
    "regression": ("rmse", "mae", "r2", "median_absolute_error"),
}

_SKLEARN_NAMES = {
    "brier_score": "brier",
    "brier_score_loss": "brier",
    "cohen_kappa_score": "cohen_kappa",
    "d2_absolute_error_score": "d2_absolute_error",
    "f1_micro": "accuracy",
    "mcc": "matthews_corrcoef",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "mean_gamma_deviance": "gamma_deviance",
    "mean_pinball_loss": "pinball_50",
    "mean_poisson_deviance": "poisson_deviance",
    "mean_squared_error": "mse",
    "precision_micro": "accuracy",
    "recall_micro": "accuracy",
    "root_mean_squared_error": "rmse",
    "root_mean_squared_log_error": "rmsle",
}
"""Names in scikit-learn (without ``neg_``) -> names here, where they differ."""


def default_metrics(task_type: str) -> tuple[str, ...]:
    """Give the default metrics of a task type; the search optimises the first one."""
    return _DEFAULTS[task_type]


def lookup(name: str, task_type: str, costs: Floats | None = None) -> Metric:
    """Find a metric by its name, for a task type.

    Parameters
    ----------
    costs
        Cost matrix (k, k) for the metric ``cost``; by default every error costs 1. See
        ``costs.cost_matrix``.

    Raises
    ------
    BadParams
        If there is no metric of that name, or it is for other tasks.
    """
    suitable = [m.name for m in METRICS.values() if task_type in m.tasks]
    percent = re.fullmatch(r"pinball_(\d\d)", name)
    if percent and task_type == "regression" and int(percent[1]) > 0:
        pinball = values.pinball(int(percent[1]) / 100)
        return Metric(name, frozenset({"regression"}), maximise=False, prepare=pinball)
    if name not in METRICS:
        ours = _SKLEARN_NAMES.get(name.removeprefix("neg_"), name.removeprefix("neg_"))
        hint = f"Here it is called {ours!r}." if ours in suitable else nearest(name, suitable)
        raise BadParams(f"{name!r} is not a known metric (params.yaml)", hint)
    if name not in suitable:
        tasks = " and ".join(sorted(METRICS[name].tasks))
        raise BadParams(
            f"the metric {name!r} is for {tasks} tasks, and this one is {task_type} (params.yaml)",
            f"For {task_type} there are: {', '.join(suitable)}.",
        )
    if name == _COST and costs is not None:
        return replace(METRICS[name], prepare=classes.cost(costs))
    return METRICS[name]
