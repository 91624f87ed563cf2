"""Hostile changes of a project with a registered version, with matching hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import registry_projects as projects
from ruamel.yaml import YAML

REMOTE_FILES = "remote/files/md5"
"""Folder of a DVC remote that is committed to the repository."""


def commit_dvc_remote(project: Path) -> Path:
    """Add a DVC remote in the repository, push to it, and commit it."""
    projects.run(project, *projects.DVC, "remote", "add", "-f", "--default", "kept", "remote")
    projects.run(project, *projects.DVC, "push", "-q")
    return commit_and_retag(project)


def commit_and_retag(project: Path) -> Path:
    """Commit everything, and move the version's tag to the commit."""
    projects.run(project, "git", "add", "--all", "--force", "--", ".", ":!.dvc/cache", ":!.dvc/tmp")
    projects.run(project, "git", "commit", "-qm", "Changed", "--allow-empty")
    projects.run(project, "git", "tag", "-d", "toy@v0.1.0")
    projects.tag_version(project, "v0.1.0")
    return project


def clone_repository(project: Path, name: str = "victim") -> Path:
    """Clone the repository, as its victim would."""
    projects.run(project.parent, "git", "clone", "-q", str(project), name)
    return project.parent / name


def edit_yaml(path: Path, change: Callable[[Any], None]) -> None:
    """Edit a YAML file."""
    yaml = YAML(typ="safe")
    tree = yaml.load(path)
    change(tree)
    path.write_text(json.dumps(tree))  # which is YAML too


def lock_output(tree: Any, path: str) -> dict[str, Any]:
    """Return an output's entry in dvc.lock."""
    outputs = [o for s in tree["stages"].values() for o in s["outs"] if o["path"] == path]
    return outputs[0]


def add_object(project: Path, content: bytes, suffix: str = "") -> str:
    """Add bytes to the committed remote under their hash."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    place = project / REMOTE_FILES / md5[:2] / (md5[2:] + suffix)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return md5 + suffix


def mlops(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `mlops` in its own process."""
    return subprocess.run(
        [projects.sys.executable, "-m", "mlops_cli", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
