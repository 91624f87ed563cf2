"""Provenance of a version, from its commit and its tag."""

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
    """A version's provenance as plain values, from metrics back to the sources' hashes.

    Raises
    ------
    NotFound
        If the tag's commit holds no model.
    DataRefused
        If the commit's files aren't as DVC and the register stage write them.
    """
    git = Git(root)
    lock = _parse_yaml(git.read(version.commit, "dvc.lock"))
    record = _parse_json(git.read(version.commit, "models/registration.json"))
    if not lock or not record:
        raise NotFound(
            f"the tag {version.tag.name} points at the commit {version.commit[:9]}, which holds no "
            "registered model",
            "Delete the tag if it was made by hand: git tag -d TAG.",
        )
    stages: dict[str, Any] = lock.get("stages", {})
    pipeline, inputs = _pipeline_and_inputs(stages)
    params: dict[str, Any] = {}
    for stage in stages.values():
        params |= stage.get("params", {}).get("params.yaml", {})
    return {
        "version": version.label,
        "registered": _registration(version),
        "stages": [
            {"stage": a.stage, "tag": a.tag.name, "by": a.tag.tagger, "at": a.tag.date.isoformat()}
            for a in registry.assignments
            if a.version == version
        ],
        "in": [stage for stage, v in registry.stages().items() if v == version],
        "bundle_sha256": record["bundle_sha256"],
        "commit": _commit_facts(git, version.commit),
        "metrics": record["metrics"],
        "gates": record["gates"],
        "champion": version.tag.trailers.get("Champion"),
        "training": record.get("training"),
        "test": record.get("test"),
        "params": params,
        "pipeline": pipeline,
        "inputs": dict(sorted(inputs.items())),
    }


def _pipeline_and_inputs(stages: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Inputs and outputs of each stage, and the hashes of inputs that no stage writes."""
    outputs = {out["path"] for stage in stages.values() for out in stage.get("outs", ())}
    pipeline: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    for name, stage in stages.items():
        hashes = {dep["path"]: dep.get("md5", "") for dep in stage.get("deps", ())}
        reads = [path for path in hashes if _within(path, outputs)]
        makes = {out["path"]: out.get("md5", "") for out in stage.get("outs", ())}
        pipeline[name] = {"reads": reads, "makes": makes}
        inputs |= {path: md5 for path, md5 in hashes.items() if path not in reads}
    return pipeline, inputs


def _registration(version: Version) -> dict[str, Any]:
    tag = version.tag
    made_with = tag.trailers.get("Made-with")
    return {"by": tag.tagger, "at": tag.date.isoformat(), "why": tag.body, "with": made_with}


def _commit_facts(git: Git, sha: str) -> dict[str, str]:
    show = git.run("show", "-s", "--format=%s%x00%an <%ae>%x00%cI", sha)
    subject, who, date = show.split("\0")
    return {"sha": sha, "subject": subject, "by": who, "at": date.strip()}


def _within(path: str, folders: set[str]) -> bool:
    return any(path == f or path.startswith(f"{f}/") for f in folders)


def _parse_json(text: str | None) -> Mapping[str, Any]:
    try:
        tree = json_tree(text or "{}", "a report")
    except DataRefused:
        return {}
    return tree if isinstance(tree, dict) else {}


def _parse_yaml(text: str | None) -> Mapping[str, Any]:
    try:
        tree = load_yaml(text or "{}")
    except BadYaml:
        return {}
    return tree if isinstance(tree, dict) else {}
