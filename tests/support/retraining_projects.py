"""A project with a data clock and a quick pipeline, with real Git, DVC, bundles and test rows."""

import json
import random

import small_projects
from small_projects import mlops, run_command, set_git_identity

PARAMS = """\
project: {name: shop, seed: 1}
task: {type: regression}
ingest:
  until: "2024-02-01"
  sources: {orders: {uri: orders.csv, time: day, types: {day: date}}}
featurize: {base: orders, target: price}
evaluate: {resamples: 100}
register:
  name: shop
  gates: {}
  champion: {metric: rmse, margin: 0.05}
  stages: {staging: {}, production: {}}
retrain: {promote: true}
"""
PIPELINE = """\
stages:
  featurize:
    cmd: python features.py
    deps: [features.py, orders.csv]
    params: [ingest]
    outs:
      - data/features
      - reports/features.json: {cache: false}
  register:
    cmd: python make.py
    deps: [make.py, data/features]
    params: [project.seed, register.gates]
    outs:
      - data/splits
      - models/model
      - models/registration.json: {cache: false}
      - reports/plots: {cache: false}
artifacts:
  shop: {path: models/model, type: model}
"""
FEATURES = """\
import csv, json, os, pathlib, sys, time
from ruamel.yaml import YAML

while os.path.exists(os.environ.get("HOLD", "")):
    time.sleep(0.05)
if os.environ.get("KILL") == "featurize":
    os.killpg(0, 9)

until = YAML(typ="safe").load(pathlib.Path("params.yaml"))["ingest"]["until"]
rows = [r for r in csv.DictReader(open("orders.csv")) if r["day"] < until]
for number, row in enumerate(rows):
    if None in row.values():
        sys.exit(f"row {number} of orders.csv is cut off: {row}")
pathlib.Path("data/features").mkdir(parents=True, exist_ok=True)
pathlib.Path("data/features/rows.json").write_text(json.dumps(rows))
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path("reports/features.json").write_text(json.dumps({"rows": {"labelled": len(rows)}}))
"""
MAKE_MODEL = """\
import json, os, pathlib
import polars as pl
from mlops_cli import params
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.labels import LabelCodec
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.layout import ROW, TARGET, TIME, Layout
from mlops_cli.data import parquet
from mlops_cli.models import bundle

layout = Layout(pathlib.Path.cwd())
settings = params.load(layout.params)
rows = json.loads(pathlib.Path("data/features/rows.json").read_text())
frame = pl.DataFrame(rows).with_row_index(ROW).select(
    pl.col(ROW), pl.col("a", "b").cast(pl.Float64), pl.col("price").cast(pl.Float64).alias(TARGET),
    pl.col("day").str.to_datetime(time_unit="us", time_zone="UTC").alias(TIME))
cut = len(frame) * 2 // 3
known, test = frame[:cut], frame[cut:]
parquet.write(test, layout.split("test"))
family = FAMILIES["lightgbm"]
encoder = Encoder.fit(known, {"a": "number", "b": "number"})
settled = {name: s.default for name, s in family.space.items()}
fitted = family.fit(FitRequest(encoder.transform(known), known[TARGET].to_numpy(),
                               TaskInfo("regression", 0), settled, seed=1, rounds=40))
rules = {"rules": {"base": "orders"}, "sources": {}, "features": encoder.kinds}
window = [moment.isoformat() for moment in (known[TIME].min(), known[TIME].max())]
made = bundle.Bundle((bundle.Member("lightgbm", fitted),), encoder, LabelCodec("regression"),
                     "regression", program=rules, facts={"rows": len(frame), "window": window})
bundle.save(made, layout.model)
manifest = json.loads((layout.model / "manifest.json").read_text())
error = float(((made.predict(test) - test[TARGET].to_numpy()) ** 2).mean() ** 0.5)
limit = settings.register_.gates.limits.get("rmse", 1e9)
pathlib.Path("reports/plots").mkdir(parents=True, exist_ok=True)
pathlib.Path("reports/plots/error.json").write_text(json.dumps([{"rmse": error}]))
if os.environ.get("KILL") == "register":
    os.killpg(0, 9)
figure = {"value": error, "low": error, "high": error}
layout.registration.write_text(json.dumps({
    "name": "shop", "decision": "approved" if error <= limit else "rejected",
    "gates": [{"name": "limits.rmse", "figure": error, "limit": limit, "passed": error <= limit,
               "reason": f"rmse is {error:.3g} (required: at most {limit:g})"}],
    "bundle_sha256": manifest["bundle_sha256"], "families": ["lightgbm"],
    "metrics": {"rmse": figure},
}))
"""


def make_orders(days, per_day=12, seed=0, strange=lambda day: False):
    """Make orders of several days; on strange days the price is random."""
    rng = random.Random(seed)  # noqa: S311 - data, not secrets
    lines = ["day,a,b,price"]
    for day in range(days):
        date = f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}"
        for _ in range(per_day):
            a, b = rng.random(), rng.random()
            price = rng.random() * 9 if strange(day) else 3 * a + b + rng.gauss(0, 0.1)
            lines.append(f"{date},{a:.4f},{b:.4f},{price:.4f}")
    return "\n".join(lines) + "\n"


def create_project(root):
    """Create a project with v0.1.0 of January in production, and orders until the end of March."""
    root.mkdir()
    files = {
        "params.yaml": PARAMS,
        "dvc.yaml": PIPELINE,
        "features.py": FEATURES,
        "make.py": MAKE_MODEL,
        "orders.csv": make_orders(84),
        ".gitignore": "/models/model\n/data/\n.mlops/\n__pycache__/\n",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    run_command(root, "git", "init", "--quiet", "--initial-branch", "main")
    set_git_identity(root)
    run_command(root, "dvc", "init", "--quiet")
    run_command(root, "dvc", "config", "core.analytics", "false")
    run_command(root, "git", "add", "--all")
    run_command(root, "git", "commit", "--quiet", "--message", "Start")
    run_command(root, "mlops", "register")
    run_command(root, "mlops", "promote", "v0.1.0", "--to", "production")
    return root


def commit_new_data(root, text):
    """Replace the data, and commit them."""
    (root / "orders.csv").write_text(text)
    run_command(root, "git", "commit", "--quiet", "--all", "--message", "New orders")


def run_retrain(root, *arguments, **environment):
    """Run `mlops retrain --json`; return exit code, report, and stderr on one line."""
    result = mlops(root, "retrain", "--json", *arguments, **environment)
    report = json.loads(result.stdout) if result.stdout.strip() else None
    return result.returncode, report, " ".join(result.stderr.split())


def repository_state(root):
    """Everything that a failed retraining must leave unchanged."""
    outputs = {
        path: path.read_bytes()
        for folder in ("models", "data", "reports")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    return small_projects.repository_state(root), outputs
