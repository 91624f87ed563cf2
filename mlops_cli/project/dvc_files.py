"""DVC's files in a repository, checked before DVC acts on them.

DVC reads, hashes, and writes whatever ``dvc.yaml``, ``dvc.lock``, ``*.dvc`` and the listings of
folders name. That is its owner's affair where stages are run; who only looks at a repository, or
brings its data, must not be led out of it.
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

_STAGES = 10_000
"""The most that one `matrix` may make."""
_TEXT = 100_000_000
"""The most characters that variables may be written out to."""
_SETTINGS_BYTES = 32 << 20
_FOLDERS = 1000
"""Of one path, before DVC reads it: it looks at all folders above each of them."""
_HASHES = frozenset({"md5", "md5-dos2unix"})
_HINT = "If you trust it, run it with `mlops run`, or ask with `dvc status`."


def refuse_files(root: Path, names: Sequence[str]) -> None:
    """Refuse files of DVC's that can't be read within limits, or read settings from outside.

    Parameters
    ----------
    names
        What Git tracks.

    Raises
    ------
    BadParams
        If a file isn't YAML, or makes more than it may.
    DataRefused
        If it names a path outside of the project.
    """
    settings: set[str] = set()
    for name in names:
        if posixpath.basename(name) in {"dvc.yaml", "dvc.lock"} or name.endswith(".dvc"):
            text = _text_of(root, name)
            if text is not None and posixpath.basename(name) == "dvc.lock":
                _within_limits(name, text)
            elif text is not None:
                settings |= _settings_of(name, text)
    for name in sorted(settings):
        text = _text_of(root, name)
        if text is not None:
            _refuse_large(name, text)


def _text_of(root: Path, name: str) -> str | None:
    """A file's text; None if it isn't there."""
    try:
        path = root / name
        if path.stat().st_size > _SETTINGS_BYTES:
            raise BadParams(
                f"{name} is larger than {_SETTINGS_BYTES >> 20} MB", "Settings are shorter."
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadParams(f"{name} cannot be read: {error}", "Correct it.") from None


def _refuse_large(name: str, text: str) -> None:
    """Refuse settings that DVC would write out to more than is read of one file."""
    if name.endswith(".json"):
        json_tree(text, name)
    elif not name.endswith((".toml", ".py")):  # which have no aliases
        _yaml_tree(name, text)


def _yaml_tree(name: str, text: str) -> Any:
    with _readable(name):
        return load_yaml(text)


def _within_limits(name: str, text: str) -> None:
    """Refuse YAML that DVC would read no settings from, but would have to read."""
    with _readable(name):
        refuse_large_yaml(text)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except BadYaml as error:
        line = f":{error.line}" if error.line else ""
        raise BadParams(f"{name}{line} cannot be read: {error}", "Correct it.") from None


def _settings_of(name: str, text: str) -> set[str]:
    """Check one of DVC's files; give the files that it reads settings from, below the project."""
    tree = _yaml_tree(name, text)
    folder = posixpath.dirname(name)
    # DVC reads it for variables, whether it is named or not.
    settings = {posixpath.join(folder, "params.yaml")}
    longest = max((len(scalar) for scalar in _scalars(tree)), default=0)
    if text.count("${") * longest > _TEXT:
        raise BadParams(f"{name} has variables that write out to too much", "Shorten it.")
    for node in _mappings(tree):
        if any(path.count("/") > _FOLDERS for path in _named_paths(node)):
            raise DataRefused(f"{name} states a path of more than {_FOLDERS:,} folders", _HINT)
        wdir = node.get("wdir")
        if isinstance(wdir, str) and wdir not in {"", "."}:
            if "${" in wdir:
                raise DataRefused(f"{name} has the wdir {ascii(wdir)[:200]}", _HINT)
            if posixpath.normpath(posixpath.join(folder, wdir)) != ".":
                data_path(wdir, name, folder)
        below = posixpath.join(folder, wdir) if isinstance(wdir, str) else folder
        settings |= {data_path(file, name, below) for file in _named_settings(node)}
        _refuse_matrix(node.get("matrix"), name)
    return settings


