"""Verify a version: checks of its tag, commit, bundle, code and data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data.untrusted import json_tree, refuse_malformed
from mlops_cli.errors import DataRefused, MlopsError
from mlops_cli.layout import Layout
from mlops_cli.models import bundle as bundles
from mlops_cli.project.dvc_lock import Lock, files_at_commit, hash_of, lock_at
from mlops_cli.project.git import Git, GitFailed
from mlops_cli.project.remote_objects import RemoteObjects
from mlops_cli.registry.approvals.signatures import SignerUnknown, signer_of
from mlops_cli.registry.approvals.stage_rules import StageRules
from mlops_cli.registry.fetch_bundle import bundle_object, pull_bundle
from mlops_cli.registry.git_tags import read
from mlops_cli.registry.pipeline_check import check_pipeline, read_settings
from mlops_cli.registry.tag_objects import split_signature
from mlops_cli.registry.tags import address_of
from mlops_cli.reporting import Progress, Silent, count_noun

if TYPE_CHECKING:
    from mlops_cli.registry.versions import Assignment, Version

__all__ = ["VerificationCheck", "verify_version"]

_SHOWN = 5
_UNVERIFIABLE = ("allowedSignersFile needs", "No public key", "cannot run gpg", "cannot exec")
"""Parts of Git's messages that mean it can't check a signature, not that it is wrong."""


@dataclass(frozen=True)
class VerificationCheck:
    """Name and outcome of one check, with a sentence about it."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True)
class _Context:
    """Inputs of the checks.

    Attributes
    ----------
    tree
        The folder with the project's files at the version's commit.
    bundle
        The version's bundle, or the error that explains why there is none.
    """

    root: Path
    version: Version
    lock: Lock | None
    tree: Path
    objects: RemoteObjects
    bundle: Path | MlopsError


def verify_version(
    root: Path,
    version: Version,
    remote: str | None = None,
    progress: Progress | None = None,
    assignment: Assignment | None = None,
) -> tuple[VerificationCheck, ...]:
    """Run every check of a version; a check that can't be made fails.

    Parameters
    ----------
    assignment
        The stage assignment to check; by default those that put the version into its stages now.
    """
    progress = progress or Silent()
    with (
        files_at_commit(root, version.commit) as tree,
        tempfile.TemporaryDirectory(prefix="mlops-bundle-") as scratch,
    ):
        try:
            lock = lock_at(root, version.commit)
        except MlopsError:
            lock = None
        progress.update("fetching the bundle")
        context = _Context(
            root,
            version,
            lock,
            tree,
            RemoteObjects(root, remote, progress),
            _fetch_bundle(root, version, remote, progress, Path(scratch)),
        )
        checks = []
        for number, (name, check) in enumerate(_CHECKS.items()):
            progress.update(f"checking the {name}", done=number, total=len(_CHECKS))
            checks.append(_run_check(name, check, context))
        if (stage_check := _check_stages(root, version, assignment)) is not None:
            checks.append(stage_check)
    return tuple(checks)


def _check_stages(
    root: Path, version: Version, assignment: Assignment | None
) -> VerificationCheck | None:
    """Check that the version's assignments comply with the stage rules; None: it has none."""
    registry = read(root, version.name)
    rules = StageRules(root, registry)
    newest = {a.stage: a for a in registry.assignments}
    assignments = [a for a in newest.values() if a.version == version]
    if assignment is not None:
        assignments = [assignment]
    if not assignments:
        return None
    violations = [
        f"{a.tag.name}: {why}" for a in assignments if (why := rules.refusal_reason(a)) is not None
    ]
    if violations:
        return VerificationCheck("stage", passed=False, said="; ".join(violations))
    return VerificationCheck(
        "stage",
        passed=True,
        said="; ".join(_describe_assignment(rules, a, version) for a in assignments),
    )


def _describe_assignment(rules: StageRules, assignment: Assignment, version: Version) -> str:
    """Describe how a version came into a stage."""
    tag, rule = assignment.tag, rules.rule_of(assignment)
    text = (
        f"{tag.name} of {tag.date:%Y-%m-%d}, by {tag.tagger}, by the rules on {rules.branch.name}"
    )
    if rules.rule_changed(assignment):
        text += f" ({assignment.stage} has another rule there today: promote it again)"
    if rule is None or not rule.approvals or assignment.rollback:
        return text
    approvals = rules.approvals(version, assignment.stage, rule)
    kind = "signed approvals" if rule.signed else "approvals (unsigned: taken on trust)"
    return f"{text}; {kind} of {', '.join(approvals.addresses)}"


