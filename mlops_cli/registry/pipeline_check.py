"""Check that ``dvc.yaml`` and ``dvc.lock`` of a commit describe the same pipeline."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_cli.data.untrusted import data_path, path_inside
from mlops_cli.errors import DataRefused
from mlops_cli.params.reading import BadYaml, load_yaml

__all__ = ["check_pipeline", "read_settings", "read_stages", "stage_params", "stage_paths"]

_SHOWN = 5
_KINDS = ("deps", "outs")
_LOOPS = ("foreach", "matrix")


def check_pipeline(tree: Path, bundle_path: str) -> int:
    """Compare each stage's command, inputs, outputs and parameters; return the number of stages.

    Parameters
    ----------
    tree
        The folder with the project's files at the commit.
    bundle_path
        Path of the bundle; no stage that ``dvc.yaml`` lacks may write it.

    Raises
    ------
    DataRefused
        Naming the first difference.
    """
    stages = read_stages(tree)
    lock = read_settings(tree, "dvc.lock").get("stages")
    lock_stages = lock if isinstance(lock, Mapping) else {}
    used = {bundle_path}
    for name, stage in stages.items():
        lock_entry = lock_stages.get(name)
        if not isinstance(lock_entry, Mapping):
            raise DataRefused(f"dvc.yaml has a stage {name}, which dvc.lock doesn't know")
        if stage.get("cmd") != lock_entry.get("cmd"):
            raise DataRefused(
                f"stage {name} has another command in dvc.yaml ({_shorten(stage.get('cmd'))}) "
                f"than it was run with ({_shorten(lock_entry.get('cmd'))})"
            )
        for kind in _KINDS:
            in_lock, in_yaml = _locked_paths(lock_entry, kind), stage_paths(stage, kind)
            used |= in_yaml
            if in_lock != in_yaml:
                what = "inputs" if kind == "deps" else "outputs"
                raise DataRefused(
                    f"stage {name} has other {what} in dvc.yaml than in dvc.lock: "
                    f"{_join_first(in_lock ^ in_yaml)}"
                )
        _check_params(name, stage, lock_entry)
    for name in lock_stages.keys() - stages.keys():
        lock_entry = lock_stages[name] if isinstance(lock_stages[name], Mapping) else {}
        if paths := used & _locked_paths(lock_entry, "outs"):
            raise DataRefused(
                f"dvc.lock has {_join_first(paths)} from a stage {name} that is not in dvc.yaml"
            )
    _refuse_commands(tree)
    return len(stages)


def read_settings(tree: Path, name: str) -> Mapping[str, Any]:
    """Read a YAML file of a commit.

    Raises
    ------
    DataRefused
        If the file is missing or unreadable, or if its name or a link leads out of the tree.
    """
    path = path_inside(tree, data_path(name, "the pipeline"), "the pipeline")
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, BadYaml):
        content = None
    if not isinstance(content, Mapping):
        raise DataRefused(f"{name!r} is missing at this commit, or not readable")
    return content


def read_stages(tree: Path) -> Mapping[str, Mapping[str, Any]]:
    """Stages of ``dvc.yaml`` by name, with variables filled in.

    Raises
    ------
    DataRefused
        If the file is missing or unreadable, or has no stages.
    """
    content = read_settings(tree, "dvc.yaml")
    stages = content.get("stages")
    if not isinstance(stages, Mapping) or not all(isinstance(s, Mapping) for s in stages.values()):
        raise DataRefused("dvc.yaml states no stages")
    text = (tree / "dvc.yaml").read_text(encoding="utf-8", errors="replace")
    if "${" in text or any(loop in stage for stage in stages.values() for loop in _LOOPS):
        stages = _resolve_variables(tree, content)
    return stages


def _resolve_variables(tree: Path, content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Fill in the variables of the stages with DVC's own resolver."""
    from types import SimpleNamespace

    from dvc.exceptions import DvcException
    from dvc.fs import LocalFileSystem
    from dvc.parsing import DataResolver

    files = [v for v in content.get("vars") or () if isinstance(v, str)]
    stages = content["stages"].values()
    files += [v for stage in stages for v in stage.get("vars") or () if isinstance(v, str)]
    for file in (*(f.partition(":")[0] for f in files), "params.yaml"):
        if file != "params.yaml" or (tree / file).exists():
            read_settings(tree, file)
    repo: Any = SimpleNamespace(fs=LocalFileSystem(url=str(tree)), config={})
    try:
        resolved = DataResolver(repo, str(tree), dict(content)).resolve()
    except (DvcException, KeyError, TypeError, AttributeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise DataRefused(f"the variables of dvc.yaml can't be filled in: {message}") from None
    resolved_stages: Mapping[str, Mapping[str, Any]] = resolved["stages"]
    return resolved_stages


def _check_params(name: str, stage: Mapping[str, Any], lock_entry: Mapping[str, Any]) -> None:
    in_yaml = stage_params(stage)
    in_lock = {
        str(file): set(map(str, keys or ()))
        for file, keys in (lock_entry.get("params") or {}).items()
    }
    differences = in_yaml.keys() ^ in_lock.keys()
    for file, keys in in_yaml.items():
        if keys is not None:
            differences |= keys ^ in_lock.get(file, set())
    if differences:
        raise DataRefused(
            f"stage {name} has other parameters in dvc.yaml than in dvc.lock: "
            f"{_join_first(differences)}"
        )


def stage_params(stage: Mapping[str, Any]) -> dict[str, set[str] | None]:
    """File -> keys of the parameters that a stage of ``dvc.yaml`` lists; None: all of them."""
    listed: dict[str, set[str] | None] = {}
    for entry in stage.get("params") or ():
        pairs = entry.items() if isinstance(entry, Mapping) else [("params.yaml", [entry])]
        for file, keys in pairs:
            before = listed.setdefault(str(file), set())
            listed[str(file)] = (
                None if keys is None or before is None else before | set(map(str, keys))
            )
    return listed


def stage_paths(stage: Mapping[str, Any], kind: str) -> set[str]:
    """Normalised paths that a stage of ``dvc.yaml`` lists: its ``deps`` or its ``outs``."""
    kinds = ("deps",) if kind == "deps" else ("outs", "metrics", "plots")
    return {posixpath.normpath(p) for k in kinds for p in _entry_paths(stage.get(k))}


def _entry_paths(section: Any) -> Iterator[str]:
    for entry in [section] if isinstance(section, str | Mapping) else section or ():
        yield from (map(str, entry) if isinstance(entry, Mapping) else [str(entry)])


def _locked_paths(lock_entry: Mapping[str, Any], kind: str) -> set[str]:
    entries = lock_entry.get(kind) or ()
    return {posixpath.normpath(str(e.get("path"))) for e in entries if isinstance(e, Mapping)}


def _refuse_commands(tree: Path) -> None:
    """Refuse a ``.dvc`` file with a command: it would be a stage that no check covers."""
    for path in sorted(tree.rglob("*.dvc")):
        name = path.relative_to(tree).as_posix()
        if path.is_file() and "cmd" in read_settings(tree, name):
            raise DataRefused(f"{name} has a command of its own")


def _shorten(command: Any) -> str:
    text = " ".join(str(command).split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")  # noqa: PLR2004


def _join_first(names: set[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (
        f" and {len(ordered) - _SHOWN} more" if ordered[_SHOWN:] else ""
    )
