"""Register an approved model as the next version: a commit and a Git tag."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlops_cli
from mlops_cli.data.atomic_files import read_json
from mlops_cli.errors import MlopsError, ModelRefused, NotProject
from mlops_cli.project.dvc_push import publish
from mlops_cli.registry import commit_outputs, fetch_bundle
from mlops_cli.registry.champion import compare_to_champion
from mlops_cli.registry.git_tags import OutdatedTags, RefChange, apply, fetch, new_tag, trailers
from mlops_cli.registry.tags import VersionPart, version_tag
from mlops_cli.registry.versions import Registry, Version

if TYPE_CHECKING:
    from mlops_cli.registry.gates import GateResult
    from mlops_cli.registry.session import Session

__all__ = ["RegisterResult", "refuse_behind", "register"]


@dataclass(frozen=True)
class RegisterResult:
    """A registered version.

    Attributes
    ----------
    new
        Whether this call registered it; else it was registered before.
    champion
        Results of the comparison with the champion; empty if there was none.
    """

    version: Version
    new: bool
    champion: tuple[GateResult, ...] = ()


def register(session: Session, part: VersionPart = "minor", why: str = "") -> RegisterResult:
    """Commit the pipeline's files and tag the commit as the next version.

    If the bundle is registered already, the call only completes what a killed run has begun.

    Raises
    ------
    ModelRefused
        If the gates reject the model, or if it may be worse than the champion.
    NotProject
        If no commit can be made here: see ``registry.commit_outputs``.
    OutdatedTags
        If somebody else changed the remote first.
    """
    git, layout = session.git, session.layout
    branch = commit_outputs.require_branch(git)
    record = read_json(layout.registration)
    if record["decision"] != "approved":
        raise ModelRefused(
            f"the gates reject this model of {session.name}",
            "Look at the gates above; change the model or, knowingly, register.gates.",
        )
    registry, pipeline = session.registry(), commit_outputs.pipeline_files(layout)
    if version := registry.version_of_bundle(record["bundle_sha256"]):
        _complete_registration(session, branch, version, pipeline.files)
        return RegisterResult(version, new=False)
    commit_outputs.require_clean_workspace(git, pipeline)
    verdicts = _check_champion(session, registry)
    number = registry.next_number(part)
    head = git.run("rev-parse", "HEAD").strip()
    commit = commit_outputs.commit_of(git, pipeline.files, f"Register {session.name} {number}\n")
    if other := next((v for v in registry.versions if v.commit == commit), None):
        raise NotProject(
            f"the commit {commit[:9]} is {other} already, and a commit has one version only",
            "Commit what changed, then run again.",
        )
    if session.remote is not None:
        # Data first: once others see the tag, `mlops verify` must find all data.
        publish(layout.root)
    message = _message(session, number, record, verdicts, why)
    tag = new_tag(git, version_tag(session.name, number), commit, message)
    try:
        apply(git, [tag, RefChange(f"refs/heads/{branch}", commit, head)], session.remote)
    except OutdatedTags:
        raise _rejection_error(session, branch) from None
    commit_outputs.reset_index(git, pipeline.files)
    return RegisterResult(session.registry().find(number), new=True, champion=verdicts)


def _check_champion(session: Session, registry: Registry) -> tuple[GateResult, ...]:
    gate = session.params.register_.champion
    champion = registry.in_stage(gate.stage) if gate else None
    # Without a champion, the register stage's gates compare the model with the baselines.
    if gate is None or champion is None:
        return ()
    folder = fetch_bundle.pull_bundle(session.layout.root, champion)
    verdicts = compare_to_champion(session.params, session.layout, folder, champion)
    if not all(v.passed for v in verdicts):
        failure = next(v for v in verdicts if not v.passed)
        if failure.figure is None:
            raise ModelRefused(
                f"the model can't be compared with {champion}, which is in {gate.stage}: "
                f"{failure.reason}",
                "Test it on rows that the champion hasn't learnt from (newer data, a later "
                "ingest.until) or, knowingly, leave register.champion out.",
            )
        raise ModelRefused(
            f"the model may be worse than {champion}, which is in {gate.stage}: {failure.reason}",
            "Improve the model or, knowingly, widen register.champion.margin.",
        )
    return verdicts


def refuse_behind(session: Session) -> None:
    """Raise before any work if the remote's branch is ahead, so that it would reject a version.

    Raises
    ------
    OutdatedTags
        If the remote's branch has commits that are not here; the message names their author.
    """
    branch = session.git.branch()
    if branch is None or (error := _outdated_error(session, branch)) is None:
        return
    if not _has_only_own_version(session, branch):
        raise error


def _has_only_own_version(session: Session, branch: str) -> bool:
    """Whether the remote's only new commit is a version of this model, from a killed run."""
    git, record = session.git, session.layout.registration
    if not record.is_file():
        return False
    version = session.registry().version_of_bundle(read_json(record).get("bundle_sha256"))
    remote_head = git.resolve(f"refs/remotes/{session.remote}/{branch}")
    head = git.resolve("HEAD")
    return (
        version is not None
        and version.commit == remote_head
        and git.resolve(f"{remote_head}^") == head
    )


