"""Whether ``dvc.yaml`` at a commit is the pipeline that ``dvc.lock`` was made by."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_cli.data.untrusted import data_path, path_inside
from mlops_cli.errors import DataRefused
from mlops_cli.params.reading import BadYaml, load_yaml

__all__ = ["check_pipeline", "read_settings"]

_SHOWN = 5
_KINDS = ("deps", "outs")
_LOOPS = ("foreach", "matrix")


def check_pipeline(tree: Path, model: str) -> int:
    """Compare each stage's command, inputs, outputs and parameters; give the number of stages.

    Parameters
    ----------
    tree
        The project's files as Git has them at the commit.
    model
        The path of the bundle, which one of the stages has to make.

    Raises
    ------
    DataRefused
        With what differs.
    """
    stated = _stages(tree)
    lock = read_settings(tree, "dvc.lock").get("stages")
    locked = lock if isinstance(lock, Mapping) else {}
    used = {model}
    for name, stage in stated.items():
        ran = locked.get(name)
        if not isinstance(ran, Mapping):
            raise DataRefused(f"dvc.yaml has a stage {name}, which dvc.lock doesn't know")
        if stage.get("cmd") != ran.get("cmd"):
            raise DataRefused(
                f"stage {name} has another command in dvc.yaml ({_short(stage.get('cmd'))}) "
                f"than it was run with ({_short(ran.get('cmd'))})"
            )
        for kind in _KINDS:
            theirs, ours = _locked_paths(ran, kind), _paths(stage, kind)
            used |= ours
            if theirs != ours:
                what = "inputs" if kind == "deps" else "outputs"
                raise DataRefused(
                    f"stage {name} has other {what} in dvc.yaml than in dvc.lock: "
                    f"{_few(theirs ^ ours)}"
                )
        _check_params(name, stage, ran)
    for name in locked.keys() - stated.keys():
        ran = locked[name] if isinstance(locked[name], Mapping) else {}
        if both := used & _locked_paths(ran, "outs"):
            raise DataRefused(
                f"dvc.lock has {_few(both)} from a stage {name} that is not in dvc.yaml"
            )
    _refuse_commands(tree)
    return len(stated)


def read_settings(tree: Path, name: str) -> Mapping[str, Any]:
    """A YAML file of a commit.

    Raises
    ------
    DataRefused
        If it isn't there or isn't readable, or its name or a link leads elsewhere.
    """
    path = path_inside(tree, data_path(name, "the pipeline"), "the pipeline")
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, BadYaml):
        content = None
    if not isinstance(content, Mapping):
        raise DataRefused(f"{name!r} is missing at this commit, or not readable")
    return content


def _stages(tree: Path) -> Mapping[str, Mapping[str, Any]]:
    content = read_settings(tree, "dvc.yaml")
    stages = content.get("stages")
    if not isinstance(stages, Mapping) or not all(isinstance(s, Mapping) for s in stages.values()):
        raise DataRefused("dvc.yaml states no stages")
    text = (tree / "dvc.yaml").read_text(encoding="utf-8", errors="replace")
    if "${" in text or any(loop in stage for stage in stages.values() for loop in _LOOPS):
        stages = _resolved(tree, content)
    return stages


def _resolved(tree: Path, content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The stages with their variables filled in, as DVC does it."""
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
        said = " ".join(str(error).split())
        raise DataRefused(f"the variables of dvc.yaml can't be filled in: {said}") from None
    stages_found: Mapping[str, Mapping[str, Any]] = resolved["stages"]
    return stages_found


def _check_params(name: str, stage: Mapping[str, Any], ran: Mapping[str, Any]) -> None:
    stated: dict[str, set[str] | None] = {}
    for entry in stage.get("params") or ():
        pairs = entry.items() if isinstance(entry, Mapping) else [("params.yaml", [entry])]
        for file, keys in pairs:
            # A file without keys stands for all that is in it.
            known = stated.setdefault(str(file), set())
            stated[str(file)] = (
                None if keys is None or known is None else known | set(map(str, keys))
            )
    locked = {
        str(file): set(map(str, keys or ())) for file, keys in (ran.get("params") or {}).items()
    }
    other = stated.keys() ^ locked.keys()
    for file, keys in stated.items():
        if keys is not None:
            other |= keys ^ locked.get(file, set())
    if other:
        raise DataRefused(
            f"stage {name} has other parameters in dvc.yaml than in dvc.lock: {_few(other)}"
        )


def _paths(stage: Mapping[str, Any], kind: str) -> set[str]:
    kinds = ("deps",) if kind == "deps" else ("outs", "metrics", "plots")
    return {posixpath.normpath(p) for k in kinds for p in _entries(stage.get(k))}


def _entries(listed: Any) -> Iterator[str]:
    for entry in [listed] if isinstance(listed, str | Mapping) else listed or ():
        yield from (map(str, entry) if isinstance(entry, Mapping) else [str(entry)])


def _locked_paths(ran: Mapping[str, Any], kind: str) -> set[str]:
    entries = ran.get(kind) or ()
    return {posixpath.normpath(str(e.get("path"))) for e in entries if isinstance(e, Mapping)}


def _refuse_commands(tree: Path) -> None:
    """A ``.dvc`` file tracks data; with a command it would be a stage that no check looks at."""
    for path in sorted(tree.rglob("*.dvc")):
        name = path.relative_to(tree).as_posix()
        if path.is_file() and "cmd" in read_settings(tree, name):
            raise DataRefused(f"{name} has a command of its own")


def _short(command: Any) -> str:
    text = " ".join(str(command).split())
    return repr(text if len(text) <= 80 else f"{text[:77]}...")  # noqa: PLR2004


def _few(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_SHOWN]) + (
        f" and {len(listed) - _SHOWN} more" if listed[_SHOWN:] else ""
    )
