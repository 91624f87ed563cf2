"""Checks of DVC's files before DVC acts on them.

DVC reads, hashes and writes whatever ``dvc.yaml``, ``dvc.lock``, ``*.dvc`` and the listings of
folders name. An owner who runs the stages accepts that. A user who only inspects a repository, or
downloads its data, must not be led out of it.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data.untrusted import data_hash, data_path, json_tree
from mlops_cli.errors import BadParams, DataRefused, MlopsError
from mlops_cli.params.reading import BadYaml, load_yaml, refuse_large_yaml
from mlops_cli.project.dvc_objects import Objects
from mlops_cli.project.git import Git

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo

__all__ = ["checked_repo", "refuse_dvc_errors", "refuse_files"]

_MAX_STAGES = 10_000
"""The most stages that one `matrix` may generate."""
_MAX_TEXT = 100_000_000
"""The most characters that variables may expand to."""
_MAX_BYTES = 32 << 20
"""The largest file of DVC's, or of settings that it reads."""
_MAX_FOLDERS = 1000
"""The most folders in a path, checked first: DVC looks at all folders above each of them."""
_MD5_KINDS = frozenset({"md5", "md5-dos2unix"})
"""The kinds of hashes that are MD5."""
_HINT = "If you trust it, run it with `mlops run`, or ask with `dvc status`."


def refuse_files(root: Path, names: Sequence[str]) -> None:
    """Refuse DVC files that exceed the limits, or that read settings from outside.

    Parameters
    ----------
    names
        Tracked files, relative to the project.

    Raises
    ------
    BadParams
        If a file isn't YAML, or expands beyond the limits.
    DataRefused
        If a file names a path outside of the project.
    """
    files: set[str] = set()
    for name in names:
        if posixpath.basename(name) in {"dvc.yaml", "dvc.lock"} or name.endswith(".dvc"):
            text = _read_text(root, name)
            if text is not None and posixpath.basename(name) == "dvc.lock":
                _refuse_large_lock(name, text)
            elif text is not None:
                files |= _check_file(name, text)
    for name in sorted(files):
        text = _read_text(root, name)
        if text is not None:
            _refuse_large(name, text)


