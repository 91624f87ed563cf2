"""A project with half a year of history, in which the target's relation may reverse on one day."""

import random

from mlops_cli import params as parameters
from mlops_cli.layout import Layout

PARAMS = """\
project: {name: shop, seed: 1}
task: {type: TASK}
ingest:
  until: "2024-02-01"
  sources:
    orders:
      uri: orders.csv
      time: at
      types: {at: datetime}
      derive: {labelled_at: at + INTERVAL '1 day'}
      known_at: {y: labelled_at}
featurize:
  base: orders
  target: y
  features: {a: a, b: b, kind: kind}
split: {strategy: time, validation: 10d, test: 10d}
tune: {families: [linear]}
evaluate: {resamples: 40, slice_rows: 50}
register:
  name: shop
  champion: {metric: METRIC, margin: 0.02}
backtest: {error_cost: 1, retrain_cost: 60, trials: 1}
"""
METRICS = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "rmse"}


def create_project(root, task="binary", change=60, days=182, per_day=24, seed=0):
    """Write the project; from the day ``change`` on, the relation to the target is reversed."""
    root.mkdir(parents=True, exist_ok=True)
    text = PARAMS.replace("TASK", task).replace("METRIC", METRICS[task])
    (root / "params.yaml").write_text(text)
    rng = random.Random(seed)  # noqa: S311 - data, not secrets
    lines = ["at,a,b,kind,y"]
    for day in range(days):
        sign = 1 if day < change else -1
        for i in range(per_day):
            a, b = rng.gauss(0, 1), rng.gauss(0, 1)
            value = sign * (a - b) + rng.gauss(0, 0.5)
            band = "high" if value > 1 else "low" if value < -1 else "mid"
            shown = {"binary": str(value > 0).lower(), "multiclass": band}
            y = shown.get(task, f"{value:.4f}")
            month, within = 1 + day // 28, 1 + day % 28
            at = f"2024-{month:02d}-{within:02d}T{i % 24:02d}:30:00Z"
            lines.append(f"{at},{a:.4f},{b:.4f},{rng.choice('xyz')},{y}")
    (root / "orders.csv").write_text("\n".join(lines) + "\n")
    layout = Layout(root)
    return parameters.load(layout.params), layout
