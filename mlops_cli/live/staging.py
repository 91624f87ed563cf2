"""A version into a stage, and back: rules, approvals, promotions and rollbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlops_cli.core.versions import Assignment, Registry, Version, approval_tag, assignment_tag
from mlops_cli.errors import Busy, ModelRefused, NotFound, nearest
from mlops_cli.store.registry import Outdated, apply, fetch, new_tag, trailers

if TYPE_CHECKING:
    from mlops_cli.core.versions import Approval
    from mlops_cli.live.session import Session
    from mlops_cli.params.modelling import StageRule

__all__ = ["approve", "promote", "rollback"]

_TRIES = 8
"""How often a promotion is tried again after somebody else's change that doesn't touch it."""


def promote(session: Session, wanted: str, stage: str, why: str = "") -> tuple[Assignment, bool]:
    """Put a version into a stage; the second value says whether it wasn't there yet.

    Raises
    ------
    NotFound
        If there is no such version or stage.
    ModelRefused
        If the stage's rule isn't fulfilled, or the logged requests speak against it.
    Busy
        If somebody else has just put another version there.
    """
    rule = _rule(session, stage)
    replayed: set[str] = set()

    def choose(registry: Registry) -> Version:
        version = registry.find(wanted)
        held = registry.in_stage(stage)
        if held != version:
            _check_rule(session, rule, registry, version, stage)
            # The first version of a stage has no answers to be compared with.
            if held is not None and version.number not in replayed:
                _check_replay(session, rule, version, stage)
                replayed.add(version.number)
        return version

    return _assign(session, stage, choose, why, rollback=False)


def rollback(
    session: Session, stage: str, to: str | None = None, why: str = ""
) -> tuple[Assignment, bool]:
    """Put the version into a stage again that the present one replaced, or an earlier one.

    Raises
    ------
    NotFound
        If there is no earlier version, or ``to`` has never been in the stage.
    """
    _rule(session, stage)

    def choose(registry: Registry) -> Version:
        if to is None:
            found = registry.before(stage)
            if found is None:
                raise NotFound(
                    f"{session.name} has no earlier version in {stage} to go back to",
                    "`mlops models` shows what was where.",
                )
            return found
        version = registry.find(to)
        if not registry.was_in(version, stage):
            raise NotFound(
                f"{version} has never been in {stage}, so it is nothing to go back to",
                f"Put it there with `mlops promote {version.number} --to {stage}`.",
            )
        return version

    return _assign(session, stage, choose, why, rollback=True)


def approve(session: Session, wanted: str, stage: str, why: str = "", *, sign: bool = False) -> str:
    """Say, in one's own name, that a version may enter a stage; give the tag's name.

    Raises
    ------
    NotFound
        If there is no such version or stage.
    ModelRefused
        If the stage's rule names approvers, and this isn't one of them.
    """
    rule, version = _rule(session, stage), session.registry().find(wanted)
    who = session.git.identity()
    address = _address(who)
    if rule.approvers and address not in rule.approvers:
        raise ModelRefused(
            f"{address} is not among those who approve for {stage}: {', '.join(rule.approvers)}",
            "Ask one of them, or change register.stages in params.yaml.",
        )
    tag = approval_tag(session.name, version.number, stage, address)
    if any(a.tag.name == tag for a in session.registry().approvals):
        return tag
    message = f"{who} approves {version} for {stage}" + (f"\n\n{why}" if why else "")
    change = new_tag(session.git, tag, version.commit, message, sign=sign)
    apply(session.git, [change], session.remote)
    return tag


def _rule(session: Session, stage: str) -> StageRule:
    stages = session.params.register_.stages
    if stage not in stages:
        raise NotFound(
            f"there is no stage {stage!r} in register.stages (params.yaml)", nearest(stage, stages)
        )
    return stages[stage]


def _check_rule(
    session: Session, rule: StageRule, registry: Registry, version: Version, stage: str
) -> None:
    if rule.after is not None and not registry.was_in(version, rule.after):
        raise ModelRefused(
            f"{version} has not been in {rule.after}, which comes before {stage}",
            f"First: mlops promote {version.number} --to {rule.after}",
        )
    if not rule.approvals:
        return
    approvals = registry.approved_by(version, stage)
    given = {_address(a.tag.who) for a in approvals if _counts(session, rule, a, version)}
    if len(given) < rule.approvals:
        who = f" of {', '.join(rule.approvers)}" if rule.approvers else ""
        signed = " signed" if rule.signed else ""
        raise ModelRefused(
            f"{version} has {len(given)} of the {rule.approvals}{signed} approvals{who} that "
            f"{stage} asks for",
            f"Each of them: mlops approve {version.number} --for {stage}",
        )


def _check_replay(session: Session, rule: StageRule, version: Version, stage: str) -> None:
    if rule.replay is None:
        return
    from mlops_cli.live.replaying import replay_gate

    found = replay_gate(session.params, session.layout, version.number, rule.replay)
    if not found.passed:
        raise ModelRefused(
            f"{version} is not let into {stage} by what was asked of it before: {found.reason}",
            f"Look at `mlops replay {version.number}`, or change register.stages.{stage}.replay.",
        )


def _counts(session: Session, rule: StageRule, approval: Approval, version: Version) -> bool:
    """Whether an approval is of the right person, for this commit, and signed if it has to be."""
    tag = approval.tag
    if rule.approvers and _address(tag.who) not in rule.approvers:
        return False
    if not tag.annotated or tag.commit != version.commit:
        return False
    return not rule.signed or session.git.ask("verify-tag", tag.name) is not None


def _address(who: str) -> str:
    return who.rpartition("<")[2].rstrip(">")


def _assign(
    session: Session,
    stage: str,
    choose: Callable[[Registry], Version],
    why: str,
    *,
    rollback: bool,
) -> tuple[Assignment, bool]:
    git = session.git
    who = git.identity()
    registry = session.registry()
    held = registry.in_stage(stage)
    for _ in range(_TRIES):
        version = choose(registry)
        if held == version:
            return next(a for a in reversed(registry.assignments) if a.stage == stage), False
        last = registry.assignments[-1].tag.at if registry.assignments else None
        did = "Roll back" if rollback else "Promote"
        facts = {
            "Action": "rollback" if rollback else "promotion",
            "Version": version.number,
            "Replaces": held.number if held else None,
            "By": who,
        }
        head = f"{did} {version} to {stage}" if not rollback else f"{did} {stage} to {version}"
        message = "\n\n".join(part for part in (head, why.strip(), trailers(facts)) if part)
        counter = registry.counter + 1
        name = assignment_tag(session.name, stage, counter)
        change = new_tag(git, name, version.commit, message, after=last)
        try:
            apply(git, [change], session.remote)
        except Outdated:
            fetch(git, session.remote)
            registry = session.registry()
            if registry.in_stage(stage) != held:
                raise _lost(registry, stage) from None
            continue
        made = next(a for a in reversed(session.registry().assignments) if a.tag.name == name)
        return made, True
    raise Busy(
        f"the registry is changed by others all the time: {_TRIES} tries failed", "Run again."
    )


def _lost(registry: Registry, stage: str) -> Busy:
    last = next(a for a in reversed(registry.assignments) if a.stage == stage)
    return Busy(
        f"{last.tag.who} put {last.version or 'nothing'} into {stage} at the same moment "
        f"({last.tag.name}), so nothing was done",
        "Look at `mlops models`, then decide again.",
    )
