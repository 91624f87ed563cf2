"""Stage rules as the team has agreed on them, and which assignments keep to them.

The rules are those of `params.yaml` as it is committed on the default branch (the remote's, where
there is one), not those of somebody's workspace. An assignment is judged by the rules of its time:
the commit that its message states, if that one is on the branch, else the branch at its date. Both
are the assigner's word, so the rules are never older than what must have been there before: the
version's commit, its tag, and each valid assignment of a lower number, to whatever stage.
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

    from mlops_cli.params.modelling import StageRule
    from mlops_cli.project.branches import Branch
    from mlops_cli.registry.tags import Tag
    from mlops_cli.registry.versions import Assignment, Registry, Version

__all__ = [
    "RULES",
    "Approvals",
    "StageRules",
    "find_trusted",
    "named_assignment",
    "read_trusted",
]

_SHOWN = 5

RULES = "Rules"
"""The trailer of an assignment that names the commit whose rules it kept to."""


@dataclasses.dataclass(frozen=True)
class Approvals:
    """The approvals of a version for a stage.

    Attributes
    ----------
    count
        Of how many people they are.
    addresses
        Of those whose approvals count.
    refused
        A sentence for each approval that doesn't count.
    """

    count: int
    addresses: tuple[str, ...]
    refused: tuple[str, ...]


class StageRules:
    """The rules of one project's stages, and a judgement of each assignment by them."""

    def __init__(self, root: Path, registry: Registry) -> None:
        self.registry = registry
        self._git = Git(root)
        self._verdicts: dict[str, str | None] = {}
        self._rules: dict[str, Mapping[str, StageRule]] = {}
        self._ages: dict[str, int] = {}

    @cached_property
    def branch(self) -> Branch:
        """The branch that the team agrees on.

        Raises
        ------
        NotProject
            If it isn't known.
        """
        return agreed_branch(self._git)

    def current(self) -> Mapping[str, StageRule]:
        """The rules that hold now.

        Raises
        ------
        NotProject
            If there are none on the agreed branch.
        BadParams
            If they can't be read.
        """
        return self._at(self.branch.commit)

    def in_force(self) -> Registry:
        """The registry without the assignments that break a rule and are the last of a stage.

        Nothing before a stage's last valid assignment is looked at.
        """
        broken, notes = [], []
        for stage in dict.fromkeys(a.stage for a in self.registry.assignments):
            for assignment in reversed(self.registry.assignments):
                if assignment.stage != stage:
                    continue
                reason = self.refusal(assignment)
                if reason is None:
                    break
                broken.append(assignment)
                notes.append(f"{assignment.tag.name} doesn't count: {reason}")
        return self._without(broken, notes)

    def history(self, stage: str) -> Registry:
        """The registry without any assignment to a stage that breaks its rule."""
        judged = [a for a in self.registry.assignments if a.stage == stage]
        return self._without([a for a in judged if self.refusal(a) is not None], [])

    def refusal(self, assignment: Assignment) -> str | None:
        """Why an assignment doesn't count; None: it does."""
        name = assignment.tag.name
        if name not in self._verdicts:
            try:
                self._verdicts[name] = self._judged(assignment)
            except MlopsError as error:
                self._verdicts[name] = error.message
        return self._verdicts[name]

    def rule_of(self, assignment: Assignment) -> StageRule | None:
        """The rule that held for an assignment; None where there was no such stage."""
        return self._at(self._commit_of(assignment)).get(assignment.stage)

    def changed(self, assignment: Assignment) -> bool:
        """Whether the rule that held for an assignment is another one now."""
        try:
            return self.current().get(assignment.stage) != self.rule_of(assignment)
        except MlopsError:
            return True

    def approvals(self, version: Version, stage: str, rule: StageRule) -> Approvals:
        """Count the approvals of a version for a stage, as a rule wants them."""
        names, addresses, refused = [], [], []
        for approval in self.registry.approved_by(version, stage):
            address = address_of(approval.tag.who)
            try:
                names.append(self._signers(approval.tag, version, rule))
                addresses.append(address)
            except SignerUnknown as error:
                refused.append(f"the approval of {address} doesn't count: {error.message}")
        return Approvals(people(names), tuple(dict.fromkeys(addresses)), tuple(refused))

    def refused_approval(
        self, tag: Tag, version: Version, stage: str, rule: StageRule
    ) -> str | None:
        """Why an approval doesn't count; None: it does."""
        if not any(a.tag == tag for a in self.registry.approved_by(version, stage)):
            return f"it is not of {version} and {stage}"
        try:
            self._signers(tag, version, rule)
        except SignerUnknown as error:
            return error.message
        return None

    def _judged(self, assignment: Assignment) -> str | None:
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
        return self._lacking(version, stage, rule)

    def _lacking(self, version: Version, stage: str, rule: StageRule) -> str | None:
        """Which approvals are lacking; None: none are."""
        given = self.approvals(version, stage, rule) if rule.approvals else None
        if given is None or given.count >= rule.approvals:
            return None
        signed = " signed" if rule.signed else ""
        why = f" ({'; '.join(given.refused)})" if given.refused else ""
        return f"it has {given.count} of the {rule.approvals}{signed} approvals{why}"

    def _was_in(self, version: Version, stage: str, before: int) -> bool:
        # From the oldest on: a chain of rollbacks is then judged without recursion.
        return any(
            self.refusal(a) is None
            for a in self.registry.assignments
            if a.counter < before and a.stage == stage and a.version == version
        )

    def _signers(self, tag: Tag, version: Version, rule: StageRule) -> set[str]:
        """By which names the approver is known; SignerUnknown where the approval doesn't count."""
        address = address_of(tag.who)
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

    def _without(self, broken: list[Assignment], notes: list[str]) -> Registry:
        kept = tuple(a for a in self.registry.assignments if a not in broken)
        return dataclasses.replace(
            self.registry, assignments=kept, notes=(*self.registry.notes, *notes)
        )

    @cached_property
    def _line(self) -> tuple[tuple[str, int], ...]:
        """The commits that the agreed branch has been at, newest first, and their seconds."""
        tip = self.branch.commit
        words = self._listed("--first-parent", "--timestamp", "--end-of-options", tip)
        return tuple(zip(words[1::2], map(int, words[::2]), strict=True))

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {commit: place for place, (commit, _) in enumerate(self._line)}

    @cached_property
    def _on_branch(self) -> frozenset[str]:
        return frozenset(self._listed("--end-of-options", self.branch.commit))

    def _commit_of(self, assignment: Assignment) -> str:
        """The commit of the agreed branch whose rules hold for an assignment."""
        own = self._age_of(assignment)
        before = [a for a in self.registry.assignments if a.counter < assignment.counter]
        if any(self._age_of(a) < own for a in before):
            # All of them, from the oldest on: none is then judged by way of a later one.
            valid = [a for a in before if self.refusal(a) is None]
            own = min([own, *(self._age_of(a) for a in valid)])
        return self._line[own][0]

    def _age_of(self, assignment: Assignment) -> int:
        """How many commits the branch is ahead of the rules of an assignment by itself."""
        tag, version = assignment.tag, assignment.version
        if tag.name not in self._ages:
            age = self._entered(tag.trailers.get(RULES, ""))
            if age is None:
                age = self._at_second(int(tag.at.timestamp())) or 0
            self._ages[tag.name] = age
        age = self._ages[tag.name]
        return age if version is None else min(age, self._age_of_version(version))

    def _age_of_version(self, version: Version) -> int:
        """How many commits the branch is ahead of what a version came after."""
        name = version.tag.name
        if name not in self._ages:
            past = self._listed("--end-of-options", version.commit)
            forked = next((self._places[c] for c in past if c in self._places), None)
            # What was committed in the very second of the tag may have come after it.
            dated = self._at_second(int(version.tag.at.timestamp()) - 1)
            self._ages[name] = min(
                (age for age in (forked, dated) if age is not None), default=len(self._line) - 1
            )
        return self._ages[name]

    def _entered(self, stated: str) -> int | None:
        """The place of the commit by which a stated one came to the branch; None: it is not there.

        A commit of a branch that was merged counts as the merge: its own rules never held.
        """
        if stated in self._places or stated not in self._on_branch:
            return self._places.get(stated)
        span = f"{stated}..{self.branch.commit}"
        later = self._listed("--ancestry-path", "--end-of-options", span)
        return max(self._places[commit] for commit in later if commit in self._places)

    def _at_second(self, second: int) -> int | None:
        """The place where the branch was at a time; None: nowhere yet."""
        return next((n for n, (_, at) in enumerate(self._line) if at <= second), None)

    def _listed(self, *arguments: str) -> list[str]:
        return self._git.run("rev-list", *arguments).split()

    def _at(self, commit: str) -> Mapping[str, StageRule]:
        if commit not in self._rules:
            self._rules[commit] = self._read(commit)
        return self._rules[commit]

    def _read(self, commit: str) -> Mapping[str, StageRule]:
        from pydantic import ValidationError

        from mlops_cli.params.modelling import Register

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
    """The registry of a model, with only those assignments in force that keep to the rules.

    Parameters
    ----------
    note
        Takes a sentence for each tag that was passed over, the first few of them.

    Raises
    ------
    NotProject
        If the folder is not under Git.
    """
    registry = StageRules(root, read(root, name)).in_force()
    for sentence in registry.notes[:_SHOWN]:
        note(sentence)
    if registry.notes[_SHOWN:]:
        note(f"{len(registry.notes) - _SHOWN} more tags of {name} are passed over likewise")
    return registry


def find_trusted(
    root: Path, name: str, text: str, note: Callable[[str], None] = lambda _: None
) -> Version:
    """A version by its number, ``latest``, its stage, or the tag that put it into one.

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
    reason = StageRules(root, read(root, name)).refusal(assignment)
    if reason is not None:
        raise ModelRefused(f"{text} doesn't count: {reason}", "Promote the version anew.")
    return assignment.version or registry.find(text)


def named_assignment(registry: Registry, text: str) -> Assignment:
    """The assignment of a tag's name.

    Raises
    ------
    NotFound
        If there is no such tag.
    DataRefused
        If the tag is no assignment of a version.
    """
    found = next((a for a in registry.assignments if a.tag.name == text), None)
    if found is not None and found.version is not None:
        return found
    if text not in registry.names:
        names = [a.tag.name for a in registry.assignments]
        raise NotFound(f"{registry.name} has no assignment {text!r}", nearest(text, names))
    note = next((n for n in registry.notes if n.startswith(f"the tag {text} ")), None)
    raise DataRefused(
        note or f"the tag {text} empties its stage", "Put a version there with `mlops promote`."
    )
