"""CI workflows of a project for GitHub or GitLab, written from templates."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from mlops_cli.data.templates import render
from mlops_cli.errors import Usage
from mlops_cli.project.git import Git
from mlops_cli.project.write_files import write_files

__all__ = ["LOCK", "PYTHON", "Provider", "refuse_inside", "texts", "write"]

Provider = Literal["github", "gitlab"]

LOCK = "requirements.lock"
"""File with the packages that workflows install, with hashes; below the repository's root."""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Python version of workflows: the one that the project is developed with."""

_TEMPLATES = {
    "github": {
        f".github/workflows/{name}.yml": f"{name}.yml.angle.jinja"
        for name in ("delivery", "pipeline", "retrain")
    },
    "gitlab": {".gitlab-ci.yml": "gitlab-ci.yml.jinja"},
}


def texts(provider: Provider) -> dict[str, str]:
    """Path of a workflow below the repository's root -> its content."""
    return {
        path: render("mlops_cli.scaffold", f"ci/{provider}/{template}", python=PYTHON)
        for path, template in _TEMPLATES[provider].items()
    }


def write(root: Path, provider: Provider, *, force: bool = False) -> list[str]:
    """Write the workflows into a project, and return their paths.

    Raises
    ------
    Usage
        If the project isn't its repository's root, or one of the files exists and differs,
        unless ``force``.
    """
    top = Git(root).try_run("rev-parse", "--show-toplevel")
    if top is not None and Path(top).resolve() != root.resolve():
        refuse_inside(root, Path(top))
    return write_files(root, texts(provider), force=force)


def refuse_inside(root: Path, repository: Path) -> None:
    """Refuse a project in a folder of a repository: workflows are read only from its root."""
    raise Usage(
        f"{root} lies in the Git repository {repository}, whose root is where workflows are read",
        "Write them there by hand, with the project's folder as working directory; "
        "docs/ci.md shows their steps.",
    )
