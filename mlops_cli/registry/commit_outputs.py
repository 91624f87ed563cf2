"""Commit the files that the pipeline writes, and nothing else, for a version.

The commit is made with an index of its own, so that the user's staged work stays staged and a
killed run leaves nothing but unreferenced objects.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_cli.errors import BadParams, NotProject
from mlops_cli.layout import Layout
from mlops_cli.params.reading import BadYaml, load_yaml, read_yaml
from mlops_cli.project.git import Git, GitFailed
from mlops_cli.project.signing import signing_error, signs_by_default
from mlops_cli.project.switch import refuse_half_pulled

__all__ = [
    "PipelineFiles",
    "commit_of",
    "committed_text",
    "pipeline_files",
    "require_branch",
    "require_clean_workspace",
    "reset_index",
]

_SHOWN = 10


class PipelineFiles:
    """Files of a project that the pipeline writes, and files that it only reads.

    Attributes
    ----------
    files
        Files in Git that the pipeline writes, and `params.yaml`; relative to the project.
    inputs
        `dvc.yaml` and files that stages read but none writes: the user has to commit them.
    params
        Dotted keys of `params.yaml` that some stage reads.
    generated
        Those of ``files`` that every run writes again, `dvc.lock` among them.
    gitignore_files
        `.gitignore` files to which DVC adds lines.
    """

    def __init__(self, pipeline: Mapping[str, Any], lock: Mapping[str, Any]) -> None:
        stages = pipeline.get("stages") or {}
        outputs, self.params = set(), set()
        generated, lists = {"dvc.lock"}, set()
        for stage in stages.values():
            for entry in _entries(stage, ("outs", "metrics", "plots")):
                path, options = entry
                outputs.add(path)
                if options.get("cache") is False:
                    generated.add(path)
                else:
                    # DVC lists its outputs there, to keep them out of Git.
                    lists.add(str(Path(path).parent / ".gitignore"))
            for key, _ in _entries(stage, ("params",)):
                self.params.add(key)
        dependencies = {
            dep["path"] for stage in (lock.get("stages") or {}).values() for dep in stage["deps"]
        }
        inputs = {
            p for p in dependencies if not any(p == m or p.startswith(f"{m}/") for m in outputs)
        }
        self.generated, self.gitignore_files = sorted(generated), sorted(lists)
        self.files = sorted({"params.yaml", *generated, *lists})
        self.inputs = sorted({"dvc.yaml", *inputs, *(f"{p}.dvc" for p in inputs)})

    def reads_param(self, key: str) -> bool:
        """Whether some stage reads a dotted key of `params.yaml`, or a part of it."""
        return any(
            key == p or key.startswith(f"{p}.") or p.startswith(f"{key}.") for p in self.params
        )


def pipeline_files(layout: Layout) -> PipelineFiles:
    """Read `dvc.yaml` and `dvc.lock`.

    Raises
    ------
    NotProject
        If the pipeline hasn't been run.
    """
    lock = layout.root / "dvc.lock"
    if not lock.is_file():
        raise NotProject(f"there is no {lock}", "Run the pipeline first: `mlops run`.")
    pipeline, content = _load_yaml_file(layout.dvc_yaml), _load_yaml_file(lock)
    try:
        return PipelineFiles(pipeline, content)
    except (KeyError, TypeError, AttributeError):
        # DVC writes it in place, so a kill may leave half of it.
        raise NotProject(
            f"{lock} or dvc.yaml is not as DVC wrote it",
            "Take the last commit's (git checkout -- dvc.lock dvc.yaml), then `mlops run`.",
        ) from None


def _load_yaml_file(path: Path) -> Any:
    return read_yaml(path.read_text(encoding="utf-8", errors="replace"), path.name)


def require_branch(git: Git) -> str:
    """Return the current branch if a version can be committed on it.

    Raises
    ------
    NotProject
        Without any commit or an identity, on a detached HEAD, in a shallow clone, or during a merge
        or a pull.
    """
    refuse_half_pulled(git.root)
    if git.resolve("HEAD") is None:
        raise NotProject(f"{git.root} has no commit yet", "Commit the project first.")
    branch = git.branch()
    if branch is None:
        raise NotProject(
            "HEAD is detached, so the version's commit would be on no branch",
            "Go to a branch: git switch BRANCH",
        )
    if git.is_shallow():
        raise NotProject(
            "this clone is shallow, so that earlier versions may be missing in it",
            "Complete it: git fetch --unshallow --tags",
        )
    if unmerged := git.run("ls-files", "--unmerged"):
        file = unmerged.splitlines()[0].partition("\t")[2]
        raise NotProject(f"a merge is unfinished: {file} is in conflict", "Finish it first.")
    git.identity()
    return branch


def require_clean_workspace(
    git: Git, pipeline: PipelineFiles, allowed_keys: Iterable[str] | None = None
) -> None:
    """Raise if the commit of a version would include, or lack, edits of the user.

    Parameters
    ----------
    allowed_keys
        Keys of `params.yaml` that may differ from HEAD; None: all that some stage reads.

    Raises
    ------
    NotProject
        If an input of the pipeline isn't committed, or if a file of the pipeline has edits that
        the pipeline didn't make.
    """
    if dirty := _dirty(git, pipeline.inputs):
        raise NotProject(
            f"the model was made with what no commit holds: {_join_first(dirty)}",
            "Commit these yourself (the version's commit must give this model), then run again.",
        )
    edits = [f"{path} (staged, then changed)" for path in _half_staged(git, pipeline.files)]
    is_allowed = pipeline.reads_param if allowed_keys is None else set(allowed_keys).__contains__
    edits += [f"params.yaml: {key}" for key in _changed_keys(git) if not is_allowed(key)]
    if edits:
        raise NotProject(
            f"files of the pipeline hold edits that are not the pipeline's: {_join_first(edits)}",
            "Commit or undo them yourself, then run again.",
        )


def committed_text(git: Git, path: Path, revision: str = "HEAD") -> str | None:
    """A file's text at a commit; None if the commit lacks the file."""
    return git.read(revision, path.relative_to(git.root).as_posix())


