"""A project with a registered version, made hostile: values in its files, with right hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import delivered_projects as made
from ruamel.yaml import YAML

KEPT = "remote/files/md5"
"""The DVC remote in the repository itself: what a stranger can bring along."""


def published(project: Path) -> Path:
    """Make the project's DVC remote a folder that is committed; give the project."""
    made.run(project, *made.DVC, "remote", "add", "-f", "--default", "kept", "remote")
    made.run(project, *made.DVC, "push", "-q")
    return recommitted(project)


def recommitted(project: Path) -> Path:
    """Commit everything, and move the version's tag there."""
    made.run(project, "git", "add", "--all", "--force", "--", ".", ":!.dvc/cache", ":!.dvc/tmp")
    made.run(project, "git", "commit", "-qm", "Changed", "--allow-empty")
    made.run(project, "git", "tag", "-d", "toy@v0.1.0")
    made.tag(project, "v0.1.0")
    return project


def victim(project: Path, name: str = "victim") -> Path:
    """What somebody gets who clones it."""
    made.run(project.parent, "git", "clone", "-q", str(project), name)
    return project.parent / name


def edit_yaml(path: Path, change: Callable[[Any], None]) -> None:
    """Change a YAML file's tree."""
    yaml = YAML(typ="safe")
    tree = yaml.load(path)
    change(tree)
    path.write_text(json.dumps(tree))  # which is YAML too


def output(tree: Any, path: str) -> dict[str, Any]:
    """An output's entry in dvc.lock."""
    found = [o for s in tree["stages"].values() for o in s["outs"] if o["path"] == path]
    return found[0]


def add_object(project: Path, content: bytes, suffix: str = "") -> str:
    """Put bytes into the committed remote under their own hash."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    place = project / KEPT / md5[:2] / (md5[2:] + suffix)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return md5 + suffix


def mlops(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user runs it."""
    return subprocess.run(
        [made.sys.executable, "-m", "mlops_cli", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
