"""A model's versions and stages, as Git tags state them.

The tags follow GTO's conventions (https://mlem.ai/doc/gto), so that `gto show`, DVC Studio and
`dvc artifacts get` read the same registry:

- ``name@v1.2.0`` registers a version; ``name@v1.2.0!`` takes it back.
- ``name#production#7`` puts the version of its commit into a stage; ``name#production!#8`` takes
  it out. The number counts a model's assignments.
- ``name/approvals/v1.2.0/production/ann=example.org`` is an approval. GTO has no such thing and
  doesn't read it as anything.

What a tag doesn't say by its name stands in its message, as trailers (``Bundle: <sha256>``).

Whoever can push can push any tag, so a tag counts only as far as it proves to be what its name
says: a tag that doesn't is passed over with a note, and disturbs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlops_cli.errors import NotFound, NotProject, nearest
from mlops_cli.registry.tags import (
    APPROVAL,
    ASSIGNMENT,
    MOST_ASSIGNMENTS,
    NUMBER,
    Part,
    Tag,
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
        """The commit that gives the version, 40 hexadecimal digits."""
        return self.tag.commit

    @property
    def bundle(self) -> str | None:
        """The bundle's SHA-256, where the tag states one."""
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
    """A version that came into a stage (or, ``version`` being None, a stage left empty)."""

    stage: str
    version: Version | None
    counter: int
    tag: Tag

    @property
    def rollback(self) -> bool:
        """Whether it went back to an earlier version."""
        return self.tag.trailers.get("Action") == "rollback"


@dataclass(frozen=True)
class Approval:
    """Somebody's word that a version may enter a stage."""

    version: str
    stage: str
    tag: Tag


@dataclass(frozen=True)
class Registry:
    """All that the tags say about one model.

    Attributes
    ----------
    versions
        Registered and not taken back, oldest first.
    assignments
        Oldest first, by their number.
    counter
        The highest number of an assignment, 0 if there is none.
    notes
        A sentence for each tag that was passed over.
    """

    name: str
    versions: tuple[Version, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    approvals: tuple[Approval, ...] = ()
    counter: int = 0
    numbers: frozenset[str] = field(default=frozenset())
    """Every number that was ever given, also to versions that were taken back."""
    names: frozenset[str] = field(default=frozenset())
    """Every tag of the model, also those that were passed over: Git has no second of a name."""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, tags: Iterable[Tag]) -> Registry:
        """Read the tags of one model; all others are passed over."""
        mine = [(tag, rest) for tag in tags if (rest := after_name(name, tag.name))]
        mine.sort(key=lambda pair: pair[0].at)
        names = frozenset(tag.name for tag, _ in mine)
        notes = [f"the tag {tag.name} {tag.problem}" for tag, _ in mine if tag.problem]
        sound = [(tag, rest) for tag, rest in mine if not tag.problem]
        registered, versions = _versions(name, sound, notes)
        assignments = sorted(_assignments(sound, versions, notes), key=lambda a: a.counter)
        return cls(
            name,
            tuple(sorted(versions.values(), key=lambda v: sort_key(v.number))),
            tuple(assignments),
            tuple(_approvals(sound, notes)),
            max((a.counter for a in assignments), default=0),
            frozenset(registered),
            names,
            tuple(notes),
        )

    @property
    def latest(self) -> Version | None:
        """The version of the highest number."""
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
        held = [a for a in self.assignments if a.stage == stage and a.version is not None]
        return any(a.version == version for a in held)

    def before(self, stage: str) -> Version | None:
        """Where a rollback of the stage leads: the version that the present one replaced.

        A version that was rolled back from is not come back to.
        """
        held: list[Version] = []
        for a in self.assignments:
            if a.stage != stage or a.version is None:
                continue
            if a.rollback and a.version in held:
                del held[held.index(a.version) + 1 :]
            else:
                held = [v for v in held if v != a.version] + [a.version]
        return held[-2] if len(held) > 1 else None

    def of_bundle(self, bundle: str) -> Version | None:
        """The version that registered a bundle, by its SHA-256."""
        return next((v for v in self.versions if v.bundle == bundle), None)

    def approved_by(self, version: Version, stage: str) -> tuple[Approval, ...]:
        """The approvals of one version for one stage."""
        return tuple(a for a in self.approvals if a.version == version.number and a.stage == stage)

    def find(self, text: str) -> Version:
        """Find a version by its number, with or without name or v, its stage, or ``latest``.

        Raises
        ------
        NotFound
            If there is none; the nearest is suggested.
        """
        name, _, wanted = text.rpartition("@")
        if name and name != self.name:
            raise NotFound(f"there is no model {name!r}", f"The model here is {self.name!r}.")
        if not self.versions:
            raise NotFound(
                f"{self.name} has no registered version, so there is no {text!r}",
                "Register one with `mlops register`, or bring tags here with `git fetch --tags`.",
            )
        by_number = {v.number: v for v in self.versions}
        for key in (wanted, f"v{wanted}"):
            if key in by_number:
                return by_number[key]
        if wanted == "latest" and self.latest is not None:
            return self.latest
        if found := self.in_stage(wanted):
            return found
        if any(a.stage == wanted for a in self.assignments):
            raise NotFound(f"no version of {self.name} is in {wanted!r}", "`mlops models` lists.")
        known = [*by_number, *self.stages(), "latest"]
        raise NotFound(f"{self.name} has no version or stage {wanted!r}", nearest(wanted, known))

    def next_number(self, part: Part) -> str:
        """The number of the next version; v0.1.0 is the first. A number is never given twice.

        Raises
        ------
        NotProject
            If its digits are used up.
        """
        number = bump(max(self.numbers, key=sort_key), part) if self.numbers else "v0.1.0"
        while version_tag(self.name, number) in self.names:
            number = bump(number, part)
        if not NUMBER.fullmatch(number):
            raise NotProject(
                f"no version of {self.name} can come after {max(self.numbers, key=sort_key)}",
                "Delete that tag, if it was made by mistake: git tag -d TAG.",
            )
        return number

    def next_counter(self, stage: str) -> int:
        """The number of the next assignment to a stage.

        Raises
        ------
        NotProject
            If there is none.
        """
        counter = self.counter + 1
        while assignment_tag(self.name, stage, counter) in self.names:
            counter += 1
        if counter > MOST_ASSIGNMENTS:
            last = self.assignments[-1].tag.name
            raise NotProject(
                f"the tag {last} has the highest number that an assignment may have",
                f"Delete it, here and on the remote: git tag -d '{last}'",
            )
        return counter


