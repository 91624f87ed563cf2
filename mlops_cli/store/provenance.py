"""Where a version comes from: everything that its commit and its tag state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_cli.core.versions import Registry, Version
from mlops_cli.errors import NotFound
from mlops_cli.store.git import Git

__all__ = ["provenance"]


def provenance(root: Path, registry: Registry, version: Version) -> dict[str, Any]:
    """A version's ancestry as plain values, from metrics back to the sources' hashes.

    Raises
    ------
    NotFound
        If the tag's commit holds no model.
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
        tree = json.loads(text or "{}")
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}


def _yaml(text: str | None) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(text or "{}")
    except YAMLError:
        return {}
    return tree if isinstance(tree, dict) else {}