def commit_of(git: Git, files: Sequence[str], message: str) -> str:
    """Create a commit on HEAD with these files as they are now; HEAD itself if nothing differs.

    No reference moves and the index doesn't change. The commit is signed if Git is set to sign
    commits.

    Raises
    ------
    NotProject
        If it can't be signed.
    """
    head = git.run("rev-parse", "HEAD").strip()
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        own_index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.run("read-tree", head, environment=own_index)
        existing = [f for f in files if (git.root / f).exists()]
        git.run("add", "--force", "--all", "--", *existing, environment=own_index)
        tree = git.run("write-tree", environment=own_index).strip()
    if tree == git.run("rev-parse", f"{head}^{{tree}}").strip():
        return head
    signed = ["-S"] if signs_by_default(git, "commit") else []
    try:
        return git.run("commit-tree", tree, "-p", head, *signed, "-F", "-", stdin=message).strip()
    except GitFailed as error:
        if signed:
            raise signing_error(git, "the version's commit", error.stderr) from None
        raise


def reset_index(git: Git, files: Iterable[str]) -> None:
    """Reset the index to HEAD for files that were committed with another index."""
    in_head = [f for f in files if git.try_run("ls-tree", "HEAD", "--", f)]
    if in_head:
        git.run("reset", "--quiet", "HEAD", "--", *in_head)


def _entries(
    stage: Mapping[str, Any], kinds: Iterable[str]
) -> Iterable[tuple[str, dict[str, Any]]]:
    for kind in kinds:
        for entry in stage.get(kind) or ():
            if isinstance(entry, str):
                yield entry, {}
            else:
                yield from ((path, options or {}) for path, options in entry.items())


def _dirty(git: Git, files: Sequence[str]) -> list[str]:
    relevant = [f for f in files if (git.root / f).exists() or git.try_run("ls-files", "--", f)]
    status = git.run("status", "--porcelain", "--no-renames", "--", *relevant) if relevant else ""
    return [line[3:] for line in status.splitlines()]


def _half_staged(git: Git, files: Sequence[str]) -> list[str]:
    """Files whose index differs from both HEAD and the working tree."""
    tracked = [f for f in files if git.try_run("ls-files", "--", f)]
    staged = _diff_names(git, tracked, "--cached", "HEAD")
    # A run that was killed before `reset_index` leaves an index that is older than HEAD and the
    # working tree, which agree: it is no work of the user.
    return sorted(staged & _diff_names(git, tracked) & _diff_names(git, tracked, "HEAD"))


def _diff_names(git: Git, files: Sequence[str], *between: str) -> set[str]:
    """Those of these files that `git diff` shows, as paths from the project's folder."""
    if not files:
        return set()
    output = git.run("diff", "--name-only", "--relative", "-z", *between, "--", *files)
    return {name for name in output.split("\0") if name}


def _changed_keys(git: Git) -> list[str]:
    """Dotted keys of `params.yaml` that differ from HEAD's."""
    before = git.read("HEAD", "params.yaml")
    if before is None:
        return []
    try:
        old = load_yaml(before)
        new = load_yaml((git.root / "params.yaml").read_text(encoding="utf-8", errors="replace"))
    except BadYaml as error:
        raise BadParams(f"params.yaml cannot be read: {error}", "Correct it.") from None
    return sorted(_differences(old or {}, new or {}))


def _differences(old: Any, new: Any, place: str = "") -> Iterable[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield place


def _join_first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
