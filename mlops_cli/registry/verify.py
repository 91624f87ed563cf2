"""What a version claims, proved check by check from its tag, its commit and the data kept."""

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
from mlops_cli.project.dvc_lock import Lock, hash_of, lock_at, write_lock
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
"""What Git says where it has no means to check a signature, other than that it is wrong."""


@dataclass(frozen=True)
class VerificationCheck:
    """One thing that was looked at, whether it is as claimed, and a sentence about it."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True)
class _Case:
    """What the checks look at.

    Attributes
    ----------
    tree
        The project's files as Git has them at the version's commit.
    bundle
        The version's bundle, or the reason why there is none.
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
    """Make every check of a version; what cannot be checked has not passed.

    Parameters
    ----------
    assignment
        The one to be checked; by default those by which the version is in its stages now.
    """
    progress = progress or Silent()
    with (
        write_lock(root, version.commit) as tree,
        tempfile.TemporaryDirectory(prefix="mlops-bundle-") as aside,
    ):
        try:
            lock = lock_at(root, version.commit)
        except MlopsError:
            lock = None
        progress.update("fetching the bundle")
        case = _Case(
            root,
            version,
            lock,
            tree,
            RemoteObjects(root, remote, progress),
            _bundle(root, version, remote, progress, Path(aside)),
        )
        checks = []
        for number, (name, check) in enumerate(_CHECKS.items()):
            progress.update(f"checking the {name}", done=number, total=len(_CHECKS))
            checks.append(_made(name, check, case))
        if (stages := _stages(root, version, assignment)) is not None:
            checks.append(stages)
    return tuple(checks)


def _stages(
    root: Path, version: Version, assignment: Assignment | None
) -> VerificationCheck | None:
    """Whether the version is in its stages by their rules; None: it is in none."""
    registry = read(root, version.name)
    rules = StageRules(root, registry)
    newest = {a.stage: a for a in registry.assignments}
    judged = [a for a in newest.values() if a.version == version]
    if assignment is not None:
        judged = [assignment]
    if not judged:
        return None
    broken = [f"{a.tag.name}: {why}" for a in judged if (why := rules.refusal(a)) is not None]
    if broken:
        return VerificationCheck("stage", passed=False, said="; ".join(broken))
    return VerificationCheck(
        "stage", passed=True, said="; ".join(_entry(rules, a, version) for a in judged)
    )


def _entry(rules: StageRules, assignment: Assignment, version: Version) -> str:
    """How a version came into a stage."""
    tag, rule = assignment.tag, rules.rule_of(assignment)
    said = f"{tag.name} of {tag.at:%Y-%m-%d}, by {tag.who}, by the rules on {rules.branch.name}"
    if rules.changed(assignment):
        said += f" ({assignment.stage} has another rule there today: promote it anew)"
    if rule is None or not rule.approvals or assignment.rollback:
        return said
    given = rules.approvals(version, assignment.stage, rule)
    signed = "signed approvals" if rule.signed else "approvals (unsigned: taken on trust)"
    return f"{said}; {signed} of {', '.join(given.addresses)}"


def _bundle(
    root: Path, version: Version, remote: str | None, progress: Progress, aside: Path
) -> Path | MlopsError:
    """The bundle in its usual place; ``aside`` where the project can only be read."""
    for target in (None, aside / "model"):
        try:
            return pull_bundle(root, version, target, remote, progress)
        except MlopsError as error:
            return error
        except OSError as error:
            refusal = DataRefused(f"the bundle can't be put anywhere: {error.strerror}")
    return refusal


def _made(name: str, check: Callable[[_Case], str], case: _Case) -> VerificationCheck:
    try:
        with refuse_malformed(
            f"what the check of the {name} looks at", "Don't trust this version."
        ):
            return VerificationCheck(name, passed=True, said=check(case))
    except MlopsError as error:
        return VerificationCheck(name, passed=False, said=error.message)
    except OSError as error:  # a disk that can't be written, or read
        return VerificationCheck(name, passed=False, said=f"{error.filename}: {error.strerror}")


def _tag(case: _Case) -> str:
    tag, git = case.version.tag, Git(case.root)
    if not tag.annotated:
        raise _Failed(f"{tag.name} is a lightweight tag: it doesn't say who registered what")
    said = f"{tag.name} of {tag.at:%Y-%m-%d}, by {tag.who}"
    content = git.run_bytes("cat-file", "tag", tag.object_id, given=b"")
    if not split_signature(content)[1]:
        return f"{said}; unsigned"
    try:
        git.run("verify-tag", tag.object_id)
    except GitFailed as error:
        reason = " ".join(error.said.split())
        if not any(sign in reason for sign in _UNVERIFIABLE):
            raise _Failed(f"the signature of {tag.name} is not good: {reason}") from None
        return f"{said}; signed, but Git here has no key to verify it"
    try:
        signer_of(git, tag.object_id, address_of(tag.who))
    except SignerUnknown as error:
        raise _Failed(f"{tag.name} says that it is by {tag.who}, but {error.message}") from None
    return f"{said}; the signature is good"


