"""Promotion and rollback: rules of a stage, approvals, and the change itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from mlops_cli.errors import Busy, ModelRefused, NotFound, NotProject, nearest
from mlops_cli.promotion.stale_stage import refuse_unseen
from mlops_cli.registry.approvals.stage_rules import RULES_TRAILER, StageRules
from mlops_cli.registry.git_tags import OutdatedTags, apply, fetch, new_tag, read, trailers
from mlops_cli.registry.tags import Tag, address_of, approval_tag, assignment_tag, is_approval_of
from mlops_cli.registry.versions import Assignment, Registry, Version

if TYPE_CHECKING:
    from mlops_cli.params.register import StageRule
    from mlops_cli.registry.git_tags import RefChange
    from mlops_cli.registry.session import Session

__all__ = ["approve", "promote", "rollback"]

_MAX_TRIES = 8
"""Attempts of a promotion that concurrent changes, which don't touch it, have made outdated."""


def promote(
    session: Session,
    version_or_stage: str,
    stage: str,
    why: str = "",
    expected_version: str | None = None,
) -> tuple[Assignment, bool]:
    """Put a version into a stage; the second value is False if it was there already.

    Parameters
    ----------
    expected_version
        The version that the stage has to hold now; None: what it held when this clone last looked,
        unless a newer version follows an older one.

    Raises
    ------
    NotFound
        If there is no such version or stage.
    ModelRefused
        If the stage's rule isn't met, or the replay of logged requests refuses the version.
    Busy
        If somebody else has put another version there in the meantime.
    """
    rule = _read_rule(session, stage)
    _note_difference(session, stage, rule)
    _refuse_unpublished(session, session.registry().find(version_or_stage))
    replayed: set[str] = set()

    def choose(registry: Registry) -> Version:
        version = registry.find(version_or_stage)
        current = registry.in_stage(stage)
        if current != version:
            refuse_unseen(registry, stage, session.known_tags, expected_version, version)
            _check_rule(session, rule, version, stage)
            # For the first version of a stage there are no responses to compare with.
            if current is not None and version.number not in replayed:
                _check_replay(session, rule, version, stage)
                replayed.add(version.number)
        return version

    return _assign(session, _Change("promotion", stage, choose, why))


def rollback(
    session: Session,
    stage: str,
    to: str | None = None,
    why: str = "",
    expected_version: str | None = None,
) -> tuple[Assignment, bool]:
    """Put the previous version of a stage, or an earlier one, into the stage again.

    Parameters
    ----------
    expected_version
        The version to be replaced; None: the one that was in the stage when this clone last looked.

    Raises
    ------
    NotFound
        If there is no earlier version, or ``to`` has never been in the stage.
    Busy
        If the stage holds another version by now.
    """
    _read_rule(session, stage)

    def choose(registry: Registry) -> Version:
        if to is None or registry.find(to) != registry.in_stage(stage):
            refuse_unseen(registry, stage, session.known_tags, expected_version)
        registry = _read_rules(session).history(stage)
        if to is None:
            previous = registry.previous_version(stage)
            if previous is None:
                raise NotFound(
                    f"{session.name} has no earlier version in {stage} to go back to",
                    "`mlops models` shows what was where.",
                )
            return previous
        version = registry.find(to)
        if not registry.was_in(version, stage):
            raise NotFound(
                f"{version} has never been in {stage}, so it is nothing to go back to",
                f"Put it there with `mlops promote {version.number} --to {stage}`.",
            )
        return version

    return _assign(session, _Change("rollback", stage, choose, why))