def _named_paths(node: Mapping[Any, Any]) -> Iterator[str]:
    """What a stage, or the data of a ``.dvc`` file, states as paths."""
    entries: list[Any] = [node.get("path"), node.get("wdir")]
    for key in ("deps", "outs", "metrics", "plots"):
        stated = node.get(key)
        entries += stated if isinstance(stated, list) else []
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            yield from (key for key in entry if isinstance(key, str))


def _named_settings(node: Mapping[Any, Any]) -> Iterator[str]:
    """Files that a stage, or a whole file, reads variables and parameters from."""
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
    # What a variable stands for isn't known here.
    sizes = [len(v) if isinstance(v, list) else 100 for v in matrix.values()]
    if math.prod(sizes) > _STAGES:
        raise BadParams(f"a matrix in {name} makes more than {_STAGES:,} stages", "Shorten it.")


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


def checked_repo(root: Path, *, outside: bool) -> Repo:
    """DVC's repository of a project, whose index is checked each time that DVC makes it.

    The index is what DVC knows of stages and data, and what all its commands go by. When it is
    first used, they raise BadParams if DVC can't make sense of the project's files, and DataRefused
    if one names a path, a hash or a folder's file that it must not.

    Parameters
    ----------
    outside
        Whether what stages read may lie outside: of other places than this repository.
    """
    from dvc.repo import Repo
    from dvc.repo.index import Index

    class Checked(Repo):  # type: ignore[misc]  # DVC has no types
        @cached_property
        def index(self) -> Index:
            with refuse_dvc_errors(root):
                index = Index.from_repo(self)
                outs, deps = list(index.outs), [d for stage in index.stages for d in stage.deps]
            _refuse_outside(self, outs, deps, root, outside=outside)
            return index

    return Checked(str(root))


def _refuse_outside(
    repo: Repo, outs: Sequence[Output], deps: Sequence[Output], root: Path, *, outside: bool
) -> None:
    """Refuse stages and data that lead out of the project, or out of a commit that DVC looks at."""
    from dvc.fs import GitFileSystem

    committed = isinstance(repo.fs, GitFileSystem)  # whose folders DVC counts from /
    below = Path(repo.root_dir) if committed else root
    for out in outs:
        _refuse_place(out, below, below)
        if not outside:  # else DVC drops a listing that was changed, and makes it anew
            _refuse_objects(repo, root, out)
    if outside:
        return
    git = Git(root)
    top = Path("/") if committed else Path(git.run("rev-parse", "--show-toplevel").strip())
    for dep in deps:
        _refuse_elsewhere(dep)
        if dep.protocol == "local":
            _refuse_place(dep, below, top)
        _refuse_objects(repo, root, dep)


def _refuse_elsewhere(dep: Output) -> None:
    """What lies in another repository or at a URL is only looked at if it is imported: frozen."""
    if dep.protocol != "local" and not dep.stage.frozen:
        raise DataRefused(
            f"{dep.stage.addressing} reads {ascii(str(dep))[:200]}, outside of the project", _HINT
        )


def _refuse_place(out: Output, root: Path, top: Path) -> None:
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
    """Hashes and the listings of folders, which DVC makes paths of."""
    place = out.stage.addressing
    for entry in out.files or ():
        data_path(entry.get("relpath"), place)
        if "md5" in entry:
            data_hash(entry["md5"], place)
    info = out.hash_info
    if not info or info.name not in _HASHES:
        return
    md5 = data_hash(info.value, place)
    objects = Objects(root)
    objects.use(Path((repo.cache.local if info.name == "md5" else repo.cache.legacy).path))
    if md5.endswith(".dir") and objects.had(md5) is not None:
        objects.tree(md5, str(out))


@contextmanager
def refuse_dvc_errors(root: Path) -> Iterator[None]:
    """What DVC can't make sense of, whichever error it makes of that, as a fault of the project.

    Raises
    ------
    BadParams
        Instead of an error that is not DVC's or ours.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except (MlopsError, DvcException, OSError):
        raise
    # DVC checks shapes but not each value, so a stranger's file may raise anything.
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadParams(
            f"DVC cannot read the files of {root}: {said}", "`dvc status` and --debug tell more."
        ) from error
