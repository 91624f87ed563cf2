"""Creates a new project on disk, with files, Git and DVC: completely or not at all."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.data.column_names import feature_name, project_name
from mlops_cli.data.templates import render
from mlops_cli.errors import MlopsError, Usage
from mlops_cli.project.dvc import use_site_cache
from mlops_cli.project.git import Git
from mlops_cli.scaffold import ci as workflows
from mlops_cli.scaffold.data_file import DataFile, open_data_file
from mlops_cli.scaffold.infer_project import PredictionProblem, Proposal, infer
from mlops_cli.scaffold.yaml_text import FILTERS

if TYPE_CHECKING:
    from mlops_cli.scaffold.ci import Provider

__all__ = ["CreatedProject", "create"]

_TEMPLATES = {
    "dvc.yaml": "dvc.yaml.jinja",
    ".gitignore": "gitignore.jinja",
    ".gitattributes": "gitattributes.jinja",
    "README.md": "README.md.jinja",
}
"""Path in a new project -> template."""


@dataclass(frozen=True)
class CreatedProject:
    """A project that was created.

    Attributes
    ----------
    notes
        Steps that the user may have to do by hand.
    """

    root: Path
    name: str
    proposal: Proposal
    committed: bool
    notes: tuple[str, ...]


def create(
    root: Path,
    data: Path,
    problem: PredictionProblem,
    *,
    name: str | None = None,
    encoding: str = "utf-8",
    ci: Provider | None = None,
) -> CreatedProject:
    """Infer a project from a data file, and create its folder.

    The folder appears when it is complete: on any error nothing is left behind.

    Raises
    ------
    Usage
        If the folder is not empty, the name is not allowed, a column doesn't exist, or workflows
        (``ci``) are requested in a folder of another repository.
    NotFound, SourceUnreadable, DataRefused
        If the data file is missing, can't be read, or can't be learned from.
    """
    root, data = root.resolve(), data.resolve()
    _check_vacant(root)
    if name is not None and not re.fullmatch(r"[a-z][a-z0-9-]*[a-z0-9]", name):
        raise Usage(
            f"--name {name!r} is not a project's name",
            f"Small letters, digits and hyphens, such as {project_name(name)}.",
        )
    name = name or project_name(root.name)
    with tempfile.TemporaryDirectory(prefix="mlops-init-") as scratch:
        with open_data_file(data, Path(scratch), encoding) as file:
            proposal = infer(file.frame, problem, file.notations)
        texts = _render_files(name, file, proposal)
    outer = _find_git_root(root)
    if ci is not None:
        if outer is not None:
            workflows.refuse_inside(root, outer)
        texts |= workflows.texts(ci)
    # An existing empty folder is filled, not replaced: it may be a shell's working directory.
    staging = root.parent / f".{root.name}.new" if root.exists() else root
    try:
        with atomic_write(staging) as building:
            building.mkdir()
            _write_files(building, texts, data)
            _track(building, _raw_path(data), inside_git=outer is not None)
            committed, notes = _commit(building, outer)
        if staging != root:
            for part in staging.iterdir():
                part.rename(root / part.name)
            staging.rmdir()
    except PermissionError as error:
        raise Usage(
            f"{error.filename or root.parent} cannot be written to",
            "Choose another folder, or change its permissions.",
        ) from error
    return CreatedProject(root, name, proposal, committed, notes)


def _check_vacant(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise Usage(f"{root} is a file, not a folder", "Name a new folder.")
    entries = sorted(p.name for p in root.iterdir()) if root.exists() else []
    if entries:
        raise Usage(
            f"{root} is not empty: it holds {entries[0]!r}"
            + (f" and {len(entries) - 1} more" if len(entries) > 1 else ""),
            "Name a new folder; it is made for you.",
        )


def _raw_path(data: Path) -> str:
    """Path of the data file in the project, without characters that have a meaning in patterns."""
    return "data/raw/" + (re.sub(r"[^\w.-]+", "_", data.name).lstrip("._-") or "data")


def _render_files(name: str, file: DataFile, proposal: Proposal) -> dict[str, str]:
    """Path -> content of the project's text files."""
    from mlops_cli.evaluation.plots import PLOTS
    from mlops_cli.scaffold import params_yaml

    uri = _raw_path(file.path)
    source = feature_name(Path(uri).name.split(".")[0])
    derive = {**file.derive, **proposal.derive}
    reading = params_yaml.ReadOptions(
        source, uri, file.separator, file.encoding, file.null_values, file.types, derive
    )
    target, task = proposal.target.name, proposal.target.task
    values = {"name": name, "target": target, "task": task, "data": uri, "plots": PLOTS[task]}
    texts = {
        path: render("mlops_cli.scaffold", f"project/{template}", FILTERS, **values)
        for path, template in _TEMPLATES.items()
    }
    return {"params.yaml": params_yaml.render(name, reading, proposal), **texts}


def _write_files(root: Path, texts: dict[str, str], data: Path) -> None:
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    raw = root / _raw_path(data)
    raw.parent.mkdir(parents=True)
    shutil.copyfile(data, raw)


def _track(root: Path, raw: str, *, inside_git: bool) -> None:
    """Set up Git and DVC in the folder, and track the data file with DVC."""
    # DVC sends usage data by default.
    os.environ["DVC_NO_ANALYTICS"] = "true"
    use_site_cache()
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    if not inside_git:
        Git(root).run("init", "--quiet", "--initial-branch=main")
    try:
        # DVC prints next steps, which are done here.
        with (
            contextlib.redirect_stdout(io.StringIO()),
            Repo.init(str(root), subdir=inside_git) as repo,
        ):
            with repo.config.edit() as config:
                config["core"]["analytics"] = False
                config["core"]["check_update"] = False
                config["core"]["autostage"] = False
            repo.add([str(root / raw)])
            site_cache = repo.site_cache_dir
    except DvcException as error:
        raise MlopsError(
            f"DVC could not do it: {' '.join(str(error).split())}", "`dvc doctor` tells more."
        ) from error
    # DVC names this cache by the folder's path, which is about to change.
    shutil.rmtree(site_cache, ignore_errors=True)
    shutil.rmtree(root / ".dvc" / "tmp", ignore_errors=True)


def _commit(root: Path, outer: Path | None) -> tuple[bool, tuple[str, ...]]:
    if outer is not None:
        return False, (
            f"the project lies in the Git repository {outer}: add and commit it there yourself",
        )
    by_hand = 'git add --all && git commit --message "Start the project"'
    git = Git(root)
    if not _has_identity(git):
        return False, (f"Git doesn't know who you are, so nothing is committed; run {by_hand}",)
    try:
        git.run("add", "--all")
        git.run("commit", "--quiet", "--message", "Start the project")
    except MlopsError as error:
        return False, (f"{error.message}; run {by_hand}",)
    return True, ()


def _has_identity(git: Git) -> bool:
    if os.environ.get("GIT_AUTHOR_EMAIL") or os.environ.get("EMAIL"):
        return True
    return bool(git.try_run("config", "user.email"))


def _find_git_root(folder: Path) -> Path | None:
    """The root of the Git repository of a folder, which may not exist yet; None without one."""
    existing = next(p for p in (folder, *folder.parents) if p.is_dir())
    top = Git(existing).try_run("rev-parse", "--show-toplevel")
    return None if top is None else Path(top)
