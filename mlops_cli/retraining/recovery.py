"""Recovery of an interrupted retraining: restores the project, or finds that it can resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_cli import params as parameters
from mlops_cli.errors import BadParams, NotProject
from mlops_cli.project.git import Git
from mlops_cli.project.locks import lock, wait_for_lock
from mlops_cli.registry import commit_outputs
from mlops_cli.registry.approvals.stage_rules import read_trusted

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.project.attempts import Attempt, Attempts

__all__ = ["attempt_message", "is_unchanged", "restore", "version_of"]


def restore(
    layout: Layout, attempts: Attempts, attempt: Attempt, outcome: str, detail: str | None
) -> Attempt:
    """Restore the project after a kill, while no run is active, and end the attempt."""
    attempts.update(attempt, step="restoring", outcome=outcome, detail=detail)
    with _hold_locks(layout):
        aside = attempts.restore(attempt)
    if aside:
        copies = f"copies of what was being written are in .mlops/retrain/aside: {', '.join(aside)}"
        detail = f"{detail}; {copies}" if detail else copies
    return attempts.end(attempt, outcome, detail)


@contextmanager
def _hold_locks(layout: Layout) -> Iterator[None]:
    """Hold the project's locks: no `mlops run` is active, nor a stage that a killed one left."""
    with (
        lock(layout.work / "run.lock", f"the project {layout.root.name}"),
        wait_for_lock(layout.work / "stage.lock", lambda _: None),
    ):
        yield


def is_unchanged(layout: Layout, attempt: Attempt) -> bool:
    """Whether the project is as it was when an attempt began, so that the attempt can resume.

    Raises
    ------
    NotProject
        If the project holds uncommitted edits.
    """
    git = Git(layout.root)
    if git.resolve("HEAD") != attempt.head:
        return False
    try:
        files = commit_outputs.pipeline_files(layout)
    except (NotProject, BadParams):
        return False
    commit_outputs.require_clean_workspace(git, files, allowed_keys=("ingest.until",))
    return True


def version_of(layout: Layout, attempt: Attempt) -> str | None:
    """The version that an attempt has registered, if HEAD contains it; else None."""
    if attempt.step == "registered":
        return attempt.version
    git = Git(layout.root)
    name = parameters.load(layout.params).register_.name
    return next(
        (
            version.number
            for version in reversed(read_trusted(layout.root, name).versions)
            if git.resolve(f"{version.commit}^") == attempt.head
            and version.tag.body == attempt_message(attempt)
            and git.try_run("merge-base", "--is-ancestor", version.commit, "HEAD") is not None
        ),
        None,
    )


def attempt_message(attempt: Attempt) -> str:
    """The message of the attempt's tags."""
    return f"Retrained up to {attempt.until}: {' '.join(attempt.reason.split())}"
