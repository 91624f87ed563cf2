"""Error for a pull in which both sides changed the same place of a file."""

from __future__ import annotations

from typing import Any

from mlops_cli.errors import NotProject
from mlops_cli.params.reading import BadYaml, load_yaml
from mlops_cli.project.git import Git
from mlops_cli.registry.sync.fast_forward import BranchEnds

__all__ = ["overlap"]

_SHOWN = 5


def overlap(
    git: Git, prefix: str, path: str, ends: BranchEnds, target: str, remote_branch: str
) -> NotProject:
    """The error for a path that both sides changed; for `params.yaml`, with keys and values."""
    name = path.removeprefix(prefix)
    detail = ""
    if name == "params.yaml":
        keys = _conflicting_keys(git, ends, target)
        detail = f" ({'; '.join(keys[:_SHOWN])}{'; ...' if keys[_SHOWN:] else ''})" if keys else ""
    return NotProject(
        f"{name} was changed in the same place here and in {remote_branch}{detail}, "
        "so nothing was changed",
        "`mlops pull --rebase --prefer mine` keeps your lines there, `--prefer theirs` theirs.",
    )


def _conflicting_keys(git: Git, ends: BranchEnds, target: str) -> list[str]:
    """Keys of `params.yaml` that both sides changed: ``tune.trials: 30 here, 20 there``."""
    base = git.try_run("merge-base", ends.head, target) or ends.head
    text = git.root / "params.yaml"
    try:
        before, there = (
            dict(_leaves(load_yaml(git.read(commit, "params.yaml") or "")))
            for commit in (base, target)
        )
        here = dict(_leaves(load_yaml(text.read_text(encoding="utf-8", errors="replace"))))
    except (BadYaml, OSError):
        return []
    return [
        f"{key}: {here.get(key, 'nothing')} here, {there.get(key, 'nothing')} there"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
        and before.get(key) not in (here.get(key), there.get(key))
    ]


def _leaves(tree: Any, place: str = "") -> Any:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, tree
