"""FastAPI around a scikit-learn pipeline, as its tutorials have it: python fastapi_app.py PORT."""

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
    """A body."""

    rows: list[dict[str, Any]]


@app.post("/predict")
def predict(given: Rows) -> list[float]:
    """Probabilities of the second class."""
    found: list[float] = model.predict_proba(pd.DataFrame(given.rows))[:, 1].tolist()
    return found


uvicorn.run(
    app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop",
    http="httptools",
)  # fmt: skip
