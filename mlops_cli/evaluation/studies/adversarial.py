"""Whether test rows can be told from training rows: a model that tries to.

Adversarial validation: if it can (ROC AUC well above a half), the test rows are of another
population, and its most important features say in what. By time some of it is natural: features
that count the time always tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused
from mlops_cli.evaluation.studies.base import StudyResult, format_cell
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mlops_cli.evaluation.studies.base import StudyContext
    from mlops_cli.metrics.bootstrap import Interval
    from mlops_cli.metrics.catalog import Floats
    from mlops_cli.models.encoder import Encoder
    from mlops_cli.reporting import Progress

__all__ = ["adversarial"]

_FOLDS = 2
_ROUNDS = 60
_LEAST = 20
_SHOWN = 10


def adversarial(case: StudyContext, progress: Progress) -> StudyResult:
    """Cross-fit LightGBM on train against test rows, and rank what tells them apart."""
    import numpy as np
    import polars as pl

    from mlops_cli.metrics.bootstrap import Bootstrap, compare
    from mlops_cli.metrics.catalog import METRICS
    from mlops_cli.models.encoder import Encoder

    most = max(1, case.options.rows // 2)
    train, test = (case.drawn(frame, most, 2) for frame in (case.known, case.test))
    if min(len(train), len(test)) < _LEAST:
        raise DataRefused(
            f"there are {len(train)} training and {len(test)} test rows, too few to tell "
            "them apart",
            "Give the splits more rows.",
        )
    kinds = dict(case.bundle.encoder.kinds)
    frame = pl.concat([side.select(list(kinds)) for side in (train, test)])
    y = np.repeat([0, 1], [len(train), len(test)])
    encoder = Encoder.fit(frame, kinds)
    X = encoder.transform(frame)
    prediction, shares = _cross_fit(X, y, encoder, case.seed(3), progress)
    rules = case.params.evaluate
    auc = compare(
        [METRICS["roc_auc"]],
        y,
        {"adversary": prediction},
        Bootstrap(rules.resamples, rules.confidence, case.seed(1)),
    ).figures["adversary"]["roc_auc"]
    report: dict[str, Any] = {
        "roc_auc": auc.rounded(),
        "rows": {"train": len(train), "test": len(test)},
        "telling": _telling(encoder, shares, X[y == 0], X[y == 1]),
    }
    return StudyResult(report, _summary(report, auc))


def _cross_fit(
    X: Floats, y: NDArray[np.int_], encoder: Encoder, seed: list[int], progress: Progress
) -> tuple[Floats, Floats]:
    """Probabilities (n, 2) by models of the other folds, and the share of each column's gain."""
    import numpy as np

    from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo

    task = TaskInfo("binary", 2, encoder.categorical)
    fold = np.random.default_rng(seed).permutation(len(y)) % _FOLDS
    prediction, shares = np.zeros((len(y), 2)), np.zeros(X.shape[1])
    for out in range(_FOLDS):
        progress.update("telling test rows from training rows", out, _FOLDS)
        rows = fold != out
        request = FitRequest(X[rows], y[rows], task, seed=out, rounds=_ROUNDS)
        fitted = FAMILIES["lightgbm"].fit(request)
        prediction[~rows] = fitted.predict(X[~rows])
        shares += fitted.importances / _FOLDS
    return prediction, shares


def _telling(encoder: Encoder, shares: Floats, train: Floats, test: Floats) -> list[dict[str, Any]]:
    """The features that tell test rows from training rows, those of the largest share first."""
    import numpy as np

    names, shares = list(encoder.kinds), encoder.by_feature(shares)
    return [
        {
            "feature": names[j],
            "share": round(float(shares[j]), 6) + 0.0,
            "train": _typical(encoder, names[j], train[:, encoder.starts[j]]),
            "test": _typical(encoder, names[j], test[:, encoder.starts[j]]),
        }
        for j in np.argsort(-shares, kind="stable")[:_SHOWN]
        if shares[j] > 0
    ]


def _summary(report: dict[str, Any], auc: Interval) -> Summary:
    differ = "can't be told from" if auc.low <= 0.5 else "differ from"  # noqa: PLR2004
    rows = tuple((t["feature"], t["share"], t["train"], t["test"]) for t in report["telling"])
    columns = ("feature", "share of the gain", "typical in train", "typical in test")
    return Summary(
        headline=f"test rows {differ} training rows: roc_auc {format_cell(auc)}",
        tables=(Table("What tells them apart", columns, rows),),
        facts=report,
    )


def _typical(encoder: Encoder, name: str, values: Floats) -> Any:
    """The median, or the most frequent category; None where all are missing."""
    import numpy as np

    there = values[~np.isnan(values)]
    if not len(there):
        return None
    if name in encoder.texts:
        return "(text)"
    if name not in encoder.categories:
        return round(float(np.median(there)), 6) + 0.0
    code = int(np.argmax(np.bincount(there.astype(np.intp))))
    known = encoder.categories[name]
    return known[code] if code < len(known) else "(rare)"
