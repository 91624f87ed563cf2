"""Adversarial validation: a classifier that separates test rows from training rows.

If it succeeds (ROC AUC well above 0.5), the test rows are from another population, and its most
important features show the difference. With a split by time, some difference is natural: features
that count time always differ.
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
_MIN_ROWS = 20
_MAX_FEATURES = 10


def adversarial(case: StudyContext, progress: Progress) -> StudyResult:
    """Cross-fit LightGBM on training against test rows, and rank the features that differ."""
    import numpy as np
    import polars as pl

    from mlops_cli.metrics.bootstrap import Bootstrap, compare
    from mlops_cli.metrics.catalog import METRICS
    from mlops_cli.models.encoder import Encoder

    max_rows = max(1, case.options.max_rows // 2)
    train, test = (
        case.sample_rows(frame, max_rows, 2) for frame in (case.training_rows, case.test)
    )
    if min(len(train), len(test)) < _MIN_ROWS:
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
        "roc_auc": auc.to_json(),
        "rows": {"train": len(train), "test": len(test)},
        "telling": _rank_features(encoder, shares, X[y == 0], X[y == 1]),
    }
    return StudyResult(report, _summary(report, auc))


def _cross_fit(
    X: Floats, y: NDArray[np.int_], encoder: Encoder, seed: list[int], progress: Progress
) -> tuple[Floats, Floats]:
    """Compute out-of-fold probabilities (n, 2), and each column's share of the gain."""
    import numpy as np

    from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo

    task = TaskInfo("binary", 2, encoder.categorical)
    fold_of_row = np.random.default_rng(seed).permutation(len(y)) % _FOLDS
    prediction, shares = np.zeros((len(y), 2)), np.zeros(X.shape[1])
    for fold in range(_FOLDS):
        progress.update("telling test rows from training rows", fold, _FOLDS)
        is_training = fold_of_row != fold
        request = FitRequest(X[is_training], y[is_training], task, seed=fold, rounds=_ROUNDS)
        fitted = FAMILIES["lightgbm"].fit(request)
        prediction[~is_training] = fitted.predict(X[~is_training])
        shares += fitted.importances / _FOLDS
    return prediction, shares


def _rank_features(
    encoder: Encoder, shares: Floats, train: Floats, test: Floats
) -> list[dict[str, Any]]:
    """Rank the features that separate test rows from training rows, largest share first."""
    import numpy as np

    names, shares = list(encoder.kinds), encoder.sum_by_feature(shares)
    return [
        {
            "feature": names[j],
            "share": round(float(shares[j]), 6) + 0.0,
            "train": _typical_value(encoder, names[j], train[:, encoder.first_columns[j]]),
            "test": _typical_value(encoder, names[j], test[:, encoder.first_columns[j]]),
        }
        for j in np.argsort(-shares, kind="stable")[:_MAX_FEATURES]
        if shares[j] > 0
    ]


def _summary(report: dict[str, Any], auc: Interval) -> Summary:
    verdict = "can't be told from" if auc.low <= 0.5 else "differ from"  # noqa: PLR2004
    entries = tuple(
        (feature["feature"], feature["share"], feature["train"], feature["test"])
        for feature in report["telling"]
    )
    columns = ("feature", "share of the gain", "typical in train", "typical in test")
    return Summary(
        headline=f"test rows {verdict} training rows: roc_auc {format_cell(auc)}",
        tables=(Table("What tells them apart", columns, entries),),
        facts=report,
    )


def _typical_value(encoder: Encoder, name: str, values: Floats) -> Any:
    """Give the median, or the most frequent category; None if all values are missing."""
    import numpy as np

    present = values[~np.isnan(values)]
    if not len(present):
        return None
    if name in encoder.texts:
        return "(text)"
    if name not in encoder.categories:
        return round(float(np.median(present)), 6) + 0.0
    code = int(np.argmax(np.bincount(present.astype(np.intp))))
    categories = encoder.categories[name]
    return categories[code] if code < len(categories) else "(rare)"
