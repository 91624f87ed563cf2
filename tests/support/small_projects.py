"""Projects with real Git and DVC, and a pipeline of one quick stage with a real bundle."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mlops_cli import params as parameters
from mlops_cli.layout import Layout
from mlops_cli.models import bundle
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.project.git import Git

MLOPS = str(Path(sys.executable).with_name("mlops"))

PARAMS = """\
project: {name: shop, seed: 1}
task: {type: regression}
ingest:
  until: "2024-01-01"
  sources: {orders: {uri: orders.csv}}
featurize: {base: orders, target: price}
register:
  name: shop
  gates: {}
  stages:
    staging: {}
    production: {}
    guarded: {after: staging, approvals: 1, approvers: [bo@example.org, cy@example.org]}
"""
PIPELINE = """\
stages:
  register:
    cmd: python make.py
    deps: [make.py, fixed]
    params: [project.seed, ingest.until, register.gates]
    outs:
      - models/model
      - models/registration.json: {cache: false}
    metrics:
      - reports/metrics.json: {cache: false}
artifacts:
  shop: {path: models/model, type: model}
"""
MAKE_MODEL = """\
import dataclasses, json, pathlib
from mlops_cli import params
from mlops_cli.models import bundle

settings = params.load(pathlib.Path("params.yaml"))
seed = settings.project.seed
made = dataclasses.replace(bundle.load(pathlib.Path("fixed")), facts={"seed": seed})
bundle.save(made, pathlib.Path("models/model"))
manifest = json.loads(pathlib.Path("models/model/manifest.json").read_text())
value = 1 + seed / 100
metrics = {"mae": {"value": value, "low": value - 0.1, "high": value + 0.1}}
limit = settings.register_.gates.limits.get("mae", 99)
record = {
    "name": "shop",
    "decision": "approved" if value <= limit else "rejected",
    "gates": [{"name": "limits.mae", "figure": value, "limit": limit, "passed": value <= limit,
               "reason": f"mae is {value}"}],
    "bundle_sha256": manifest["bundle_sha256"],
    "families": ["lightgbm"],
    "metrics": metrics,
}
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path("reports/metrics.json").write_text(json.dumps({"model": metrics}))
pathlib.Path("models/registration.json").write_text(json.dumps(record))
"""


def shell(folder, *command, **environment):
    """Run a command; return the completed process."""
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run_command(folder, *command, **environment):
    """Run a command, which must succeed; return its stdout."""
    result = shell(folder, *command, **environment)
    assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout


def mlops(folder, *arguments, **environment):
    """Run `mlops` in its own process."""
    return shell(folder, MLOPS, *arguments, **environment)


def set_git_identity(folder, who="ann"):
    """Set name and address in a clone."""
    run_command(folder, "git", "config", "user.name", who.capitalize())
    run_command(folder, "git", "config", "user.email", f"{who}@example.org")


def create_project(root):
    """Create a committed project without outputs, and a bare Git remote beside it."""
    root.mkdir()
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "make.py").write_text(MAKE_MODEL)
    (root / ".gitignore").write_text("/models/model\n.mlops/\n__pycache__/\n/models/.gitignore\n")
    bundle.save(_bundle(), root / "fixed")
    run_command(root, "git", "init", "--quiet", "--initial-branch", "main")
    set_git_identity(root)
    run_command(root, "dvc", "init", "--quiet")
    run_command(root, "dvc", "config", "core.analytics", "false")
    run_command(root, "git", "add", "--all")
    run_command(root, "git", "commit", "--quiet", "--message", "Start")
    remote = root.with_name(f"{root.name}.git")
    run_command(root, "git", "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    run_command(root, "git", "remote", "add", "origin", str(remote))
    run_command(root, "git", "push", "--quiet", "--set-upstream", "origin", "main")
    return root


def clone_project(root, target, who):
    """Clone the bare remote as another person, with the same DVC cache."""
    remote = root.with_name(f"{root.name}.git")
    run_command(root.parent, "git", "clone", "--quiet", str(remote), str(target))
    set_git_identity(target, who)
    cache = str(root / ".dvc" / "cache")
    run_command(target, "dvc", "config", "--local", "cache.dir", cache)
    return target


def change_seed(root, seed):
    """Change the seed, on which the model depends."""
    path = root / "params.yaml"
    before = parameters.load(path).project.seed
    path.write_text(path.read_text().replace(f"seed: {before}}}", f"seed: {seed}}}"))
    return root


def repository_state(root):
    """References, index and files, which a registry command could change."""
    git = Git(root)
    return (
        git.run("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags"),
        git.run("status", "--porcelain"),
        git.run("diff", "--cached"),
        {p: (root / p).read_bytes() for p in git.run("ls-files").splitlines()},
    )


def load_settings(root):
    """Load parameters and layout."""
    layout = Layout(root)
    return parameters.load(layout.params), layout


def _bundle():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    family = FAMILIES["lightgbm"]
    fitted = family.fit(
        FitRequest(
            X,
            X[:, 0] * 2,
            TaskInfo("regression", 0, ()),
            {name: setting.default for name, setting in family.space.items()},
            seed=0,
            rounds=5,
        )
    )
    encoder = Encoder({"a": "number", "b": "number"})
    members = (bundle.Member("lightgbm", fitted),)
    return bundle.Bundle(members, encoder, LabelCodec("regression", ()), "regression")
