"""Retraining: moves the data clock, runs the pipeline, registers and promotes a version.

The pipeline runs in the project itself. Until a version is registered, everything can be restored.
A journal (``project.attempts``) records the progress, so an interrupted run can resume. Production
changes last, by one tag.
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
    """Options of a retraining.

    Attributes
    ----------
    until
        The new data clock; None: the time up to which labels are complete.
    if_needed
        Retrain only if monitoring or the model's age requires it.
    local
        Neither read nor write a Git remote.
    """

    until: dt.datetime | None = None
    reason: str = ""
    if_needed: bool = False
    local: bool = False


@dataclass(frozen=True)
class RetrainResult:
    """Result of a retraining.

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


_REPEATABLE = ("refused", "too few rows")
"""Outcomes that another attempt on the same data and commit would repeat."""


class _TooFewRows(MlopsError):
    """There are fewer new labelled rows than required."""


def retrain(layout: Layout, options: RetrainOptions, progress: Progress) -> RetrainResult:
    """Move the data clock, run the pipeline, register an approved model, promote if allowed.

    Raises
    ------
    Usage
        If the clock would go back, or another attempt is unfinished.
    NotProject
        If the project holds uncommitted work.
    StageFailed, DataRefused, SourceUnreadable, ...
        If a step failed; production, registry and `params.yaml` are unchanged.
    Busy
        If another retraining is running.
    """
    attempts = Attempts(layout)
    with lock(layout.work / "retrain.lock", "retraining"):
        attempt, options = _settle_unfinished(layout, attempts, options, progress)
        planned = attempt or _plan_attempt(
            parameters.load(layout.params), layout, attempts, options, progress
        )
        if isinstance(planned, RetrainResult):
            return planned
        if planned.step == "running":
            planned = _run_attempt(
                layout, attempts, planned, options, progress, new=attempt is None
            )
        if planned.outcome is not None:
            return _to_result(planned)
        return _to_result(_promote_if_allowed(layout, attempts, planned, options))


def _settle_unfinished(
    layout: Layout, attempts: Attempts, options: RetrainOptions, progress: Progress
) -> tuple[Attempt | None, RetrainOptions]:
    """The unfinished attempt to resume, if there is one, and the options to use.

    An attempt that failed is restored, and so is one whose project has changed since.

    Raises
    ------
    Usage
        If an unfinished attempt has another data clock than the requested one.
    NotProject
        If the project holds uncommitted edits.
    """
    attempt = attempts.unfinished()
    if attempt is None:
        return None, options
    if attempt.step == "restoring":
        restore(layout, attempts, attempt, attempt.outcome or "failed", attempt.detail)
        progress.note(f"put back what the retraining up to {attempt.until} had changed")
        return None, options
    if options.until is not None and format_timestamp(options.until) != attempt.until:
        raise Usage(
            f"a retraining up to {attempt.until} was interrupted, and isn't finished",
            "Go on with it (`mlops retrain`), or drop it: mlops retrain --abandon",
        )
    if version := version_of(layout, attempt):
        commit_outputs.reset_index(Git(layout.root), commit_outputs.pipeline_files(layout).files)
        return attempts.update(attempt, step="registered", version=version), options
    if is_unchanged(layout, attempt):
        progress.note(f"going on with the retraining up to {attempt.until}")
        return attempt, options
    restore(layout, attempts, attempt, "abandoned", "the project has changed since")
    progress.note(f"starting over: the project has changed since {attempt.at}")
    return None, replace(options, reason=options.reason or attempt.reason, if_needed=False)