def _read_text(root: Path, name: str) -> str | None:
    """The text of a file; None if there is none."""
    try:
        path = root / name
        if path.stat().st_size > _MAX_BYTES:
            raise BadParams(f"{name} is larger than {_MAX_BYTES >> 20} MB", "Settings are shorter.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadParams(f"{name} cannot be read: {error}", "Correct it.") from None


def _refuse_large(name: str, text: str) -> None:
    """Refuse a settings file that DVC would expand beyond the limits."""
    if name.endswith(".json"):
        json_tree(text, name)
    elif not name.endswith((".toml", ".py")):  # which have no aliases
        _load_tree(name, text)


def _load_tree(name: str, text: str) -> Any:
    with _yaml_as_bad_params(name):
        return load_yaml(text)


def _refuse_large_lock(name: str, text: str) -> None:
    """Refuse YAML beyond the limits that DVC parses, but doesn't read settings from."""
    with _yaml_as_bad_params(name):
        refuse_large_yaml(text)


@contextmanager
def _yaml_as_bad_params(name: str) -> Iterator[None]:
    try:
        yield
    except BadYaml as error:
        line = f":{error.line}" if error.line else ""
        raise BadParams(f"{name}{line} cannot be read: {error}", "Correct it.") from None


def _check_file(name: str, text: str) -> set[str]:
    """Check one DVC file; return the settings files that it reads, as paths in the project."""
    tree = _load_tree(name, text)
    folder = posixpath.dirname(name)
    # DVC reads variables from it, even if no file names it.
    files = {posixpath.join(folder, "params.yaml")}
    longest = max((len(scalar) for scalar in _scalars(tree)), default=0)
    if text.count("${") * longest > _MAX_TEXT:
        raise BadParams(f"{name} has variables that write out to too much", "Shorten it.")
    for node in _mappings(tree):
        if any(path.count("/") > _MAX_FOLDERS for path in _named_paths(node)):
            raise DataRefused(f"{name} states a path of more than {_MAX_FOLDERS:,} folders", _HINT)
        wdir = node.get("wdir")
        if isinstance(wdir, str) and wdir not in {"", "."}:
            if "${" in wdir:
                raise DataRefused(f"{name} has the wdir {ascii(wdir)[:200]}", _HINT)
            if posixpath.normpath(posixpath.join(folder, wdir)) != ".":
                data_path(wdir, name, folder)
        base = posixpath.join(folder, wdir) if isinstance(wdir, str) else folder
        files |= {data_path(file, name, base) for file in _named_settings(node)}
        _refuse_matrix(node.get("matrix"), name)
    return files


def _named_paths(node: Mapping[Any, Any]) -> Iterator[str]:
    """Paths that a stage, or the outputs of a ``.dvc`` file, name."""
    entries: list[Any] = [node.get("path"), node.get("wdir")]
    for key in ("deps", "outs", "metrics", "plots"):
        value = node.get(key)
        entries += value if isinstance(value, list) else []
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            yield from (key for key in entry if isinstance(key, str))


def _named_settings(node: Mapping[Any, Any]) -> Iterator[str]:
    """Settings files that a stage, or a whole DVC file, reads variables and parameters from."""
    variables, parameters = node.get("vars"), node.get("params")
    for entry in variables if isinstance(variables, list) else ():
        if isinstance(entry, str):
            yield entry.partition(":")[0]
    for entry in parameters if isinstance(parameters, list) else ():
        if isinstance(entry, dict):
            yield from (str(file) for file in entry)
        elif isinstance(entry, str) and ("/" in entry or "\\" in entry):
            yield entry.partition(":")[0]


def _refuse_matrix(matrix: Any, name: str) -> None:
    if not isinstance(matrix, dict):
        return
    # The value of a variable isn't known here, so it counts as 100 choices.
    sizes = [len(v) if isinstance(v, list) else 100 for v in matrix.values()]
    if math.prod(sizes) > _MAX_STAGES:
        raise BadParams(f"a matrix in {name} makes more than {_MAX_STAGES:,} stages", "Shorten it.")


def _mappings(tree: Any) -> Iterator[Mapping[Any, Any]]:
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            yield node
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node


def _scalars(tree: Any) -> Iterator[str]:
    for node in _mappings(tree):
        yield from (value for value in node.values() if isinstance(value, str))


def checked_repo(root: Path, *, allow_outside: bool) -> Repo:
    """DVC's repository of a project, whose index is checked whenever DVC builds it.

    The index is DVC's view of stages and data, and all its commands use it. At its first use they
    raise BadParams if DVC can't read the project's files, and DataRefused if a file names a
    forbidden path, an invalid hash, or such a file in a folder's listing.

    Parameters
    ----------
    allow_outside
        Whether stages may read paths outside of this repository.
    """
    from dvc.repo import Repo
    from dvc.repo.index import Index

    class Checked(Repo):  # type: ignore[misc]  # DVC has no types
        @cached_property
        def index(self) -> Index:
            with refuse_dvc_errors(root):
                index = Index.from_repo(self)
                outs, deps = list(index.outs), [d for stage in index.stages for d in stage.deps]
            _refuse_outside(self, outs, deps, root, allow_outside=allow_outside)
            return index

    return Checked(str(root))


def _refuse_outside(
    repo: Repo, outs: Sequence[Output], deps: Sequence[Output], root: Path, *, allow_outside: bool
) -> None:
    """Refuse stages and data that lead out of the project, or out of the commit that DVC reads."""
    from dvc.fs import GitFileSystem

    committed = isinstance(repo.fs, GitFileSystem)  # its paths start at /
    below = Path(repo.root_dir) if committed else root
    for out in outs:
        _refuse_path(out, below, below)
        if not allow_outside:  # else DVC replaces a listing that was changed
            _refuse_objects(repo, root, out)
    if allow_outside:
        return
    git = Git(root)
    top = Path("/") if committed else Path(git.run("rev-parse", "--show-toplevel").strip())
    for dep in deps:
        _refuse_remote_dep(dep)
        if dep.protocol == "local":
            _refuse_path(dep, below, top)
        _refuse_objects(repo, root, dep)


def _refuse_remote_dep(dep: Output) -> None:
    """Refuse a dependency in another repository or at a URL, unless it is a frozen import."""
    if dep.protocol != "local" and not dep.stage.frozen:
        raise DataRefused(
            f"{dep.stage.addressing} reads {ascii(str(dep))[:200]}, outside of the project", _HINT
        )


def _refuse_path(out: Output, root: Path, top: Path) -> None:
    place = f"{out.stage.addressing}"
    if out.protocol != "local":
        raise DataRefused(f"{place} makes {ascii(str(out))[:200]}, outside of the project", _HINT)
    relative = os.path.relpath(out.fs_path, top)
    if relative == "." and top != root:
        return
    try:
        data_path(relative, place)
    except DataRefused as error:
        raise DataRefused(error.message, _HINT) from None


def _refuse_objects(repo: Repo, root: Path, out: Output) -> None:
    """Refuse bad hashes and folder listings, because DVC makes paths from them."""
    place = out.stage.addressing
    for entry in out.files or ():
        data_path(entry.get("relpath"), place)
        if "md5" in entry:
            data_hash(entry["md5"], place)
    info = out.hash_info
    if not info or info.name not in _MD5_KINDS:
        return
    md5 = data_hash(info.value, place)
    objects = Objects(root)
    objects.use_cache(Path((repo.cache.local if info.name == "md5" else repo.cache.legacy).path))
    if md5.endswith(".dir") and objects.cached_path(md5) is not None:
        objects.tree(md5, str(out))


@contextmanager
def refuse_dvc_errors(root: Path) -> Iterator[None]:
    """Turn any error that DVC raises about the project's files into BadParams.

    Raises
    ------
    BadParams
        Instead of an error that is neither DVC's nor ours.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except (MlopsError, DvcException, OSError):
        raise
    # DVC checks shapes but not each value, so an untrusted file may raise anything.
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadParams(
            f"DVC cannot read the files of {root}: {message}", "`dvc status` and --debug tell more."
        ) from error
