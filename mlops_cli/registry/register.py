"""From an approved model to a version."""

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
from mlops_cli.registry.tags import Part, version_tag
from mlops_cli.registry.versions import Registry, Version

if TYPE_CHECKING:
    from mlops_cli.registry.gates import GateResult
    from mlops_cli.registry.session import Session

__all__ = ["RegisterResult", "refuse_behind", "register"]


@dataclass(frozen=True)
class RegisterResult:
    """A version, and whether it was made now."""

    version: Version
    new: bool
    champion: tuple[GateResult, ...] = ()


def register(session: Session, part: Part = "minor", why: str = "") -> RegisterResult:
    """Commit what the pipeline owns, and tag it as the next version.

    Where this very bundle has a version already, nothing is done but to finish what a killed
    run has begun.

    Raises
    ------
    ModelRefused
        If the gates reject the model, or the champion is better.
    NotProject
        If a commit can't be made here: see ``registry.commit_outputs``.
    Outdated
        If somebody else was faster.
    """
    git, layout = session.git, session.layout
    branch = commit_outputs.require_branch(git)
    record = read_json(layout.registration)
    if record["decision"] != "approved":
        raise ModelRefused(
            f"the gates reject this model of {session.name}",
            "Look at the gates above; change the model or, knowingly, register.gates.",
        )
    registry, mine = session.registry(), commit_outputs.pipeline_files(layout)
    if known := registry.of_bundle(record["bundle_sha256"]):
        _finish(session, branch, known, mine.files)
        return RegisterResult(known, new=False)
    commit_outputs.require_clean_workspace(git, mine)
    verdicts = _against_champion(session, registry)
    number = registry.next_number(part)
    head = git.run("rev-parse", "HEAD").strip()
    commit = commit_outputs.commit_of(git, mine.files, f"Register {session.name} {number}\n")
    if other := next((v for v in registry.versions if v.commit == commit), None):
        raise NotProject(
            f"the commit {commit[:9]} is {other} already, and a commit has one version only",
            "Commit what changed, then run again.",
        )
    if session.remote is not None:
        # Data first: whoever sees the tag shall find all that `mlops verify` asks for.
        publish(layout.root)
    message = _message(session, number, record, verdicts, why)
    tag = new_tag(git, version_tag(session.name, number), commit, message)
    try:
        apply(git, [tag, RefChange(f"refs/heads/{branch}", commit, head)], session.remote)
    except OutdatedTags:
        raise _overtaken(session, branch) from None
    commit_outputs.reset_index(git, mine.files)
    return RegisterResult(session.registry().find(number), new=True, champion=verdicts)


def _against_champion(session: Session, registry: Registry) -> tuple[GateResult, ...]:
    gate = session.params.register_.champion
    champion = registry.in_stage(gate.stage) if gate else None
    if (
        gate is None or champion is None
    ):  # the first model has its baselines to beat, in the stage's own gates
        return ()
    folder = fetch_bundle.pull_bundle(session.layout.root, champion)
    verdicts = compare_to_champion(session.params, session.layout, folder, champion)
    if not all(v.passed for v in verdicts):
        worst = next(v for v in verdicts if not v.passed)
        if worst.figure is None:
            raise ModelRefused(
                f"the model can't be compared with {champion}, which is in {gate.stage}: "
                f"{worst.reason}",
                "Test it on rows that the champion hasn't learnt from (newer data, a later "
                "ingest.until) or, knowingly, leave register.champion out.",
            )
        raise ModelRefused(
            f"the model may be worse than {champion}, which is in {gate.stage}: {worst.reason}",
            "Improve the model or, knowingly, widen register.champion.margin.",
        )
    return verdicts


def refuse_behind(session: Session) -> None:
    """Refuse to make a version, before any work, where the remote wouldn't take it.

    Raises
    ------
    Outdated
        If the remote's branch has commits that are not here, naming whose.
    """
    branch = session.git.branch()
    if branch is None or (behind := _behind(session, branch)) is None:
        return
    if not _has_only_own(session, branch):
        raise behind


def _has_only_own(session: Session, branch: str) -> bool:
    """Whether all that is new there is a version of this very model, from a run that was killed."""
    git, record = session.git, session.layout.registration
    if not record.is_file():
        return False
    version = session.registry().of_bundle(read_json(record).get("bundle_sha256"))
    theirs = git.resolve(f"refs/remotes/{session.remote}/{branch}")
    head = git.resolve("HEAD")
    return version is not None and version.commit == theirs and git.resolve(f"{theirs}^") == head


def _behind(session: Session, branch: str) -> OutdatedTags | None:
    git = session.git
    theirs = git.resolve(f"refs/remotes/{session.remote}/{branch}") if session.remote else None
    if theirs is None or git.ask("merge-base", "--is-ancestor", theirs, "HEAD") is not None:
        return None
    new = set(git.run("rev-list", f"HEAD..{theirs}").split())
    versions = [v for v in session.registry().versions if v.commit in new]
    if versions:
        what = f"{versions[-1].tag.who} registered {versions[-1]}"
    else:
        what = git.run("show", "-s", "--format=the last is %h by %an, %s", theirs).strip()
    return OutdatedTags(
        f"{branch} on {session.remote} has commits that are not here: {what}",
        "Bring them here with `mlops pull --rebase`, which keeps your edits and commits, then run "
        "again.",
    )


def _overtaken(session: Session, branch: str) -> MlopsError:
    """Why the remote refused a registration: a newer version, or a branch that moved on."""
    fetch(session.git, session.remote)
    latest = session.registry().latest
    return _behind(session, branch) or OutdatedTags(
        f"{latest.tag.who if latest else 'somebody'} registered {latest} at the same moment",
        "Look at `mlops models`, then run again.",
    )


def _finish(session: Session, branch: str, version: Version, files: list[str]) -> None:
    """Let branch and index follow a tag that was set before the run was killed."""
    git = session.git
    head = git.run("rev-parse", "HEAD").strip()
    if (
        git.resolve(f"{version.commit}^") == head
        and git.ask("diff", "--quiet", version.commit, "--", *files) is not None
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
    first, shown = next(iter(record["metrics"].items()), (None, None))
    figure = (
        f"{first} {shown['value']:.4f} [{shown['low']:.4f}, {shown['high']:.4f}]" if shown else ""
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
    head = f"{session.name} {number}" + (f": {figure}" if figure else "")
    return "\n\n".join(part for part in (head, why.strip(), trailers(facts)) if part)