def _record(case: _Case) -> str:
    """That dvc.lock doesn't contradict itself, dvc.yaml or params.yaml."""
    lock = _lock(case)
    check_pipeline(case.tree, _relative(case, Layout(case.root).model).as_posix())
    seen: dict[str, str] = {}
    for entry in lock.entries:
        if seen.setdefault(entry.path, entry.md5) != entry.md5:
            raise _Failed(f"dvc.lock has two hashes of {entry.path}: a stage ran on other data")
    files: dict[str, Any] = {}
    for stage, params in lock.params.items():
        for file, stated in params.items():
            if file not in files:
                files[file] = read_settings(case.tree, file)
            for key, value in stated.items():
                if _at(files[file], key) != value:
                    raise _Failed(f"{file} has another {key} than stage {stage} was run with")
    return f"{len(lock.stages)} stages in dvc.lock, run with dvc.yaml and parameters of this commit"


def _code(case: _Case) -> str:
    kept = _lock(case).kept
    other = sorted(path for path, md5 in kept.items() if hash_of(case.tree, path) != md5)
    if other:
        raise _Failed(f"dvc.lock was made with, or of, other content than Git has: {_few(other)}")
    return f"{len(kept)} files and folders of code and reports are as dvc.lock states"


def _data(case: _Case) -> str:
    lock = _lock(case)
    if lock.unkept:
        raise _Failed(f"neither Git nor DVC keeps what a stage read: {_few(lock.unkept)}")
    brought = case.objects.bring({md5: path for path, md5 in lock.data.items()}, lock.sizes)
    if brought.missing:
        raise _Failed(brought.refusal("the data").message)
    files = total = 0
    for path, md5 in lock.data.items():
        total += case.objects.check(md5, path)
        files += 1
        if md5.endswith(".dir"):
            inside = case.objects.tree(md5, path)
            total += sum(case.objects.check(m, f"{path}/{name}") for name, m in inside.items())
            files += len(inside) - 1
    now = (
        f"; {brought.files} came just now from {', '.join(brought.tried)}" if brought.files else ""
    )
    return f"{files} files ({total / 1e6:,.2f} MB) are in DVC's cache, each as its hash says{now}"


def _objects(case: _Case) -> str:
    if isinstance(case.bundle, MlopsError):
        raise case.bundle
    md5, sizes = bundle_object(case.root, case.version)
    brought = case.objects.bring({md5: "models/model"}, sizes)
    if brought.missing:
        raise brought.refusal("the bundle")
    files = case.objects.tree(md5, "models/model")
    for name, own in files.items():
        case.objects.check(own, f"models/model/{name}")
    return f"{len(files)} files, each as its hash in dvc.lock says"


def _manifest(case: _Case) -> str:
    folder = _folder(case)
    found = bundles.verify(folder)["bundle_sha256"]
    record = _json(case.tree / _relative(case, Layout(case.root).registration))
    if case.version.bundle is None:
        raise _Failed("the tag doesn't state a bundle")
    for what, stated in (
        ("the tag", case.version.bundle),
        ("models/registration.json", record.get("bundle_sha256")),
    ):
        if stated != found:
            raise _Failed(f"{what} states bundle {str(stated)[:12]}, but it is {found[:12]}")
    return f"bundle {found[:12]}, as its manifest, the tag and models/registration.json state"


def _decision(case: _Case) -> str:
    record = _json(case.tree / _relative(case, Layout(case.root).registration))
    if record.get("decision") != "approved":
        raise _Failed(f"the gates' decision on record is {record.get('decision')!r}")
    return f"approved by {count_noun(len(record.get('gates', ())), 'gate')}"


def _signature(case: _Case) -> str:
    folder = _folder(case)
    inputs = _json(folder / "signature.json").get("inputs", {})
    encoder = {f["name"]: f["kind"] for f in _json(folder / "encoder.json")["features"]}
    program = dict(_json(folder / "program.json").get("features", {}))
    signature = {name: entry["kind"] for name, entry in inputs.items()}
    for what, kinds in (("the encoder", encoder), ("the feature program", program)):
        if kinds != signature:
            names = sorted(
                n for n in kinds.keys() | signature.keys() if kinds.get(n) != signature.get(n)
            )
            raise _Failed(f"the input signature and {what} differ in {_few(names)}")
    return f"{len(signature)} inputs, the same in signature, encoder and feature program"


_CHECKS: dict[str, Callable[[_Case], str]] = {
    "tag": _tag,
    "pipeline": _record,
    "objects": _objects,
    "manifest": _manifest,
    "decision": _decision,
    "signature": _signature,
    "code": _code,
    "data": _data,
}


class _Failed(MlopsError):
    """A check that was made and has not passed."""


def _lock(case: _Case) -> Lock:
    if case.lock is None:
        raise _Failed(f"commit {case.version.commit[:9]} has no readable dvc.lock")
    return case.lock


def _folder(case: _Case) -> Path:
    if isinstance(case.bundle, MlopsError):
        raise _Failed("there is no sound bundle to look into (see objects)")
    return case.bundle


def _relative(case: _Case, path: Path) -> Path:
    return path.relative_to(case.root)


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json_tree(path.read_bytes(), path.name)
    except (OSError, DataRefused):
        tree = None
    if not isinstance(tree, dict):
        raise _Failed(f"{path.name} is missing or not readable")
    return tree


def _at(tree: Any, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    for part in key.split("."):
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(part)
    return tree


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (
        f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
    )
