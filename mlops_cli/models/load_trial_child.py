"""Child process of ``load_trial``: loads a bundle and predicts unusual rows with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlops_cli.models import bundle as bundles

__all__ = ["main"]

_REFUSED = 3
_UNUSUAL = (0.0, 1.0, -1.0, 7.0, 1e30, -1e30, 0.5, 100.0)


def main(folder: str) -> None:
    """Exit with 0, or with 3 if the bundle can't be loaded or can't predict."""
    try:
        bundle = bundles.load(Path(folder), in_child_process=True)
        width = len(bundle.encoder.feature_of_column)
        uniform = [np.full(width, value) for value in (*_UNUSUAL, np.nan)]
        rng = np.random.default_rng(0)
        mixed = rng.choice([*_UNUSUAL, 2.0, 3.0, 5.0, np.nan], (60, width))
        rows = np.vstack([*uniform, mixed, rng.normal(scale=20.0, size=(60, width))])
        bundle.predict_matrix(rows)
        bundle.predict_matrix(rows[:1])
        _ = [member.fitted.importances for member in bundle.members]
    except Exception:  # noqa: BLE001 - the parent loads the bundle too, and reports the error
        raise SystemExit(_REFUSED) from None
