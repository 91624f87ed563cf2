"""Whether test rows can be told from training rows: a model that tries to.

Adversarial validation: if it can (ROC AUC well above a half), the test rows are of another
population, and its most important features say in what. By time some of it is natural: features
that count the time always tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused
from mlops_cli.live.studies.case import Found, cell
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    from mlops_cli.core.metrics import Floats
    from mlops_cli.live.studies.case import Case
    from mlops_cli.reporting import Progress

__all__ = ["adversarial"]

_FOLDS = 2
_ROUNDS = 60
_LEAST = 20
_SHOWN = 10


def adversarial(case: Case, progress: Progress) -> Found:
    """Cross-fit LightGBM on train against test rows, and rank what tells them apart."""
    import numpy as np
    import polars as pl

    from mlops_cli.core.encoding import Encoder
    from mlops_cli.core.intervals import Bootstrap, compare
    from mlops_cli.core.learners import FAMILIES, TaskInfo
    from mlops_cli.core.metrics import METRICS

    most = max(1, case.options.rows // 2)
    sides = [case.drawn(frame, most, 2) for frame in (case.known, case.test)]
    if min(len(side) for side in sides) < _LEAST:
        raise DataRefused(
            f"there are {len(sides[0])} training and {len(sides[1])} test rows, too few to tell "
            "them apart",
            "Give the splits more rows.",
        )
    kinds = dict(case.bundle.encoder.kinds)
    frame = pl.concat([side.select(list(kinds)) for side in sides])
    y = np.repeat([0, 1], [len(side) for side in sides])
    encoder = Encoder.fit(frame, kinds)
    X, task = encoder.transform(frame), TaskInfo("binary", 2, encoder.categorical)
    family = FAMILIES["lightgbm"]
    fold = np.random.default_rng(case.seed(3)).permutation(len(y)) % _FOLDS
    prediction = np.zeros((len(y), 2))
    shares = np.zeros(X.shape[1])
    for out in range(_FOLDS):
        progress.update("telling test rows from training rows", out, _FOLDS)
        rows = fold != out
        fitted = family.fit(X[rows], y[rows], task, {}, seed=out, iterations=_ROUNDS)
        prediction[~rows] = fitted.predict(X[~rows])
        shares += fitted.importances / _FOLDS
    found = compare(
        [METRICS["roc_auc"]],
        y,
        {"adversary": prediction},
        Bootstrap(case.params.evaluate.resamples, case.params.evaluate.confidence, case.seed(1)),
    ).figures["adversary"]["roc_auc"]
    shares, starts = encoder.by_feature(shares), encoder.starts
    ranked = np.argsort(-shares, kind="stable")[:_SHOWN]
    names = list(kinds)
    telling = [
        {
            "feature": names[j],
            "share": round(float(shares[j]), 6) + 0.0,
            "train": _typical(encoder, names[j], X[y == 0, starts[j]]),
            "test": _typical(encoder, names[j], X[y == 1, starts[j]]),
        }
        for j in ranked
        if shares[j] > 0
    ]
    report: dict[str, Any] = {
        "roc_auc": found.rounded(),
        "rows": {"train": len(sides[0]), "test": len(sides[1])},
        "telling": telling,
    }
    said = "can't be told from" if found.low <= 0.5 else "differ from"  # noqa: PLR2004
    rows_ = tuple((t["feature"], t["share"], t["train"], t["test"]) for t in telling)
    columns = ("feature", "share of the gain", "typical in train", "typical in test")
    return Found(
        report,
        Summary(
            headline=f"test rows {said} training rows: roc_auc {cell(found)}",
            tables=(Table("What tells them apart", columns, rows_),),
            facts=report,
        ),
    )


def _typical(encoder: Any, name: str, values: Floats) -> Any:
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