def _fetch_bundle(
    root: Path, version: Version, remote: str | None, progress: Progress, scratch: Path
) -> Path | MlopsError:
    """Fetch the bundle to its usual folder, or to ``scratch`` if the project is read-only."""
    for target in (None, scratch / "model"):
        try:
            return pull_bundle(root, version, target, remote, progress)
        except MlopsError as error:
            return error
        except OSError as error:
            refusal = DataRefused(f"the bundle can't be put anywhere: {error.strerror}")
    return refusal


def _run_check(name: str, check: Callable[[_Context], str], context: _Context) -> VerificationCheck:
    try:
        with refuse_malformed(
            f"what the check of the {name} looks at", "Don't trust this version."
        ):
            return VerificationCheck(name, passed=True, said=check(context))
    except MlopsError as error:
        return VerificationCheck(name, passed=False, said=error.message)
    except OSError as error:  # a disk that can't be written, or read
        return VerificationCheck(name, passed=False, said=f"{error.filename}: {error.strerror}")


def _check_tag(context: _Context) -> str:
    tag, git = context.version.tag, Git(context.root)
    if not tag.annotated:
        raise _CheckFailed(f"{tag.name} is a lightweight tag: it doesn't say who registered what")
    description = f"{tag.name} of {tag.date:%Y-%m-%d}, by {tag.tagger}"
    content = git.run_bytes("cat-file", "tag", tag.object_id, stdin=b"")
    if not split_signature(content)[1]:
        return f"{description}; unsigned"
    try:
        git.run("verify-tag", tag.object_id)
    except GitFailed as error:
        reason = " ".join(error.stderr.split())
        if not any(sign in reason for sign in _UNVERIFIABLE):
            raise _CheckFailed(f"the signature of {tag.name} is not good: {reason}") from None
        return f"{description}; signed, but Git here has no key to verify it"
    try:
        signer_of(git, tag.object_id, address_of(tag.tagger))
    except SignerUnknown as error:
        raise _CheckFailed(
            f"{tag.name} says that it is by {tag.tagger}, but {error.message}"
        ) from None
    return f"{description}; the signature is good"


def _check_lock(context: _Context) -> str:
    """Check that dvc.lock doesn't contradict itself, dvc.yaml or params.yaml."""
    lock = _lock(context)
    check_pipeline(context.tree, _relative(context, Layout(context.root).model).as_posix())
    hashes: dict[str, str] = {}
    for entry in lock.entries:
        if hashes.setdefault(entry.path, entry.md5) != entry.md5:
            raise _CheckFailed(
                f"dvc.lock has two hashes of {entry.path}: a stage ran on other data"
            )
    files: dict[str, Any] = {}
    for stage, params in lock.params.items():
        for file, values in params.items():
            if file not in files:
                files[file] = read_settings(context.tree, file)
            for key, value in values.items():
                if _value_at(files[file], key) != value:
                    raise _CheckFailed(f"{file} has another {key} than stage {stage} was run with")
    return f"{len(lock.stages)} stages in dvc.lock, run with dvc.yaml and parameters of this commit"


def _check_code(context: _Context) -> str:
    hashes = _lock(context).git_hashes
    changed = sorted(path for path, md5 in hashes.items() if hash_of(context.tree, path) != md5)
    if changed:
        raise _CheckFailed(
            f"dvc.lock was made with, or of, other content than Git has: {_join_first(changed)}"
        )
    return f"{len(hashes)} files and folders of code and reports are as dvc.lock states"