def approve(
    session: Session, version_or_stage: str, stage: str, why: str = "", *, sign: bool = False
) -> str:
    """Approve a version for a stage, in the user's own name; return the tag's name.

    Raises
    ------
    NotFound
        If there is no such version or stage.
    ModelRefused
        If the stage's rule names approvers, and the user isn't one of them.
    NotProject
        If the approval can't be signed.
    """
    rule, registry = _read_rule(session, stage), session.registry()
    version = registry.find(version_or_stage)
    _note_difference(session, stage, rule)
    identity = session.git.identity()
    address = address_of(identity)
    if rule.approvers and address.casefold() not in {a.casefold() for a in rule.approvers}:
        raise ModelRefused(
            f"{address} is not among those who approve for {stage}: {', '.join(rule.approvers)}",
            "Ask one of them, or change register.stages in params.yaml.",
        )
    if rule.signed and not sign:
        session.note(f"{stage} counts signed approvals only: mlops approve --sign")
    base = approval_tag(session.name, version.number, stage, address)
    approvals = {a.tag.name: a.tag for a in registry.approvals if is_approval_of(a.tag)}
    tag, count = base, 1
    while tag in registry.tag_names:
        if tag in approvals and _is_counted(
            session, rule, approvals[tag], version, stage, signed=sign
        ):
            return tag
        count += 1
        tag = f"{base}={count}"
    fields = {"Version": version.number, "Stage": stage, "Bundle": version.bundle, "By": identity}
    title = f"{identity} approves {version} for {stage}"
    message = "\n\n".join(part for part in (title, why.strip(), trailers(fields)) if part)
    change = new_tag(session.git, tag, version.commit, message, sign=sign)
    apply(session.git, [change], session.remote)
    _note_if_uncounted(session, tag, rule, version, stage)
    return tag


def _is_counted(
    session: Session, rule: StageRule, tag: Tag, version: Version, stage: str, *, signed: bool
) -> bool:
    """Whether an approval counts already; with ``signed``, only if its signature counts too."""
    strict = rule.model_copy(update={"signed": signed or rule.signed})
    return _read_rules(session).approval_refusal_reason(tag, version, stage, strict) is None


def _note_if_uncounted(
    session: Session, tag: str, rule: StageRule, version: Version, stage: str
) -> None:
    rules = _read_rules(session)
    approval = next((a.tag for a in rules.registry.approvals if a.tag.name == tag), None)
    reason = (
        None if approval is None else rules.approval_refusal_reason(approval, version, stage, rule)
    )
    if reason is not None:
        session.note(f"this approval doesn't count in this clone: {reason}")


def _read_rules(session: Session) -> StageRules:
    return StageRules(session.layout.root, read(session.layout.root, session.name))


def _read_rule(session: Session, stage: str) -> StageRule:
    rules = _read_rules(session)
    stages = rules.current()
    if stage not in stages:
        raise NotFound(
            f"there is no stage {stage!r} in register.stages (params.yaml on {rules.branch.name})",
            nearest(stage, stages),
        )
    return stages[stage]


def _note_difference(session: Session, stage: str, rule: StageRule) -> None:
    if session.params.register_.stages.get(stage) != rule:
        branch = _read_rules(session).branch.name
        session.note(
            f"register.stages.{stage} in params.yaml differs from {branch}, whose rule holds"
        )


def _check_rule(session: Session, rule: StageRule, version: Version, stage: str) -> None:
    rules = _read_rules(session)
    if rule.after is not None and not rules.history(rule.after).was_in(version, rule.after):
        raise ModelRefused(
            f"{version} has not been in {rule.after}, which comes before {stage}",
            f"First: mlops promote {version.number} --to {rule.after}",
        )
    if not rule.approvals:
        return
    approvals = rules.approvals(version, stage, rule)
    if approvals.count < rule.approvals:
        by = f" of {', '.join(rule.approvers)}" if rule.approvers else ""
        signed = " signed" if rule.signed else ""
        reasons = f"; {'; '.join(approvals.refusals)}" if approvals.refusals else ""
        raise ModelRefused(
            f"{version} has {approvals.count} of the {rule.approvals}{signed} approvals{by} that "
            f"{stage} asks for{reasons}",
            f"Each of them: mlops approve {version.number} --for {stage}"
            + (" --sign" if rule.signed else ""),
        )


