"""Where a version comes from: everything that its commit and its tag state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_cli.core.versions import Registry, Version
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.params.reading import BadYaml, load_yaml
from mlops_cli.store.git import Git
from mlops_cli.store.untrusted import json_tree, well_formed

__all__ = ["provenance"]

_HINT = "Register another version; this commit cannot be mended."


@well_formed("dvc.lock, or models/registration.json, of the version's commit", _HINT)
def provenance(root: Path, registry: Registry, version: Version) -> dict[str, Any]:
    """A version's ancestry as plain values, from metrics back to the sources' hashes.

    Raises
    ------
    NotFound
        If the tag's commit holds no model.
    DataRefused
        If the commit's files aren't as DVC and the register stage write them.
    """
    git = Git(root)
    lock = _yaml(git.ask("show", f"{version.commit}:./dvc.lock"))
    record = _json(git.ask("show", f"{version.commit}:./models/registration.json"))
    if not lock or not record:
        raise NotFound(
            f"the tag {version.tag.name} points at the commit {version.commit[:9]}, which holds no "
            "registered model",
            "Delete the tag if it was made by hand: git tag -d TAG.",
        )
    stages: dict[str, Any] = lock.get("stages", {})
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", ())}
    parents = {
        name: {
            "reads": [d["path"] for d in stage.get("deps", ()) if _within(d["path"], made)],
            "makes": {out["path"]: out.get("md5", "") for out in stage.get("outs", ())},
        }
        for name, stage in stages.items()
    }
    inputs = {
        dep["path"]: dep.get("md5", "")
        for stage in stages.values()
        for dep in stage.get("deps", ())
        if not _within(dep["path"], made)
    }
    params: dict[str, Any] = {}
    for stage in stages.values():
        params |= stage.get("params", {}).get("params.yaml", {})
    subject, who, at = git.run(
        "show", "-s", "--format=%s%x00%an <%ae>%x00%cI", version.commit
    ).split("\0")
    trailers = version.tag.trailers
    return {
        "version": version.label,
        "registered": {
            "by": version.tag.who,
            "at": version.tag.at.isoformat(),
            "why": version.tag.why,
            "with": trailers.get("Made-with"),
        },
        "stages": [
            {"stage": a.stage, "tag": a.tag.name, "by": a.tag.who, "at": a.tag.at.isoformat()}
            for a in registry.assignments
            if a.version == version
        ],
        "in": [stage for stage, v in registry.stages().items() if v == version],
        "bundle_sha256": record["bundle_sha256"],
        "commit": {"sha": version.commit, "subject": subject, "by": who, "at": at.strip()},
        "metrics": record["metrics"],
        "gates": record["gates"],
        "champion": trailers.get("Champion"),
        "training": record.get("training"),
        "test": record.get("test"),
        "params": params,
        "pipeline": parents,
        "inputs": dict(sorted(inputs.items())),
    }


def _within(path: str, folders: set[str]) -> bool:
    return any(path == f or path.startswith(f"{f}/") for f in folders)


def _json(text: str | None) -> Mapping[str, Any]:
    try:
        tree = json_tree(text or "{}", "a report")
    except DataRefused:
        return {}
    return tree if isinstance(tree, dict) else {}


def _yaml(text: str | None) -> Mapping[str, Any]:
    try:
        tree = load_yaml(text or "{}")
    except BadYaml:
        return {}
    return tree if isinstance(tree, dict) else {}