def _versions(
    name: str, tags: Iterable[tuple[Tag, str]], notes: list[str]
) -> tuple[dict[str, Version], dict[str, Version]]:
    """All that were registered by their number, and those of them that weren't taken back."""
    registered: dict[str, Version] = {}
    taken_back: dict[str, Tag] = {}
    for tag, rest in tags:
        number = rest[1:].removesuffix("!")
        if rest[0] != "@":
            continue
        if not NUMBER.fullmatch(number):
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
        f"{', '.join(v.label for v in same)} are on one commit ({commit[:9]})"
        for commit, same in by_commit.items()
        if same[1:]
    ]
    return registered, versions


def _assignments(
    tags: Iterable[tuple[Tag, str]], versions: Mapping[str, Version], notes: list[str]
) -> Iterable[Assignment]:
    for tag, rest in tags:
        if rest[0] != "#":
            continue
        form = ASSIGNMENT.fullmatch(rest)
        if form is None:
            notes.append(f"the tag {tag.name} names no stage and number")
        elif not tag.annotated:
            notes.append(f"the tag {tag.name} is lightweight: it doesn't say who assigns what")
        elif form[2]:
            yield Assignment(form[1], None, int(form[3]), tag)
        else:
            version = _assigned_version(tag, versions)
            if isinstance(version, str):
                notes.append(f"the tag {tag.name} {version}")
            else:
                yield Assignment(form[1], version, int(form[3]), tag)


def _assigned_version(tag: Tag, versions: Mapping[str, Version]) -> Version | str:
    """The version that an assignment names, or why there is none."""
    number = tag.trailers.get("Version")
    if number is None:  # GTO's own assignments don't name it
        here = [v for v in versions.values() if v.commit == tag.commit]
        if len(here) == 1:
            return here[0]
        held = ", ".join(v.number for v in here) or "no version"
        return f"doesn't name its version, and its commit has {held}"
    if number not in versions:
        return f"names version {number}, which is not registered"
    if versions[number].commit != tag.commit:
        return f"names version {number}, but points at another commit"
    return versions[number]


def _approvals(tags: Iterable[tuple[Tag, str]], notes: list[str]) -> Iterable[Approval]:
    for tag, rest in tags:
        if rest[0] != "/":
            continue
        if form := APPROVAL.fullmatch(rest):
            yield Approval(form[1], form[5], tag)
        else:
            notes.append(f"the tag {tag.name} names no version, stage and person")