def abandon(layout: Layout) -> RetrainResult | None:
    """Restore what an interrupted retraining has changed; None if there is none.

    Raises
    ------
    Busy
        If it is still running.
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
            return _to_result(restore(layout, attempts, attempt, outcome, detail))
        if version_of(layout, attempt):
            commit_outputs.reset_index(
                Git(layout.root), commit_outputs.pipeline_files(layout).files
            )
            return _to_result(attempts.end(attempt, "registered", "not promoted: abandoned"))
        return _to_result(restore(layout, attempts, attempt, "abandoned", None))


def _plan_attempt(
    params: Params, layout: Layout, attempts: Attempts, options: RetrainOptions, progress: Progress
) -> Attempt | RetrainResult:
    """A new attempt, or the result if there is nothing to do."""
    git = Git(layout.root)
    commit_outputs.require_branch(git)
    # The clock may have been moved for serving; no other change may be part of a retraining.
    commit_outputs.require_clean_workspace(
        git, commit_outputs.pipeline_files(layout), allowed_keys=("ingest.until",)
    )
    registry = read_trusted(layout.root, params.register_.name, progress.note)
    production = registry.in_stage(params.retrain.stage)
    until = options.until or _find_label_end(params, layout, progress)
    # The end of the model's data, not the present clock, which may have been moved since.
    trained = _trained_until(git, layout)
    trained_text = None if trained is None else format_timestamp(trained)
    if until is None:
        raise BadParams(
            "there is no data clock to move: the base source states no `time`",
            "Set ingest.sources.<base>.time, or run the pipeline on the new data by yourself.",
        )
    if trained is not None and until <= trained:
        if options.until is not None:
            raise Usage(
                f"{format_timestamp(until)} is not after {trained_text}, up to which the present "
                "model's data go",
                "Name a later moment.",
            )
        return RetrainResult("nothing new", options.reason, trained_text, format_timestamp(until))
    reason, head = options.reason, git.run("rev-parse", "HEAD").strip()
    if options.if_needed:
        held = None if production is None else production.number
        trigger = retrain_trigger(params, layout, trained, until, held)
        trigger_reason = trigger.reason
        if trigger_reason is None:
            return RetrainResult(
                "not needed", reason, trained_text, format_timestamp(until), None, trigger.detail
            )
        if repeated := _find_repeated(attempts, format_timestamp(until), head):
            detail = f"{repeated.outcome} before: {repeated.detail}"
            return RetrainResult(
                "nothing new", trigger_reason, trained_text, format_timestamp(until), None, detail
            )
        reason = "; ".join(part for part in (reason, trigger_reason) if part)
    # Before hours of work: check that the remote would accept it, and what is in the stage there.
    with Session.open(params, layout, local=options.local, note=progress.note) as session:
        refuse_behind(session)
        production = session.registry().in_stage(params.retrain.stage)
    return Attempt(
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        reason=reason or "by hand",
        was=trained_text,
        until=format_timestamp(until),
        head=head,
        held=None if production is None else production.number,
    )


def _trained_until(git: Git, layout: Layout) -> dt.datetime | None:
    """The data clock of the committed parameters."""
    text = commit_outputs.committed_text(git, layout.params)
    return None if text is None else parameters.parse(text).ingest.until


def _find_repeated(attempts: Attempts, until: str, head: str) -> Attempt | None:
    """The last attempt, if it had this clock and commit and its model was refused; else None."""
    last = next(reversed(attempts.history()), None)
    same = last is not None and (last.until, last.head) == (until, head)
    return last if same and last is not None and last.outcome in _REPEATABLE else None


def _find_label_end(params: Params, layout: Layout, progress: Progress) -> dt.datetime | None:
    """The time up to which labels are complete."""
    progress.update("looking how far labels are complete")
    layout.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="retrain-", dir=layout.work) as scratch:
        return complete_until(params, layout, Path(scratch))


def _run_attempt(
    layout: Layout,
    attempts: Attempts,
    attempt: Attempt,
    options: RetrainOptions,
    progress: Progress,
    *,
    new: bool,
) -> Attempt:
    """Run an attempt up to a registered version; if it fails, everything is restored."""
    with lock(layout.work / "run.lock", f"the project {layout.root.name}"):
        if new:
            attempt = attempts.begin(attempt, commit_outputs.pipeline_files(layout).files)
        try:
            return _run_and_register(layout, attempts, attempt, options, progress)
        except Exception as error:
            # Ctrl-C isn't an Exception: it leaves the attempt unfinished, and it can resume.
            if version_of(layout, attempt):
                raise
            failed = attempts.fail(attempt, *_describe_failure(layout, error))
            if isinstance(error, _TooFewRows):
                return failed
            raise


def _run_and_register(
    layout: Layout,
    attempts: Attempts,
    attempt: Attempt,
    options: RetrainOptions,
    progress: Progress,
) -> Attempt:
    """Run the pipeline with the new data clock, and register a version of its results."""
    attempts.move_clock(attempt)
    params = parameters.load(layout.params)
    # From the commit at the start: after a kill, HEAD may be the new version's already.
    before = _labelled_rows(
        commit_outputs.committed_text(Git(layout.root), layout.feature_report, attempt.head)
    )
    progress.update(f"running the pipeline up to {attempt.until}")
    reproduce(layout.root, "featurize", stage_context=attempts.record_writes)
    after = _labelled_rows(layout.feature_report.read_text(encoding="utf-8"))
    min_rows = params.retrain.min_rows
    if before is not None and after is not None and after - before < min_rows:
        raise _TooFewRows(
            f"{after - before} new labelled rows, and retrain.min_rows is {min_rows}",
            "Wait for more.",
        )
    reproduce(layout.root, "register", stage_context=attempts.record_writes)
    with Session.open(
        params, layout, local=options.local, will_commit=True, note=progress.note
    ) as session:
        version = register(session, "minor", attempt_message(attempt)).version
    return attempts.update(attempt, step="registered", version=version.number)


def _promote_if_allowed(
    layout: Layout, attempts: Attempts, attempt: Attempt, options: RetrainOptions
) -> Attempt:
    """Put the version into the stage, if parameters, rule and concurrent changes allow it."""
    params = parameters.load(layout.params)
    stage = params.retrain.stage
    assert attempt.version is not None  # noqa: S101 - it is registered
    if not params.retrain.promote:
        return attempts.end(attempt, "registered", "retrain.promote is false")
    with Session.open(params, layout, local=options.local) as session:
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


def _describe_failure(layout: Layout, error: Exception) -> tuple[str, str]:
    """Outcome and reason of a failure, with the message of whatever failed."""
    if isinstance(error, _TooFewRows):
        return "too few rows", error.message
    if isinstance(error, StageFailed):
        message = load_failure(layout, error.stage)
        return "failed", f"{error.stage}: {message}" if message else error.message
    if isinstance(error, ModelRefused):
        try:
            gates = read_json(layout.registration)["gates"]
        except NotFound:
            gates = []
        reasons = [f"{g['name']}: {g['reason']}" for g in gates if not g["passed"]]
        return "refused", "; ".join(reasons) or error.message
    message = error.message if isinstance(error, MlopsError) else f"{type(error).__name__}: {error}"
    return "failed", " ".join(message.split())


def _labelled_rows(report: str | None) -> int | None:
    """Number of labelled rows, from the text of reports/features.json."""
    return None if report is None else int(json.loads(report)["rows"]["labelled"])


def _to_result(attempt: Attempt) -> RetrainResult:
    return RetrainResult(
        attempt.outcome or "",
        attempt.reason,
        attempt.was,
        attempt.until,
        attempt.version,
        attempt.detail,
    )