def _refuse_unpublished(session: Session, version: Version) -> None:
    """Refuse to publish a change to a version that only this clone has: others can't fetch it.

    Raises
    ------
    NotProject
        If it was registered with ``--local``, or another version has its name there.
    """
    if session.remote is None:
        return
    ref = f"refs/tags/{version.tag.name}"
    published = session.git.try_run("ls-remote", session.remote, ref)
    if published is not None and not published.startswith(
        session.git.run("rev-parse", ref).strip()
    ):
        raise NotProject(
            f"{version} is not on {session.remote}: it was registered in this clone only",
            "Send it and its data first (mlops push), or keep to this clone with --local.",
        )


def _check_replay(session: Session, rule: StageRule, version: Version, stage: str) -> None:
    if rule.replay is None:
        return
    from mlops_cli.promotion.replay import remedy, replay_gate

    verdict = replay_gate(session.params, session.layout, version.number, rule.replay)
    if not verdict.passed:
        raise ModelRefused(
            f"{version} is not let into {stage} by a replay of logged requests: {verdict.reason}",
            f"{remedy(verdict, stage)} `mlops replay {version.number}` shows more.",
        )


@dataclass(frozen=True)
class _Change:
    """A change of a stage: how to choose the version from the current registry, and why."""

    action: Literal["promotion", "rollback"]
    stage: str
    choose: Callable[[Registry], Version]
    why: str

    def message(
        self, version: Version, previous: Version | None, identity: str, rules: StageRules
    ) -> str:
        """The message of its tag."""
        title = f"Promote {version} to {self.stage}"
        if self.action == "rollback":
            title = f"Roll back {self.stage} to {version}"
        fields = {
            "Action": self.action,
            "Version": version.number,
            "Replaces": previous.number if previous else None,
            "By": identity,
            RULES_TRAILER: rules.branch.commit,
        }
        return "\n\n".join(part for part in (title, self.why.strip(), trailers(fields)) if part)


def _assign(session: Session, change: _Change) -> tuple[Assignment, bool]:
    """Make the change; try again after a concurrent change that doesn't touch it."""
    registry = session.registry()
    current = registry.in_stage(change.stage)
    for _ in range(_MAX_TRIES):
        rules = _read_rules(session)
        version = change.choose(registry)
        if current == version:
            return _last_assignment(registry, change.stage), False
        name, tag = _new_assignment(session, registry, rules, change, version)
        try:
            apply(session.git, [tag], session.remote)
        except OutdatedTags:
            fetch(session.git, session.remote)
            registry = session.registry()
            if registry.in_stage(change.stage) != current:
                raise _conflict(registry, change.stage) from None
            continue
        assignments = reversed(session.registry().assignments)
        return next(a for a in assignments if a.tag.name == name), True
    raise Busy(
        f"the registry is changed by others all the time: {_MAX_TRIES} tries failed", "Run again."
    )


def _new_assignment(
    session: Session, registry: Registry, rules: StageRules, change: _Change, version: Version
) -> tuple[str, RefChange]:
    """Name and object of the tag that puts a version into a stage, if its rules allow it."""
    stage, identity = change.stage, session.git.identity()
    message = change.message(version, registry.in_stage(stage), identity, rules)
    counter = registry.next_counter(stage)
    name = assignment_tag(session.name, stage, counter)
    last = registry.assignments[-1].tag.date if registry.assignments else None
    tag = new_tag(session.git, name, version.commit, message, later_than=last)
    planned = Tag(name, version.commit, datetime.now(UTC), identity, message)
    reason = rules.refusal_reason(Assignment(stage, version, counter, planned))
    if reason is not None:
        raise ModelRefused(f"{version} is not let into {stage}: {reason}", "Run it again.")
    return name, tag


def _last_assignment(registry: Registry, stage: str) -> Assignment:
    return next(a for a in reversed(registry.assignments) if a.stage == stage)


def _conflict(registry: Registry, stage: str) -> Busy:
    last = _last_assignment(registry, stage)
    return Busy(
        f"{last.tag.tagger} put {last.version or 'nothing'} into {stage} at the same moment "
        f"({last.tag.name}), so nothing was done",
        "Look at `mlops models`, then decide again.",
    )
