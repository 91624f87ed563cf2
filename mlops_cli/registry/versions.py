"""Versions, stage assignments and approvals of a model, parsed from Git tags.

The tags follow GTO's conventions (https://mlem.ai/doc/gto), so that `gto show`, DVC Studio and
`dvc artifacts get` read the same registry:

- ``name@v1.2.0`` registers a version; ``name@v1.2.0!`` takes it back.
- ``name#production#7`` puts the version of its commit into a stage; ``name#production!#8`` takes
  it out. The number counts a model's assignments.
- ``name/approvals/v1.2.0/production/ann=example.org`` is an approval. GTO has no approvals and
  ignores these tags.

Facts that aren't in a tag's name are trailers of its message (``Bundle: <sha256>``).

Everybody who can push can push any tag, so a tag counts only if its content agrees with its name.
Any other tag is skipped with a note and affects nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlops_cli.errors import NotFound, NotProject, nearest
from mlops_cli.registry.tags import (
    APPROVAL_PATTERN,
    ASSIGNMENT_PATTERN,
    MAX_ASSIGNMENT_NUMBER,
    NUMBER_PATTERN,
    Tag,
    VersionPart,
    after_name,
    assignment_tag,
    bump,
    sort_key,
    version_tag,
)

__all__ = ["Approval", "Assignment", "Registry", "Version"]


@dataclass(frozen=True)
class Version:
    """A registered version of a model."""

    name: str
    number: str
    tag: Tag

    @property
    def commit(self) -> str:
        """The version's commit, 40 hexadecimal digits."""
        return self.tag.commit

    @property
    def bundle(self) -> str | None:
        """The bundle's SHA-256; None if the tag doesn't state it."""
        return self.tag.trailers.get("Bundle")

    @property
    def message(self) -> str:
        """The tag's message."""
        return self.tag.message

    @property
    def label(self) -> str:
        """Such as ``flight-delays@v0.2.0``."""
        return f"{self.name}@{self.number}"

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True)
class Assignment:
    """The assignment of a version to a stage; ``version`` is None if it empties the stage."""

    stage: str
    version: Version | None
    counter: int
    tag: Tag

    @property
    def rollback(self) -> bool:
        """Whether it returned the stage to an earlier version."""
        return self.tag.trailers.get("Action") == "rollback"


@dataclass(frozen=True)
class Approval:
    """A person's approval of a version for a stage."""

    version: str
    stage: str
    tag: Tag