def _outdated_error(session: Session, branch: str) -> OutdatedTags | None:
    """The error if the remote's branch has commits that are not here; None if it has none."""
    git = session.git
    remote_head = git.resolve(f"refs/remotes/{session.remote}/{branch}") if session.remote else None
    if (
        remote_head is None
        or git.try_run("merge-base", "--is-ancestor", remote_head, "HEAD") is not None
    ):
        return None
    new = set(git.run("rev-list", f"HEAD..{remote_head}").split())
    versions = [v for v in session.registry().versions if v.commit in new]
    if versions:
        latest = f"{versions[-1].tag.tagger} registered {versions[-1]}"
    else:
        latest = git.run("show", "-s", "--format=the last is %h by %an, %s", remote_head).strip()
    return OutdatedTags(
        f"{branch} on {session.remote} has commits that are not here: {latest}",
        "Bring them here with `mlops pull --rebase`, which keeps your edits and commits, then run "
        "again.",
    )


def _rejection_error(session: Session, branch: str) -> MlopsError:
    """The error for a registration that the remote rejected: a newer version, or new commits."""
    fetch(session.git, session.remote)
    latest = session.registry().latest
    return _outdated_error(session, branch) or OutdatedTags(
        f"{latest.tag.tagger if latest else 'somebody'} registered {latest} at the same moment",
        "Look at `mlops models`, then run again.",
    )


def _complete_registration(
    session: Session, branch: str, version: Version, files: list[str]
) -> None:
    """Move branch and index to a version whose tag was set before the run was killed."""
    git = session.git
    head = git.run("rev-parse", "HEAD").strip()
    if (
        git.resolve(f"{version.commit}^") == head
        and git.try_run("diff", "--quiet", version.commit, "--", *files) is not None
    ):
        ref = f"refs/heads/{branch}"
        apply(git, [RefChange(ref, version.commit, head)], None)
        head = version.commit
    if head == version.commit:
        commit_outputs.reset_index(git, files)


def _message(
    session: Session,
    number: str,
    record: dict[str, Any],
    verdicts: tuple[GateResult, ...],
    why: str,
) -> str:
    metric, estimate = next(iter(record["metrics"].items()), (None, None))
    figure = (
        f"{metric} {estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"
        if estimate
        else ""
    )
    until = session.params.ingest.until
    facts = {
        "Bundle": record["bundle_sha256"],
        "Metric": figure or None,
        "Families": ", ".join(record["families"]),
        "Data-until": until.isoformat() if until else None,
        "Champion": verdicts[0].reason if verdicts else None,
        "Made-with": f"mlops-cli {mlops_cli.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    headline = f"{session.name} {number}" + (f": {figure}" if figure else "")
    return "\n\n".join(part for part in (headline, why.strip(), trailers(facts)) if part)