def _check_data(context: _Context) -> str:
    lock = _lock(context)
    if lock.unsaved_inputs:
        raise _CheckFailed(
            f"neither Git nor DVC keeps what a stage read: {_join_first(lock.unsaved_inputs)}"
        )
    transfer = context.objects.fetch(
        {md5: path for path, md5 in lock.dvc_hashes.items()}, lock.sizes
    )
    if transfer.missing:
        raise _CheckFailed(transfer.missing_error("the data").message)
    files = total = 0
    for path, md5 in lock.dvc_hashes.items():
        total += context.objects.check(md5, path)
        files += 1
        if md5.endswith(".dir"):
            members = context.objects.tree(md5, path)
            total += sum(context.objects.check(m, f"{path}/{name}") for name, m in members.items())
            files += len(members) - 1
    note = (
        f"; {transfer.files} came just now from {', '.join(transfer.tried_remotes)}"
        if transfer.files
        else ""
    )
    return f"{files} files ({total / 1e6:,.2f} MB) are in DVC's cache, each as its hash says{note}"


def _check_objects(context: _Context) -> str:
    if isinstance(context.bundle, MlopsError):
        raise context.bundle
    md5, sizes = bundle_object(context.root, context.version)
    transfer = context.objects.fetch({md5: "models/model"}, sizes)
    if transfer.missing:
        raise transfer.missing_error("the bundle")
    files = context.objects.tree(md5, "models/model")
    for name, file_md5 in files.items():
        context.objects.check(file_md5, f"models/model/{name}")
    return f"{len(files)} files, each as its hash in dvc.lock says"


def _check_manifest(context: _Context) -> str:
    folder = _bundle_folder(context)
    actual = bundles.verify(folder)["bundle_sha256"]
    record = _read_json(context.tree / _relative(context, Layout(context.root).registration))
    if context.version.bundle is None:
        raise _CheckFailed("the tag doesn't state a bundle")
    for what, stated in (
        ("the tag", context.version.bundle),
        ("models/registration.json", record.get("bundle_sha256")),
    ):
        if stated != actual:
            raise _CheckFailed(f"{what} states bundle {str(stated)[:12]}, but it is {actual[:12]}")
    return f"bundle {actual[:12]}, as its manifest, the tag and models/registration.json state"


def _check_decision(context: _Context) -> str:
    record = _read_json(context.tree / _relative(context, Layout(context.root).registration))
    if record.get("decision") != "approved":
        raise _CheckFailed(f"the gates' decision on record is {record.get('decision')!r}")
    return f"approved by {count_noun(len(record.get('gates', ())), 'gate')}"


def _check_signature(context: _Context) -> str:
    folder = _bundle_folder(context)
    inputs = _read_json(folder / "signature.json").get("inputs", {})
    encoder = {f["name"]: f["kind"] for f in _read_json(folder / "encoder.json")["features"]}
    program = dict(_read_json(folder / "program.json").get("features", {}))
    signature = {name: entry["kind"] for name, entry in inputs.items()}
    for what, kinds in (("the encoder", encoder), ("the feature program", program)):
        if kinds != signature:
            names = sorted(
                n for n in kinds.keys() | signature.keys() if kinds.get(n) != signature.get(n)
            )
            raise _CheckFailed(f"the input signature and {what} differ in {_join_first(names)}")
    return f"{len(signature)} inputs, the same in signature, encoder and feature program"


_CHECKS: dict[str, Callable[[_Context], str]] = {
    "tag": _check_tag,
    "pipeline": _check_lock,
    "objects": _check_objects,
    "manifest": _check_manifest,
    "decision": _check_decision,
    "signature": _check_signature,
    "code": _check_code,
    "data": _check_data,
}


class _CheckFailed(MlopsError):
    """A check that ran and failed."""


def _lock(context: _Context) -> Lock:
    if context.lock is None:
        raise _CheckFailed(f"commit {context.version.commit[:9]} has no readable dvc.lock")
    return context.lock


def _bundle_folder(context: _Context) -> Path:
    if isinstance(context.bundle, MlopsError):
        raise _CheckFailed("there is no sound bundle to look into (see objects)")
    return context.bundle


def _relative(context: _Context, path: Path) -> Path:
    return path.relative_to(context.root)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree = json_tree(path.read_bytes(), path.name)
    except (OSError, DataRefused):
        tree = None
    if not isinstance(tree, dict):
        raise _CheckFailed(f"{path.name} is missing or not readable")
    return tree


def _value_at(tree: Any, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    for part in key.split("."):
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(part)
    return tree


def _join_first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    )
