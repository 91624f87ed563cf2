"""FastAPI around a scikit-learn pipeline, as in its tutorials: python fastapi_app.py PORT."""

from __future__ import annotations

import sys
from typing import Any

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = joblib.load("model.joblib")


class Rows(BaseModel):
    """Body of a request."""

    rows: list[dict[str, Any]]


@app.post("/predict")
def predict(body: Rows) -> list[float]:
    """Predict the probability of the second class."""
    probabilities: list[float] = model.predict_proba(pd.DataFrame(body.rows))[:, 1].tolist()
    return probabilities


uvicorn.run(
    app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop",
    http="httptools",
)  # fmt: skip
