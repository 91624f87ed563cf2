"""Where a version comes from: everything that its commit and its tag state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_cli.data.untrusted import json_tree, refuse_malformed
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.params.reading import BadYaml, load_yaml
from mlops_cli.project.git import Git
from mlops_cli.registry.versions import Registry, Version

__all__ = ["provenance"]

_HINT = "Register another version; this commit cannot be mended."


@refuse_malformed("dvc.lock, or models/registration.json, of the version's commit", _HINT)
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
    lock = _yaml(git.read(version.commit, "dvc.lock"))
    record = _json(git.read(version.commit, "models/registration.json"))
    if not lock or not record:
        raise NotFound(
            f"the tag {version.tag.name} points at the commit {version.commit[:9]}, which holds no "
            "registered model",
            "Delete the tag if it was made by hand: git tag -d TAG.",
        )
    stages: dict[str, Any] = lock.get("stages", {})
    pipeline, inputs = _ancestry(stages)
    params: dict[str, Any] = {}
    for stage in stages.values():
        params |= stage.get("params", {}).get("params.yaml", {})
    return {
        "version": version.label,
        "registered": _registered(version),
        "stages": [
            {"stage": a.stage, "tag": a.tag.name, "by": a.tag.who, "at": a.tag.at.isoformat()}
            for a in registry.assignments
            if a.version == version
        ],
        "in": [stage for stage, v in registry.stages().items() if v == version],
        "bundle_sha256": record["bundle_sha256"],
        "commit": _commit(git, version.commit),
        "metrics": record["metrics"],
        "gates": record["gates"],
        "champion": version.tag.trailers.get("Champion"),
        "training": record.get("training"),
        "test": record.get("test"),
        "params": params,
        "pipeline": pipeline,
        "inputs": dict(sorted(inputs.items())),
    }


def _ancestry(stages: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What each stage reads and makes, and the hashes of what no stage makes."""
    made = {out["path"] for stage in stages.values() for out in stage.get("outs", ())}
    pipeline: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    for name, stage in stages.items():
        hashes = {dep["path"]: dep.get("md5", "") for dep in stage.get("deps", ())}
        reads = [path for path in hashes if _within(path, made)]
        makes = {out["path"]: out.get("md5", "") for out in stage.get("outs", ())}
        pipeline[name] = {"reads": reads, "makes": makes}
        inputs |= {path: md5 for path, md5 in hashes.items() if path not in reads}
    return pipeline, inputs


def _registered(version: Version) -> dict[str, Any]:
    tag = version.tag
    made_with = tag.trailers.get("Made-with")
    return {"by": tag.who, "at": tag.at.isoformat(), "why": tag.why, "with": made_with}


def _commit(git: Git, sha: str) -> dict[str, str]:
    show = git.run("show", "-s", "--format=%s%x00%an <%ae>%x00%cI", sha)
    subject, who, at = show.split("\0")
    return {"sha": sha, "subject": subject, "by": who, "at": at.strip()}


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
