"""Stage rules that the team has agreed on, and which stage assignments comply with them.

The rules are those of `params.yaml` as committed on the default branch (the remote's, if there is
one), not those of somebody's workspace. An assignment is checked by the rules of its time: those of
the commit that its message states, if this commit is on the branch, else those of the branch at its
date. The assigner could forge both, so the rules are never older than what must have existed
before: the version's commit, its tag, and each valid assignment with a lower number, to any stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from mlops_cli.errors import (
    BadParams,
    DataRefused,
    MlopsError,
    ModelRefused,
    NotFound,
    NotProject,
    nearest,
)
from mlops_cli.params.reading import read_yaml
from mlops_cli.project.branches import agreed_branch
from mlops_cli.project.git import Git
from mlops_cli.registry.approvals.policy import people
from mlops_cli.registry.approvals.signatures import SignerUnknown, signer_of
from mlops_cli.registry.git_tags import read
from mlops_cli.registry.tags import address_of, is_approval_of

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.params.register import StageRule
    from mlops_cli.project.branches import Branch
    from mlops_cli.registry.tags import Tag
    from mlops_cli.registry.versions import Assignment, Registry, Version

__all__ = [
    "RULES_TRAILER",
    "Approvals",
    "StageRules",
    "find_trusted",
    "named_assignment",
    "read_trusted",
]

_SHOWN = 5

RULES_TRAILER = "Rules"
"""Trailer of an assignment that names the commit whose rules applied to it."""


@dataclasses.dataclass(frozen=True)
class Approvals:
    """The approvals of a version for a stage.

    Attributes
    ----------
    count
        Number of people who approved.
    addresses
        Addresses of the people whose approvals count.
    refusals
        A sentence for each approval that doesn't count.
    """

    count: int
    addresses: tuple[str, ...]
    refusals: tuple[str, ...]


class StageRules:
    """The stage rules of one project, and checks of the assignments by them."""

    def __init__(self, root: Path, registry: Registry) -> None:
        self.registry = registry
        self._git = Git(root)
        self._verdicts: dict[str, str | None] = {}
        self._rules: dict[str, Mapping[str, StageRule]] = {}
        self._ages: dict[str, int] = {}

    @cached_property
    def branch(self) -> Branch:
        """The branch whose rules the team has agreed on.

        Raises
        ------
        NotProject
            If the branch isn't known.
        """
        return agreed_branch(self._git)

    def current(self) -> Mapping[str, StageRule]:
        """The rules that apply now.

        Raises
        ------
        NotProject
            If there are none on the agreed branch.
        BadParams
            If they can't be read.
        """
        return self._rules_at(self.branch.commit)

    def valid_registry(self) -> Registry:
        """The registry without the latest assignments of each stage that break its rule.

        Assignments before a stage's last valid one are not checked.
        """
        invalid, notes = [], []
        for stage in dict.fromkeys(a.stage for a in self.registry.assignments):
            for assignment in reversed(self.registry.assignments):
                if assignment.stage != stage:
                    continue
                reason = self.refusal_reason(assignment)
                if reason is None:
                    break
                invalid.append(assignment)
                notes.append(f"{assignment.tag.name} doesn't count: {reason}")
        return self._without(invalid, notes)

    def history(self, stage: str) -> Registry:
        """The registry without those assignments to a stage that break its rule."""
        assignments = [a for a in self.registry.assignments if a.stage == stage]
        return self._without([a for a in assignments if self.refusal_reason(a) is not None], [])

    def refusal_reason(self, assignment: Assignment) -> str | None:
        """Why an assignment doesn't count; None if it does."""
        name = assignment.tag.name
        if name not in self._verdicts:
            try:
                self._verdicts[name] = self._check(assignment)
            except MlopsError as error:
                self._verdicts[name] = error.message
        return self._verdicts[name]

    def rule_of(self, assignment: Assignment) -> StageRule | None:
        """The rule that applied to an assignment; None if there was no such stage."""
        return self._rules_at(self._rules_commit(assignment)).get(assignment.stage)

    def rule_changed(self, assignment: Assignment) -> bool:
        """Whether the rule that applied to an assignment has changed since."""
        try:
            return self.current().get(assignment.stage) != self.rule_of(assignment)
        except MlopsError:
            return True

    def approvals(self, version: Version, stage: str, rule: StageRule) -> Approvals:
        """Count the approvals of a version for a stage that meet a rule."""
        names, addresses, refused = [], [], []
        for approval in self.registry.approvals_of(version, stage):
            address = address_of(approval.tag.tagger)
            try:
                names.append(self._approver_names(approval.tag, version, rule))
                addresses.append(address)
            except SignerUnknown as error:
                refused.append(f"the approval of {address} doesn't count: {error.message}")
        return Approvals(people(names), tuple(dict.fromkeys(addresses)), tuple(refused))

    def approval_refusal_reason(
        self, tag: Tag, version: Version, stage: str, rule: StageRule
    ) -> str | None:
        """Why an approval doesn't count; None if it does."""
        if not any(a.tag == tag for a in self.registry.approvals_of(version, stage)):
            return f"it is not of {version} and {stage}"
        try:
            self._approver_names(tag, version, rule)
        except SignerUnknown as error:
            return error.message
        return None

    def _check(self, assignment: Assignment) -> str | None:
        version, stage = assignment.version, assignment.stage
        if version is None:
            return None
        rule = self.rule_of(assignment)
        if rule is None:
            return f"{self.branch.name} has no stage {stage!r} in register.stages (params.yaml)"
        if assignment.rollback:
            back = self._was_in(version, stage, assignment.counter)
            return None if back else f"it is a rollback, and {version} was not in {stage} before"
        if rule.after is not None and not self._was_in(version, rule.after, assignment.counter):
            return f"{version} had not been in {rule.after}, which comes before {stage}"
        return self._missing_approvals(version, stage, rule)

    def _missing_approvals(self, version: Version, stage: str, rule: StageRule) -> str | None:
        """A sentence on the approvals that are missing; None if there are enough."""
        approvals = self.approvals(version, stage, rule) if rule.approvals else None
        if approvals is None or approvals.count >= rule.approvals:
            return None
        signed = " signed" if rule.signed else ""
        why = f" ({'; '.join(approvals.refusals)})" if approvals.refusals else ""
        return f"it has {approvals.count} of the {rule.approvals}{signed} approvals{why}"

    def _was_in(self, version: Version, stage: str, before: int) -> bool:
        # Oldest first, so that a chain of rollbacks is checked without recursion.
        return any(
            self.refusal_reason(a) is None
            for a in self.registry.assignments
            if a.counter < before and a.stage == stage and a.version == version
        )

    def _approver_names(self, tag: Tag, version: Version, rule: StageRule) -> set[str]:
        """Names of the approver; raises SignerUnknown if the approval doesn't count."""
        address = address_of(tag.tagger)
        if not tag.annotated:
            raise SignerUnknown("its tag is lightweight")
        if not is_approval_of(tag):
            raise SignerUnknown(f"its tag is called {tag.name}")
        if rule.approvers and address.casefold() not in {a.casefold() for a in rule.approvers}:
            raise SignerUnknown("the stage's rule doesn't name this approver")
        if tag.commit != version.commit:
            raise SignerUnknown(f"it is of another commit than {version}")
        if tag.trailers.get("Bundle") != version.bundle:
            raise SignerUnknown(f"it is of another bundle than {version} states")
        if not rule.signed:
            return {address.casefold()}
        return set(signer_of(self._git, tag.object_id, address).names)

    def _without(self, invalid: list[Assignment], notes: list[str]) -> Registry:
        valid = tuple(a for a in self.registry.assignments if a not in invalid)
        return dataclasses.replace(
            self.registry, assignments=valid, notes=(*self.registry.notes, *notes)
        )

    @cached_property
    def _branch_commits(self) -> tuple[tuple[str, int], ...]:
        """First-parent commits of the agreed branch with their times in seconds, newest first."""
        tip = self.branch.commit
        words = self._rev_list("--first-parent", "--timestamp", "--end-of-options", tip)
        return tuple(zip(words[1::2], map(int, words[::2]), strict=True))

    @cached_property
    def _positions(self) -> Mapping[str, int]:
        return {commit: position for position, (commit, _) in enumerate(self._branch_commits)}

    @cached_property
    def _reachable(self) -> frozenset[str]:
        return frozenset(self._rev_list("--end-of-options", self.branch.commit))

    def _rules_commit(self, assignment: Assignment) -> str:
        """The commit of the agreed branch whose rules apply to an assignment."""
        age = self._rules_age(assignment)
        earlier = [a for a in self.registry.assignments if a.counter < assignment.counter]
        if any(self._rules_age(a) < age for a in earlier):
            # All of them, oldest first: then each check finds the earlier verdicts in the cache.
            valid = [a for a in earlier if self.refusal_reason(a) is None]
            age = min([age, *(self._rules_age(a) for a in valid)])
        return self._branch_commits[age][0]

    def _rules_age(self, assignment: Assignment) -> int:
        """How many commits old an assignment's rules are, by its own message, date and version."""
        tag, version = assignment.tag, assignment.version
        if tag.name not in self._ages:
            age = self._branch_position(tag.trailers.get(RULES_TRAILER, ""))
            if age is None:
                age = self._position_at(int(tag.date.timestamp())) or 0
            self._ages[tag.name] = age
        age = self._ages[tag.name]
        return age if version is None else min(age, self._version_age(version))

    def _version_age(self, version: Version) -> int:
        """How many commits old a version's rules may be: it was made after that branch state."""
        name = version.tag.name
        if name not in self._ages:
            past = self._rev_list("--end-of-options", version.commit)
            forked = next((self._positions[c] for c in past if c in self._positions), None)
            # A commit in the same second as the tag may be later than the tag.
            dated = self._position_at(int(version.tag.date.timestamp()) - 1)
            self._ages[name] = min(
                (age for age in (forked, dated) if age is not None),
                default=len(self._branch_commits) - 1,
            )
        return self._ages[name]

    def _branch_position(self, stated: str) -> int | None:
        """Position at which a stated commit came to the branch; None if it isn't there.

        A commit of a merged branch counts as the merge: its own rules never applied.
        """
        if stated in self._positions or stated not in self._reachable:
            return self._positions.get(stated)
        span = f"{stated}..{self.branch.commit}"
        later = self._rev_list("--ancestry-path", "--end-of-options", span)
        return max(self._positions[commit] for commit in later if commit in self._positions)

    def _position_at(self, second: int) -> int | None:
        """Position of the branch at a time; None if it had no commit yet."""
        return next(
            (
                position
                for position, (_, committed_at) in enumerate(self._branch_commits)
                if committed_at <= second
            ),
            None,
        )

    def _rev_list(self, *arguments: str) -> list[str]:
        return self._git.run("rev-list", *arguments).split()

    def _rules_at(self, commit: str) -> Mapping[str, StageRule]:
        if commit not in self._rules:
            self._rules[commit] = self._read_rules(commit)
        return self._rules[commit]

    def _read_rules(self, commit: str) -> Mapping[str, StageRule]:
        from pydantic import ValidationError

        from mlops_cli.params.register import Register

        where = f"params.yaml on {self.branch.name} ({commit[:9]})"
        text = self._git.read(commit, "params.yaml")
        if text is None:
            raise NotProject(
                f"there is no {where}, so no stage rules are agreed on",
                "Commit params.yaml there, and push it.",
            )
        try:
            return Register.model_validate(read_yaml(text, where).get("register")).stages
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in ("register", *problem["loc"]))
            raise BadParams(
                f"{place} of {where} can't be read: {problem['msg']}", "Correct it there."
            ) from None


