"""The project from which hostile clones are made, and isolated copies of it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import registry_projects as projects

PARAMS = """\
project: {name: toy, seed: 3}
task: {type: binary}
ingest: {sources: {rows: {uri: data/rows.csv}}}
featurize: {base: rows, target: late > 0, features: {size: size * 2, kind: kind}}
register: {name: toy}
"""
PIPELINE = """\
stages:
  train:
    cmd: python make_model.py
    deps: [make_model.py, data/rows.csv]
    params: [project.seed]
    outs:
      - data/copy
      - models/model
      - models/registration.json: {cache: false}
      - reports/metrics.json: {cache: false}
artifacts:
  toy: {path: models/model, type: model}
"""
SCRIPT = '''\
"""Fit a linear model, and write a real bundle with a feature program quickly."""

import json
from pathlib import Path

import polars as pl
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.labels import LabelCodec
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.features.program import FeatureProgram
from mlops_cli.params import load
from mlops_cli.models.bundle import Bundle, Member, extend, save
from mlops_cli.data.atomic_files import write_json

params = load(Path("params.yaml"))
rows = pl.read_csv("data/rows.csv")
Path("data/copy/deep").mkdir(parents=True)
rows.write_csv("data/copy/deep/rows.csv")
rows.head(3).write_csv("data/copy/few.csv")
program = FeatureProgram.compile(params.featurize, params.ingest, {"rows": rows.schema})
features = program.transform(rows, {"rows": rows.lazy()})
target = rows.select(program.target.expr.alias("y"))["y"]
labels, encoder = LabelCodec.fit(target, "binary"), Encoder.fit(features, program.kinds)
family = FAMILIES["linear"]
settings = {key: setting.default for key, setting in family.space.items()}
fitted = family.fit(FitRequest(
    encoder.transform(features),
    labels.encode(target),
    TaskInfo("binary", 2, encoder.categorical),
    settings,
    seed=0,
))
bundle = Bundle(
    (Member("linear", fitted, settings=settings),),
    encoder,
    labels,
    "binary",
    threshold=0.5,
    program={**program.to_json(), "example": {"size": 1.5, "kind": "b"}},
    signature={"inputs": {"size": {"kind": "number"},
                          "kind": {"kind": "category", "categories": ["a", "b"]}}},
    facts={"versions": {"toy": "1"}},
)
save(bundle, Path("models/fitted"))
metrics = {"model": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}}}
schema = {"base": "rows", "sources": {"rows": {"time": None, "rules": {"columns": {}}}}}
more = {"metrics.json": metrics, "schema.json": schema, "lineage.json": {"clock": "2024"}}
manifest = extend(
    Path("models/fitted"), Path("models/model"), {n: json.dumps(t) for n, t in more.items()}
)
record = {"name": "toy", "decision": "approved", "gates": [], "metrics": metrics["model"],
          "bundle_sha256": manifest["bundle_sha256"]}
write_json(Path("models/registration.json"), record)
write_json(Path("reports/metrics.json"), metrics)
'''


def make_project(folder: Path) -> Path:
    """Create a project with a version in production, whose DVC remote is committed."""
    # The stage calls `python`: this one.
    own = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([own, os.environ["PATH"]])
    project = folder / "clone"
    project.mkdir(parents=True)
    projects.run(project, "git", "init", "-q", "-b", "main")
    settings = {
        "user.name": "Ann",
        "user.email": "ann@example.org",
        "remote.origin.url": ".",
        "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
        "branch.main.remote": "origin",
        "branch.main.merge": "refs/heads/theirs",
        "gc.auto": "0",
    }
    for key, value in settings.items():
        projects.run(project, "git", "config", key, value)
    projects.run(project, *projects.DVC, "init", "-q")
    projects.run(project, *projects.DVC, "remote", "add", "--default", "kept", "remote")
    texts = {
        ".gitignore": ".mlops/\n__pycache__/\n/models/fitted\n",
        "params.yaml": PARAMS,
        "dvc.yaml": PIPELINE,
        "make_model.py": SCRIPT,
    }
    for name, text in texts.items():
        (project / name).write_text(text)
    (project / "data").mkdir()
    rows = "".join(f"{i / 7:.3f},{'ab'[i % 2]},{int(i % 5 + i > 30)}\n" for i in range(60))
    (project / "data" / "rows.csv").write_text("size,kind,late\n" + rows)
    projects.run(project, *projects.DVC, "add", "-q", "data/rows.csv")
    projects.run(project, *projects.DVC, "repro", "-q")
    projects.run(project, *projects.DVC, "push", "-q")
    projects.commit(project, "First")
    projects.tag_version(project, "v0.1.0")
    projects.run(
        project, "git", "tag", "-a", "toy#production#1", "-m", "Promote\n\nVersion: v0.1.0"
    )
    projects.run(project, "git", "branch", "theirs")
    for name in (".dvc/cache", ".dvc/tmp", "models/fitted"):
        shutil.rmtree(project / name, ignore_errors=True)
    return project


def isolated_copy(template: Path, folder: Path) -> Path:
    """Copy the project into a folder with other files that must stay unchanged."""

    def copy(source: str, target: str) -> None:
        # What is never changed in place may be one file on the disk.
        if "/.git/objects/" in source or "/remote/" in source:
            os.link(source, target)
        else:
            shutil.copyfile(source, target)

    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    for name in ("canary", ".canary.yaml", "canary.json"):
        (folder / name).write_text("a: secret\n")
    shutil.copytree(template, folder / "clone", symlinks=True, copy_function=copy)
    return folder / "clone"


def list_surroundings(folder: Path) -> dict[str, Any]:
    """List the files beside the clone, and Git's settings and hooks in it."""
    entries = {}
    for path in [*folder.iterdir(), *(folder / "clone" / ".git" / "hooks").iterdir()]:
        if path.name not in {"clone", "home", "tmp"}:
            entries[str(path)] = path.read_bytes() if path.is_file() else "folder"
    return entries | {"config": (folder / "clone" / ".git" / "config").read_bytes()}
