"""DVC's files in a repository, checked before DVC acts on them.

DVC reads, hashes, and writes whatever ``dvc.yaml``, ``dvc.lock``, ``*.dvc`` and the listings of
folders name. That is its owner's affair where stages are run; who only looks at a repository, or
brings its data, must not be led out of it.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, DataRefused, MlopsError
from mlops_cli.params.reading import BadYaml, load_yaml
from mlops_cli.store.git import Git
from mlops_cli.store.objects import Objects
from mlops_cli.store.tracked import tracked_files
from mlops_cli.store.untrusted import data_hash, data_path

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo

__all__ = ["answering", "refuse_files", "refuse_index"]

_STAGES = 10_000
"""The most that one `matrix` may make."""
_TEXT = 100_000_000
"""The most characters that variables may be written out to."""
_HASHES = frozenset({"md5", "md5-dos2unix"})
_HINT = "If you trust it, run it with `mlops run`, or ask with `dvc status`."


def refuse_files(root: Path) -> None:
    """Refuse files of DVC's that can't be read within limits, or read settings from outside.

    Raises
    ------
    BadParams
        If a file isn't YAML, or makes more than it may.
    DataRefused
        If it names a path outside of the project.
    """
    for name in tracked_files(root):
        if posixpath.basename(name) in {"dvc.yaml", "dvc.lock"} or name.endswith(".dvc"):
            try:
                text = (root / name).read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                raise BadParams(f"{name} cannot be read: {error}", "Correct it.") from None
            _refuse_file(name, text)


def _refuse_file(name: str, text: str) -> None:
    try:
        tree = load_yaml(text)
    except BadYaml as error:
        line = f":{error.line}" if error.line else ""
        raise BadParams(f"{name}{line} cannot be read: {error}", "Correct it.") from None
    folder = posixpath.dirname(name)
    longest = max((len(scalar) for scalar in _scalars(tree)), default=0)
    if text.count("${") * longest > _TEXT:
        raise BadParams(f"{name} has variables that write out to too much", "Shorten it.")
    for node in _mappings(tree):
        wdir = node.get("wdir")
        if isinstance(wdir, str) and wdir not in {"", "."}:
            if "${" in wdir:
                raise DataRefused(f"{name} has the wdir {ascii(wdir)[:200]}", _HINT)
            if posixpath.normpath(posixpath.join(folder, wdir)) != ".":
                data_path(wdir, name, folder)
        below = posixpath.join(folder, wdir) if isinstance(wdir, str) else folder
        for key in ("vars", "params"):
            _refuse_settings(node.get(key), name, below)
        _refuse_matrix(node.get("matrix"), name)


def _refuse_settings(entries: Any, name: str, folder: str) -> None:
    """Files that variables and parameters are read from."""
    if not isinstance(entries, list):
        return
    for entry in entries:
        if isinstance(entry, str) and ("/" in entry or "\\" in entry):
            data_path(entry.partition(":")[0], name, folder)


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


def refuse_index(repo: Repo, root: Path, *, outside: bool) -> None:
    """Refuse stages and data that lead out of the project.

    Parameters
    ----------
    outside
        Whether what stages read may lie outside: of other places than this repository.

    Raises
    ------
    BadParams
        If DVC can't make sense of the project's files.
    DataRefused
        If one names a path, a hash or a folder's file that it must not.
    """
    with answering(root):
        index = repo.index
        outs, deps = list(index.outs), [d for stage in index.stages for d in stage.deps]
    for out in outs:
        _refuse_place(out, root, root)
        if not outside:  # else DVC drops a listing that was changed, and makes it anew
            _refuse_objects(repo, root, out)
    top = Path(Git(root).run("rev-parse", "--show-toplevel").strip())
    if not outside:
        for dep in deps:
            _refuse_elsewhere(dep)
            if dep.protocol == "local":
                _refuse_place(dep, root, top)
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
def answering(root: Path) -> Iterator[None]:
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