def read_trusted(root: Path, name: str, note: Callable[[str], None] = lambda _: None) -> Registry:
    """Read a model's registry, with only the assignments that comply with the stage rules.

    Parameters
    ----------
    note
        Called with a sentence for each of the first few tags that were skipped.

    Raises
    ------
    NotProject
        If the folder is not under Git.
    """
    registry = StageRules(root, read(root, name)).valid_registry()
    for sentence in registry.notes[:_SHOWN]:
        note(sentence)
    if registry.notes[_SHOWN:]:
        note(f"{len(registry.notes) - _SHOWN} more tags of {name} are passed over likewise")
    return registry


def find_trusted(
    root: Path, name: str, text: str, note: Callable[[str], None] = lambda _: None
) -> Version:
    """Find a version by its number, ``latest``, its stage, or the tag of an assignment.

    Raises
    ------
    NotFound
        If there is none.
    DataRefused
        If a tag was named that is no assignment of a version.
    ModelRefused
        If that assignment breaks its stage's rule.
    """
    registry = read_trusted(root, name, note)
    if "#" not in text:
        return registry.find(text)
    assignment = named_assignment(read(root, name), text)
    reason = StageRules(root, read(root, name)).refusal_reason(assignment)
    if reason is not None:
        raise ModelRefused(f"{text} doesn't count: {reason}", "Promote the version again.")
    return assignment.version or registry.find(text)


def named_assignment(registry: Registry, text: str) -> Assignment:
    """Find an assignment by the name of its tag.

    Raises
    ------
    NotFound
        If there is no such tag.
    DataRefused
        If the tag is no assignment of a version.
    """
    assignment = next((a for a in registry.assignments if a.tag.name == text), None)
    if assignment is not None and assignment.version is not None:
        return assignment
    if text not in registry.tag_names:
        names = [a.tag.name for a in registry.assignments]
        raise NotFound(f"{registry.name} has no assignment {text!r}", nearest(text, names))
    note = next((n for n in registry.notes if n.startswith(f"the tag {text} ")), None)
    raise DataRefused(
        note or f"the tag {text} empties its stage", "Put a version there with `mlops promote`."
    )
