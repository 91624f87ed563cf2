"""Read the reports, parameters and ``dvc.lock`` of a Git revision or of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlops_cli.data.untrusted import json_tree, path_inside, refuse_malformed
from mlops_cli.errors import DataRefused, NotFound, NotProject, nearest
from mlops_cli.layout import Layout
from mlops_cli.project.git import Git
from mlops_cli.registry.compare_revisions import RevisionFacts

__all__ = ["WORKSPACE", "commit_of", "facts_at"]

WORKSPACE = "workspace"


def facts_at(root: Path, revision: str | None, *, allow_missing: bool = False) -> RevisionFacts:
    """Read the reports, parameters and ``dvc.lock`` of a revision.

    Parameters
    ----------
    revision
        A commit, branch or tag; None for the files in the workspace.
    allow_missing
        Accept a revision without reports.

    Raises
    ------
    NotProject
        If the folder is not under Git, or the revision has no project.
    NotFound
        If the revision doesn't exist or isn't in this clone, or has no reports.
    DataRefused
        If a file there cannot be read.
    """
    if revision is None:
        name, read = WORKSPACE, _workspace_reader(root)
    else:
        commit = commit_of(root, revision)
        name = commit[:7] if commit.startswith(revision) else f"{revision} ({commit[:7]})"
        read = partial(Git(root).read, commit)
    layout = Layout(root)
    params = read("params.yaml")
    if params is None:
        raise NotProject(
            f"there is no params.yaml in {name}", "Name a revision that holds the project."
        )
    facts = RevisionFacts(
        name,
        params=_parse_yaml(params, "params.yaml", name),
        outputs=_output_hashes(_parse_yaml(read("dvc.lock"), "dvc.lock", name)),
        **{
            part: _parse_json(read(path), path, name)
            for part, path in {
                "metrics": _relative(layout.metrics, root),
                "evaluation": _relative(layout.evaluation, root),
                "features": _relative(layout.feature_report, root),
                "validation": _relative(layout.validation_report, root),
                "registration": _relative(layout.registration, root),
            }.items()
        },
    )
    if not facts.metrics and not allow_missing:
        raise _no_reports_error(name, _relative(layout.metrics, root), revision)
    return facts


def _no_reports_error(name: str, path: str, revision: str | None) -> NotFound:
    if revision is None:
        return NotFound(f"the workspace has no {path}", "Make it with `mlops run`.")
    return NotFound(
        f"{name} has no {path}: no run was committed there",
        "Name a revision after a committed run; `git log -- " + path + "` lists them.",
    )


def commit_of(root: Path, revision: str) -> str:
    """Resolve a revision to a commit, 40 hexadecimal digits; errors as in ``facts_at``."""
    git = Git(root)
    if git.try_run("rev-parse", "--git-dir") is None:
        raise NotProject(f"{git.root} is not under Git", "Run `git init` there.")
    commit = git.resolve(revision)
    if commit is not None:
        return commit
    if git.is_shallow():
        raise NotFound(
            f"{revision!r} is not in this shallow clone, which holds only part of the history",
            "Bring the rest with `git fetch --unshallow` (in CI: check out with full depth).",
        )
    names = git.try_run("for-each-ref", "--format=%(refname:lstrip=2)", "refs")
    hint = nearest(revision, (names or "").split())
    raise NotFound(
        f"there is no revision {revision!r} in this repository",
        hint or "Nothing is committed yet; begin with `git commit`.",
    )


def _workspace_reader(root: Path) -> Callable[[str], str | None]:
    def read(path: str) -> str | None:
        try:
            file = path_inside(root, path, "the project")
            return file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    return read


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _parse_json(text: str | None, path: str, name: str) -> Mapping[str, Any]:
    try:
        tree = {} if text is None else json_tree(text, path)
    except DataRefused:
        tree = None
    if not isinstance(tree, dict):
        raise DataRefused(
            f"{path} of {name} is not readable as JSON",
            "Bring it back with `git checkout`, or create it again with `mlops run`.",
        )
    return tree


def _parse_yaml(text: str | None, path: str, name: str) -> Mapping[str, Any]:
    from mlops_cli.params.reading import read_yaml

    tree: Mapping[str, Any] = {} if text is None else read_yaml(text, f"{path} of {name}")
    return tree


def _output_hashes(lock: Mapping[str, Any]) -> dict[str, str]:
    with refuse_malformed("dvc.lock", "Create it again with `mlops run`."):
        stages = (lock.get("stages") or {}).values()
        return {
            str(out["path"]): str(out.get("md5", ""))
            for stage in stages
            for out in (stage.get("outs") or [])
            if "path" in out
        }
