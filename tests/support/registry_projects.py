"""A small project with a registered version, a bare Git remote and a folder as DVC remote."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mlops_cli.registry.git_tags import read
from mlops_cli.registry.versions import Version

NAME = "toy"
DVC = (sys.executable, "-m", "dvc")
PARAMS = """\
project: {name: toy, seed: 3}
task: {type: binary}
ingest: {sources: {rows: {uri: data/rows.csv}}}
featurize: {base: rows, target: late, features: {size: size}}
register: {name: toy}
"""
PIPELINE = """\
stages:
  train:
    cmd: python make_model.py
    deps: [make_model.py, data/rows.csv]
    params: [project.seed]
    outs:
      - data/copy.csv
      - models/model
      - models/registration.json: {cache: false}
      - reports/metrics.json: {cache: false}
"""
SCRIPT = '''\
"""Fit a linear model, and write a real bundle quickly."""

from pathlib import Path

import polars as pl
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.labels import LabelCodec
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.bundle import Bundle, Member, save, verify
from mlops_cli.data.atomic_files import write_json

rows = pl.read_csv("data/rows.csv")
Path("data/copy.csv").write_text(Path("data/rows.csv").read_text().upper())
kinds = {"size": "number"}
encoder, labels = Encoder.fit(rows, kinds), LabelCodec.fit(rows["late"], "binary")
family = FAMILIES["linear"]
settings = {key: setting.default for key, setting in family.space.items()}
fitted = family.fit(FitRequest(
    encoder.transform(rows),
    labels.encode(rows["late"]),
    TaskInfo("binary", 2, encoder.categorical),
    settings,
    seed=0,
))
inputs = {"size": {"kind": "number", "type": "Float64"}}
bundle = Bundle(
    (Member("linear", fitted, settings=settings),),
    encoder,
    labels,
    "binary",
    threshold=0.5,
    program={"features": kinds},
    signature={"inputs": inputs},
    facts={"versions": {"toy": "1"}},
)
save(bundle, Path("models/model"))
sha256 = verify(Path("models/model"))["bundle_sha256"]
record = {"name": "toy", "decision": "approved", "gates": [], "bundle_sha256": sha256}
write_json(Path("models/registration.json"), record)
metrics = {"model": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}}}
write_json(Path("reports/metrics.json"), metrics)
'''


def run(folder: Path, *words: str) -> str:
    """Run a command in a folder; it must succeed."""
    environment = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def create_project(folder: Path) -> Path:
    """Create the project in ``folder/project`` with remotes beside it; nothing is pushed."""
    project = folder / "project"
    run(folder, "git", "init", "-q", "--bare", "-b", "main", "origin.git")
    run(folder, "git", "init", "-q", "-b", "main", "project")
    for key, value in (("user.name", "Ann"), ("user.email", "ann@example.org")):
        run(project, "git", "config", key, value)
    run(project, "git", "remote", "add", "origin", "../origin.git")
    run(project, *DVC, "init", "-q")
    (folder / "kept").mkdir()
    run(project, *DVC, "remote", "add", "--default", "kept", "../kept")
    (project / ".gitignore").write_text(".mlops/\n__pycache__/\n")
    (project / "params.yaml").write_text(PARAMS)
    (project / "dvc.yaml").write_text(PIPELINE)
    (project / "make_model.py").write_text(SCRIPT)
    (project / "data").mkdir()
    rows = "".join(f"{i / 7:.3f},{int(i % 5 + i > 30)}\n" for i in range(60))
    (project / "data" / "rows.csv").write_text("size,late\n" + rows)
    run(project, *DVC, "add", "-q", "data/rows.csv")
    run(project, *DVC, "repro", "-q")
    commit(project, "First")
    tag_version(project, "v0.1.0")
    return project


def commit(project: Path, message: str) -> None:
    """Commit everything."""
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "-qm", message)


def tag_version(project: Path, number: str) -> None:
    """Register HEAD, as `mlops register` does."""
    record = (project / "models" / "registration.json").read_text()
    sha256 = record.partition('"bundle_sha256": "')[2][:64]
    message = f"Register {NAME} {number}\n\nBundle: {sha256}\n"
    run(project, "git", "tag", "-a", f"{NAME}@{number}", "-m", message)


def find_version(project: Path, text: str = "latest") -> Version:
    """Find a registered version."""
    return read(project, NAME).find(text)


def push_all(project: Path) -> None:
    """Push everything to both remotes, with Git's and DVC's commands."""
    run(project, *DVC, "push", "-q")
    run(project, "git", "push", "-q", "origin", "main", "--tags")


def copy_project(project: Path, folder: Path) -> Path:
    """Copy the project and its remotes, so that a test may change them."""
    for name in ("origin.git", "kept", "project"):
        shutil.copytree(project.parent / name, folder / name, symlinks=True)
    return folder / "project"


def clone_remote(project: Path, name: str = "clone") -> Path:
    """Clone the Git remote, without data."""
    run(project.parent, "git", "clone", "-q", "origin.git", name)
    other = project.parent / name
    for key, value in (("user.name", "Bob"), ("user.email", "bob@example.org")):
        run(other, "git", "config", key, value)
    return other


def cache_path(project: Path, md5: str) -> Path:
    """Path of an object in the project's DVC cache."""
    return project / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def change_byte(path: Path) -> None:
    """Change one byte of a file."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def add_empty_commit(project: Path) -> None:
    """Add an empty commit, because a commit has only one version."""
    run(project, "git", "commit", "-q", "--allow-empty", "-m", "Again")