@dataclass(frozen=True)
class Registry:
    """Versions, assignments and approvals of one model.

    Attributes
    ----------
    versions
        Registered and not taken back, oldest first.
    assignments
        Oldest first, by their number.
    counter
        The highest number of an assignment; 0 if there is none.
    notes
        A sentence for each tag that was skipped.

    Examples
    --------
    >>> import datetime as dt
    >>> when = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> names = ("shop@v0.1.0", "shop@v0.2.0", "shop#production#1")
    >>> commits = ("3ab", "9cd", "3ab")
    >>> tags = [Tag(n, c, when, "Ann <ann@example.org>", "") for n, c in zip(names, commits)]
    >>> registry = Registry.from_tags("shop", tags)
    >>> str(registry.latest), str(registry.in_stage("production")), registry.next_number("minor")
    ('shop@v0.2.0', 'shop@v0.1.0', 'v0.3.0')
    """

    name: str
    versions: tuple[Version, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    approvals: tuple[Approval, ...] = ()
    counter: int = 0
    used_numbers: frozenset[str] = field(default=frozenset())
    """Every number that was ever used, also by versions that were taken back."""
    tag_names: frozenset[str] = field(default=frozenset())
    """Every tag of the model, also the skipped ones: in Git a tag's name can't be used twice."""
    notes: tuple[str, ...] = ()

    @classmethod
    def from_tags(cls, name: str, tags: Iterable[Tag]) -> Registry:
        """Parse the tags of one model; tags of other models are ignored."""
        pairs = [(tag, rest) for tag in tags if (rest := after_name(name, tag.name))]
        pairs.sort(key=lambda pair: pair[0].date)
        names = frozenset(tag.name for tag, _ in pairs)
        notes = [f"the tag {tag.name} {tag.problem}" for tag, _ in pairs if tag.problem]
        valid = [(tag, rest) for tag, rest in pairs if not tag.problem]
        registered, versions = _parse_versions(name, valid, notes)
        assignments = sorted(_parse_assignments(valid, versions, notes), key=lambda a: a.counter)
        return cls(
            name,
            tuple(sorted(versions.values(), key=lambda v: sort_key(v.number))),
            tuple(assignments),
            tuple(_parse_approvals(valid, notes)),
            max((a.counter for a in assignments), default=0),
            frozenset(registered),
            names,
            tuple(notes),
        )

    @property
    def latest(self) -> Version | None:
        """The version with the highest number."""
        return self.versions[-1] if self.versions else None

    def stages(self) -> Mapping[str, Version]:
        """Stage -> the version that is in it now."""
        last = {a.stage: a.version for a in self.assignments}
        return {stage: version for stage, version in last.items() if version is not None}

    def in_stage(self, stage: str) -> Version | None:
        """The version that is in a stage now."""
        return self.stages().get(stage)

    def was_in(self, version: Version, stage: str) -> bool:
        """Whether a version has ever been in a stage."""
        assignments = [a for a in self.assignments if a.stage == stage and a.version is not None]
        return any(a.version == version for a in assignments)

    def previous_version(self, stage: str) -> Version | None:
        """The version to which a rollback returns the stage: the one before the present one.

        A rollback never returns to a version that was itself rolled back.
        """
        history: list[Version] = []
        for a in self.assignments:
            if a.stage != stage or a.version is None:
                continue
            if a.rollback and a.version in history:
                del history[history.index(a.version) + 1 :]
            else:
                history = [v for v in history if v != a.version] + [a.version]
        return history[-2] if len(history) > 1 else None

    def version_of_bundle(self, bundle: str) -> Version | None:
        """The version that registered a bundle, by its SHA-256."""
        return next((v for v in self.versions if v.bundle == bundle), None)

    def approvals_of(self, version: Version, stage: str) -> tuple[Approval, ...]:
        """The approvals of one version for one stage."""
        return tuple(a for a in self.approvals if a.version == version.number and a.stage == stage)

    def find(self, text: str) -> Version:
        """Find a version by its number, with or without name or v, its stage, or ``latest``.

        Raises
        ------
        NotFound
            If there is none; the message suggests the nearest name.
        """
        name, _, query = text.rpartition("@")
        if name and name != self.name:
            raise NotFound(f"there is no model {name!r}", f"The model here is {self.name!r}.")
        if not self.versions:
            raise NotFound(
                f"{self.name} has no registered version, so there is no {text!r}",
                "Register one with `mlops register`, or bring tags here with `git fetch --tags`.",
            )
        by_number = {v.number: v for v in self.versions}
        for key in (query, f"v{query}"):
            if key in by_number:
                return by_number[key]
        if query == "latest" and self.latest is not None:
            return self.latest
        if version := self.in_stage(query):
            return version
        if any(a.stage == query for a in self.assignments):
            raise NotFound(f"no version of {self.name} is in {query!r}", "`mlops models` lists.")
        candidates = [*by_number, *self.stages(), "latest"]
        raise NotFound(f"{self.name} has no version or stage {query!r}", nearest(query, candidates))

    def next_number(self, part: VersionPart) -> str:
        """The number of the next version, from v0.1.0 on; no number is used twice.

        Raises
        ------
        NotProject
            If the number would have too many digits.
        """
        number = bump(max(self.used_numbers, key=sort_key), part) if self.used_numbers else "v0.1.0"
        while version_tag(self.name, number) in self.tag_names:
            number = bump(number, part)
        if not NUMBER_PATTERN.fullmatch(number):
            raise NotProject(
                f"no version of {self.name} can come after {max(self.used_numbers, key=sort_key)}",
                "Delete that tag, if it was made by mistake: git tag -d TAG.",
            )
        return number

    def next_counter(self, stage: str) -> int:
        """The number of the next assignment to a stage.

        Raises
        ------
        NotProject
            If the highest possible number is used.
        """
        counter = self.counter + 1
        while assignment_tag(self.name, stage, counter) in self.tag_names:
            counter += 1
        if counter > MAX_ASSIGNMENT_NUMBER:
            last = self.assignments[-1].tag.name
            raise NotProject(
                f"the tag {last} has the highest number that an assignment may have",
                f"Delete it, here and on the remote: git tag -d '{last}'",
            )
        return counter


def _parse_versions(
    name: str, tags: Iterable[tuple[Tag, str]], notes: list[str]
) -> tuple[dict[str, Version], dict[str, Version]]:
    """All registered versions by number, and those of them that weren't taken back."""
    registered: dict[str, Version] = {}
    taken_back: dict[str, Tag] = {}
    for tag, rest in tags:
        number = rest[1:].removesuffix("!")
        if rest[0] != "@":
            continue
        if not NUMBER_PATTERN.fullmatch(number):
            notes.append(f"the tag {tag.name} names no version such as {name}@v1.2.0")
        elif rest[-1] != "!":
            registered[number] = Version(name, number, tag)
        elif not tag.annotated:
            notes.append(f"the tag {tag.name} is lightweight: it doesn't say who takes it back")
        else:
            taken_back[number] = tag
    for number, tag in taken_back.items():
        if number in registered and registered[number].commit != tag.commit:
            notes.append(f"the tag {tag.name} points at another commit than {name}@{number}")
    versions = {
        number: version
        for number, version in registered.items()
        if number not in taken_back or taken_back[number].commit != version.commit
    }
    by_commit: dict[str, list[Version]] = {}
    for version in versions.values():
        by_commit.setdefault(version.commit, []).append(version)
    notes += [
        f"{', '.join(v.label for v in group)} are on one commit ({commit[:9]})"
        for commit, group in by_commit.items()
        if group[1:]
    ]
    return registered, versions


def _parse_assignments(
    tags: Iterable[tuple[Tag, str]], versions: Mapping[str, Version], notes: list[str]
) -> Iterable[Assignment]:
    for tag, rest in tags:
        if rest[0] != "#":
            continue
        match = ASSIGNMENT_PATTERN.fullmatch(rest)
        if match is None:
            notes.append(f"the tag {tag.name} names no stage and number")
        elif not tag.annotated:
            notes.append(f"the tag {tag.name} is lightweight: it doesn't say who assigns what")
        elif match[2]:
            yield Assignment(match[1], None, int(match[3]), tag)
        else:
            version = _assigned_version(tag, versions)
            if isinstance(version, str):
                notes.append(f"the tag {tag.name} {version}")
            else:
                yield Assignment(match[1], version, int(match[3]), tag)


def _assigned_version(tag: Tag, versions: Mapping[str, Version]) -> Version | str:
    """The version that an assignment names, or a phrase on why there is none."""
    number = tag.trailers.get("Version")
    if number is None:  # GTO's own assignments don't name their version
        candidates = [v for v in versions.values() if v.commit == tag.commit]
        if len(candidates) == 1:
            return candidates[0]
        numbers = ", ".join(v.number for v in candidates) or "no version"
        return f"doesn't name its version, and its commit has {numbers}"
    if number not in versions:
        return f"names version {number}, which is not registered"
    if versions[number].commit != tag.commit:
        return f"names version {number}, but points at another commit"
    return versions[number]


def _parse_approvals(tags: Iterable[tuple[Tag, str]], notes: list[str]) -> Iterable[Approval]:
    for tag, rest in tags:
        if rest[0] != "/":
            continue
        if match := APPROVAL_PATTERN.fullmatch(rest):
            yield Approval(match[1], match[5], tag)
        else:
            notes.append(f"the tag {tag.name} names no version, stage and person")
