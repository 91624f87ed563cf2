"""A plain BentoML service around a scikit-learn pipeline: bentoml serve bento_app:Plain."""

from __future__ import annotations

from typing import Any

import bentoml
import joblib
import pandas as pd

model = joblib.load("model.joblib")


@bentoml.service(workers=1)
class Plain:
    """Service that predicts the probability of the second class."""

    @bentoml.api
    def predict(self, rows: list[dict[str, Any]]) -> list[float]:
        """Predict each row."""
        probabilities: list[float] = model.predict_proba(pd.DataFrame(rows))[:, 1].tolist()
        return probabilities
