"""A new model of newer data: trained, judged, registered and, if it may be, put into its stage.

The pipeline runs in the project itself. Until a version is registered, everything can be put back
as it was; what has been done is in a journal (``project.attempts``), so that a run that was killed
goes on. Production changes by one tag, which comes last.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlops_cli import params as parameters
from mlops_cli.data.atomic_files import read_json
from mlops_cli.data.timestamps import format_timestamp
from mlops_cli.errors import (
    BadParams,
    MlopsError,
    ModelRefused,
    NotFound,
    StageFailed,
    Usage,
)
from mlops_cli.feedback.ground_truth import complete_until
from mlops_cli.project.attempts import Attempt, Attempts
from mlops_cli.project.dvc import reproduce
from mlops_cli.project.git import Git
from mlops_cli.project.locks import lock
from mlops_cli.project.stage_runs import load_failure
from mlops_cli.promotion.promote import promote
from mlops_cli.registry import commit_outputs
from mlops_cli.registry.approvals.stage_rules import read_trusted
from mlops_cli.registry.register import refuse_behind, register
from mlops_cli.registry.session import Session
from mlops_cli.retraining.recovery import attempt_message, is_unchanged, restore, version_of
from mlops_cli.retraining.trigger import retrain_trigger

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["RetrainOptions", "RetrainResult", "abandon", "retrain"]


@dataclass(frozen=True)
class RetrainOptions:
    """What is asked for.

    Attributes
    ----------
    until
        Where the data clock shall go; None: as far as labels are complete.
    if_needed
        Only if monitoring or the model's age says so.
    local
        Ask no Git remote, tell none.
    """

    until: dt.datetime | None = None
    reason: str = ""
    if_needed: bool = False
    local: bool = False


@dataclass(frozen=True)
class RetrainResult:
    """What came of it.

    Attributes
    ----------
    outcome
        promoted, registered, refused, too few rows, nothing new, or not needed.
    version
        The registered version's number.
    was, until
        The data clock before and after.
    """

    outcome: str
    reason: str
    was: str | None
    until: str | None
    version: str | None = None
    detail: str | None = None


_IN_VAIN = ("refused", "too few rows")


class _TooFew(MlopsError):
    """Not enough new rows."""


def retrain(layout: Layout, wanted: RetrainOptions, progress: Progress) -> RetrainResult:
    """Move the data clock, run the pipeline, register what is approved, promote if allowed.

    Raises
    ------
    Usage
        If the clock would go back, or another attempt is unfinished.
    NotProject
        If the project holds work that no version has.
    StageFailed, DataRefused, SourceUnreadable, ...
        What went wrong; production, registry and `params.yaml` are as they were.
    Busy
        If another retraining is at work.
    """
    attempts = Attempts(layout)
    with lock(layout.work / "retrain.lock", "retraining"):
        attempt, wanted = _settled(layout, attempts, wanted, progress)
        planned = attempt or _planned(
            parameters.load(layout.params), layout, attempts, wanted, progress
        )
        if isinstance(planned, RetrainResult):
            return planned
        if planned.step == "running":
            planned = _made(layout, attempts, planned, wanted, progress, new=attempt is None)
        if planned.outcome is not None:
            return _told(planned)
        return _told(_promoted(layout, attempts, planned, wanted))


def _settled(
    layout: Layout, attempts: Attempts, wanted: RetrainOptions, progress: Progress
) -> tuple[Attempt | None, RetrainOptions]:
    """The attempt to go on with, if there is one, and what is wanted then.

    One that had failed is put back, and so is one whose project has changed since.

    Raises
    ------
    Usage
        If an unfinished attempt goes up to another moment than the one wanted.
    NotProject
        If the project holds edits that no commit holds.
    """
    attempt = attempts.unfinished()
    if attempt is None:
        return None, wanted
    if attempt.step == "restoring":
        restore(layout, attempts, attempt, attempt.outcome or "failed", attempt.detail)
        progress.note(f"put back what the retraining up to {attempt.until} had changed")
        return None, wanted
    if wanted.until is not None and format_timestamp(wanted.until) != attempt.until:
        raise Usage(
            f"a retraining up to {attempt.until} was interrupted, and isn't finished",
            "Go on with it (`mlops retrain`), or drop it: mlops retrain --abandon",
        )
    if version := version_of(layout, attempt):
        commit_outputs.reset_index(Git(layout.root), commit_outputs.pipeline_files(layout).files)
        return attempts.mark(attempt, step="registered", version=version), wanted
    if is_unchanged(layout, attempt):
        progress.note(f"going on with the retraining up to {attempt.until}")
        return attempt, wanted
    restore(layout, attempts, attempt, "abandoned", "the project has changed since")
    progress.note(f"beginning anew: the project has changed since {attempt.at}")
    return None, replace(wanted, reason=wanted.reason or attempt.reason, if_needed=False)


def abandon(layout: Layout) -> RetrainResult | None:
    """Put back what an interrupted retraining has changed; None: there is none.

    Raises
    ------
    Busy
        If it isn't interrupted but at work.
    NotProject
        If newer work would be lost.
    """
    attempts = Attempts(layout)
    with lock(layout.work / "retrain.lock", "retraining"):
        attempt = attempts.unfinished()
        if attempt is None:
            return None
        if attempt.step == "restoring":
            outcome, detail = attempt.outcome or "abandoned", attempt.detail
            return _told(restore(layout, attempts, attempt, outcome, detail))
        if version_of(layout, attempt):
            commit_outputs.reset_index(
                Git(layout.root), commit_outputs.pipeline_files(layout).files
            )
            return _told(attempts.end(attempt, "registered", "not promoted: abandoned"))
        return _told(restore(layout, attempts, attempt, "abandoned", None))


def _planned(
    params: Params, layout: Layout, attempts: Attempts, wanted: RetrainOptions, progress: Progress
) -> Attempt | RetrainResult:
    git = Git(layout.root)
    commit_outputs.require_branch(git)
    # The clock may have been moved for serving; a retraining brings no other change along.
    commit_outputs.require_clean_workspace(
        git, commit_outputs.pipeline_files(layout), only=("ingest.until",)
    )
    registry = read_trusted(layout.root, params.register_.name, progress.note)
    production = registry.in_stage(params.retrain.stage)
    until = wanted.until or _newest(params, layout, progress)
    # Where the model's data end, not where the clock stands: it may have been moved since.
    trained = _trained_until(git, layout)
    told = None if trained is None else format_timestamp(trained)
    if until is None:
        raise BadParams(
            "there is no data clock to move: the base source states no `time`",
            "Set ingest.sources.<base>.time, or run the pipeline on the new data by yourself.",
        )
    if trained is not None and until <= trained:
        if wanted.until is not None:
            raise Usage(
                f"{format_timestamp(until)} is not after {told}, up to which the present model's "
                "data go",
                "Name a later moment.",
            )
        return RetrainResult("nothing new", wanted.reason, told, format_timestamp(until))
    reason, head = wanted.reason, git.run("rev-parse", "HEAD").strip()
    if wanted.if_needed:
        held = None if production is None else production.number
        need = retrain_trigger(params, layout, trained, until, held)
        found = need.reason
        if found is None:
            return RetrainResult(
                "not needed", reason, told, format_timestamp(until), None, need.detail
            )
        if again := _tried(attempts, format_timestamp(until), head):
            detail = f"{again.outcome} before: {again.detail}"
            return RetrainResult("nothing new", found, told, format_timestamp(until), None, detail)
        reason = "; ".join(part for part in (reason, found) if part)
    # Before hours of work: would the remote take it, and what is in the stage there?
    with Session.open(params, layout, local=wanted.local, waiting=progress.note) as session:
        refuse_behind(session)
        production = session.registry().in_stage(params.retrain.stage)
    return Attempt(
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        reason=reason or "asked for",
        was=told,
        until=format_timestamp(until),
        head=head,
        held=None if production is None else production.number,
    )


def _trained_until(git: Git, layout: Layout) -> dt.datetime | None:
    text = commit_outputs.committed_text(git, layout.params)
    return None if text is None else parameters.parse(text).ingest.until


def _tried(attempts: Attempts, until: str, head: str) -> Attempt | None:
    """The last attempt, if it was this very one and its model was refused: it would be again."""
    last = next(reversed(attempts.history()), None)
    same = last is not None and (last.until, last.head) == (until, head)
    return last if same and last is not None and last.outcome in _IN_VAIN else None


def _newest(params: Params, layout: Layout, progress: Progress) -> dt.datetime | None:
    progress.update("looking how far labels are complete")
    layout.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="retrain-", dir=layout.work) as scratch:
        return complete_until(params, layout, Path(scratch))


def _made(
    layout: Layout,
    attempts: Attempts,
    attempt: Attempt,
    wanted: RetrainOptions,
    progress: Progress,
    *,
    new: bool,
) -> Attempt:
    """Let an attempt come to a version, or to nothing: then all is as it was."""
    with lock(layout.work / "run.lock", f"the project {layout.root.name}"):
        if new:
            attempt = attempts.begin(attempt, commit_outputs.pipeline_files(layout).files)
        try:
            return _registered(layout, attempts, attempt, wanted, progress)
        except Exception as error:
            # Ctrl-C isn't one of these: it leaves the attempt to be gone on with.
            if version_of(layout, attempt):
                raise
            done = attempts.fail(attempt, *_failure(layout, error))
            if isinstance(error, _TooFew):
                return done
            raise


def _registered(
    layout: Layout, attempts: Attempts, attempt: Attempt, wanted: RetrainOptions, progress: Progress
) -> Attempt:
    """Run the pipeline with the clock moved on, and make a version of what it gives."""
    attempts.move_clock(attempt)
    params = parameters.load(layout.params)
    # As it was when the attempt began: after a kill, HEAD may be the new version's already.
    before = _rows(
        commit_outputs.committed_text(Git(layout.root), layout.feature_report, attempt.head)
    )
    progress.update(f"running the pipeline up to {attempt.until}")
    reproduce(layout.root, "featurize", around=attempts.at_work)
    after = _rows(layout.feature_report.read_text(encoding="utf-8"))
    least = params.retrain.min_rows
    if before is not None and after is not None and after - before < least:
        raise _TooFew(
            f"{after - before} new labelled rows, and retrain.min_rows is {least}",
            "Wait for more.",
        )
    reproduce(layout.root, "register", around=attempts.at_work)
    with Session.open(
        params, layout, local=wanted.local, committing=True, waiting=progress.note
    ) as session:
        version = register(session, "minor", attempt_message(attempt)).version
    return attempts.mark(attempt, step="registered", version=version.number)


def _promoted(
    layout: Layout, attempts: Attempts, attempt: Attempt, wanted: RetrainOptions
) -> Attempt:
    """Put the version into the stage, if the parameters, its rule and other people let it."""
    params = parameters.load(layout.params)
    stage = params.retrain.stage
    assert attempt.version is not None  # noqa: S101 - it is registered
    if not params.retrain.promote:
        return attempts.end(attempt, "registered", "retrain.promote is false")
    with Session.open(params, layout, local=wanted.local) as session:
        now = session.registry().in_stage(stage)
        number = None if now is None else now.number
        if number not in {attempt.held, attempt.version}:
            return attempts.end(
                attempt,
                "registered",
                f"not promoted: meanwhile {number} has come into {stage}, where "
                f"{attempt.held or 'nothing'} was",
            )
        try:
            promote(session, attempt.version, stage, attempt_message(attempt), number)
        except ModelRefused as error:
            return attempts.end(attempt, "registered", f"not promoted: {error.message}")
    return attempts.end(attempt, "promoted")


def _failure(layout: Layout, error: Exception) -> tuple[str, str]:
    """Outcome and reason, in the words of whoever refused."""
    if isinstance(error, _TooFew):
        return "too few rows", error.message
    if isinstance(error, StageFailed):
        said = load_failure(layout, error.stage)
        return "failed", f"{error.stage}: {said}" if said else error.message
    if isinstance(error, ModelRefused):
        try:
            gates = read_json(layout.registration)["gates"]
        except NotFound:
            gates = []
        reasons = [f"{g['name']}: {g['reason']}" for g in gates if not g["passed"]]
        return "refused", "; ".join(reasons) or error.message
    said = error.message if isinstance(error, MlopsError) else f"{type(error).__name__}: {error}"
    return "failed", " ".join(said.split())


def _rows(report: str | None) -> int | None:
    """Labelled rows, by reports/features.json."""
    return None if report is None else int(json.loads(report)["rows"]["labelled"])


def _told(attempt: Attempt) -> RetrainResult:
    return RetrainResult(
        attempt.outcome or "",
        attempt.reason,
        attempt.was,
        attempt.until,
        attempt.version,
        attempt.detail,
    )
