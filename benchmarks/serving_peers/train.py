"""Fit the scikit-learn pipeline over raw rows that the other servers use.

`python train.py ROWS FOLDER` reads rows as JSON lines and writes `model.joblib`, and an MLflow
model if MLflow is installed. The pipeline does less than the flights' model: no look-ups, 100 trees
of raw columns. The labels are made up, which doesn't affect its speed.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

lines, folder = Path(sys.argv[1]).read_text().splitlines(), Path(sys.argv[2])
rows = pd.DataFrame(map(json.loads, lines))
text = [c for c in rows if rows[c].dtype.kind not in "if"]
encode = make_column_transformer(
    (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), text),
    remainder="passthrough",
)
model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=100, random_state=0))
model.fit(rows, [i % 2 for i in range(len(rows))])
joblib.dump(model, folder / "model.joblib")
if find_spec("mlflow"):
    import mlflow.sklearn

    # As skops, MLflow would need a list of the trusted types.
    mlflow.sklearn.save_model(model, folder / "mlflow", serialization_format="cloudpickle")
