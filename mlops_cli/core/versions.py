"""A model's versions and stages, as Git tags state them.

The tags follow GTO's conventions (https://mlem.ai/doc/gto), so that `gto show`, DVC Studio and
`dvc artifacts get` read the same registry:

- ``name@v1.2.0`` registers a version; ``name@v1.2.0!`` takes it back.
- ``name#production#7`` puts the version of its commit into a stage; ``name#production!#8`` takes
  it out. The number counts a model's assignments.
- ``name/approvals/v1.2.0/production/ann=example.org`` is an approval. GTO has no such thing and
  doesn't read it as anything.

What a tag doesn't say by its name stands in its message, as trailers (``Bundle: <sha256>``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mlops_cli.errors import NotFound, nearest

__all__ = [
    "Approval",
    "Assignment",
    "Registry",
    "Tag",
    "Version",
    "approval_tag",
    "assignment_tag",
    "bump",
    "version_tag",
]

Part = Literal["major", "minor", "patch"]

_NUMBER = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_TRAILER = re.compile(r"^([A-Z][A-Za-z-]*): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Tag:
    """An annotated tag (a lightweight one has no message, and its commit's date)."""

    name: str
    commit: str
    at: datetime
    who: str = ""
    message: str = ""
    annotated: bool = True

    @property
    def trailers(self) -> dict[str, str]:
        """``Key: value`` lines of the message."""
        return dict(_TRAILER.findall(self.message))

    @property
    def why(self) -> str:
        """The message without its first line and its trailers."""
        body = self.message.partition("\n")[2]
        return _TRAILER.sub("", body).strip()


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
    """

    name: str
    versions: tuple[Version, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    approvals: tuple[Approval, ...] = ()
    counter: int = 0
    numbers: frozenset[str] = field(default=frozenset())
    """Every number that was ever given, also to versions that were taken back."""

    @classmethod
    def of(cls, name: str, tags: Iterable[Tag]) -> Registry:
        """Read the tags of one model; all others are passed over."""
        mine = [(tag, rest) for tag in tags if (rest := _rest(name, tag.name))]
        mine.sort(key=lambda pair: pair[0].at)
        registered = {
            rest[1:]: Version(name, rest[1:], tag)
            for tag, rest in mine
            if rest[0] == "@" and _NUMBER.fullmatch(rest[1:])
        }
        taken_back = {rest[1:-1] for _, rest in mine if rest[0] == "@" and rest[-1] == "!"}
        versions = {n: v for n, v in registered.items() if n not in taken_back}
        assignments = sorted(
            _assignments(mine, {v.commit: v for v in versions.values()}), key=lambda a: a.counter
        )
        approvals = [found for tag, rest in mine if (found := _approval(tag, rest))]
        return cls(
            name,
            tuple(sorted(versions.values(), key=lambda v: _parts(v.number))),
            tuple(assignments),
            tuple(approvals),
            max((a.counter for a in assignments), default=0),
            frozenset(registered),
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
        """The number of the next version; v0.1.0 is the first. A number is never given twice."""
        if not self.numbers:
            return "v0.1.0"
        return bump(max(self.numbers, key=_parts), part)


def bump(number: str, part: Part) -> str:
    """Count one part up.

    Examples
    --------
    >>> bump("v1.2.3", "minor")
    'v1.3.0'
    """
    major, minor, patch = _parts(number)
    return {
        "major": f"v{major + 1}.0.0",
        "minor": f"v{major}.{minor + 1}.0",
        "patch": f"v{major}.{minor}.{patch + 1}",
    }[part]


def version_tag(name: str, number: str) -> str:
    """The name of the tag that registers a version."""
    return f"{name}@{number}"


def assignment_tag(name: str, stage: str, counter: int) -> str:
    """The name of the tag that puts a version into a stage."""
    return f"{name}#{stage}#{counter}"


def approval_tag(name: str, number: str, stage: str, who: str) -> str:
    """The name of the tag of somebody's approval; ``who`` is an e-mail address."""
    person = re.sub(r"[^A-Za-z0-9._+-]", "=", who).strip(".") or "unknown"
    return f"{name}/approvals/{number}/{stage}/{person}"


def _rest(name: str, tag: str) -> str | None:
    if not tag.startswith(name):
        return None
    rest = tag[len(name) :]
    return rest if rest[:1] in {"@", "#"} or rest.startswith("/approvals/") else None


def _assignments(
    mine: Iterable[tuple[Tag, str]], by_commit: Mapping[str, Version]
) -> Iterable[Assignment]:
    for tag, rest in mine:
        found = re.fullmatch(r"#([A-Za-z0-9][\w/-]*)(!?)#(\d+)", rest)
        if found and (found[2] or tag.commit in by_commit):
            version = None if found[2] else by_commit[tag.commit]
            yield Assignment(found[1], version, int(found[3]), tag)


def _approval(tag: Tag, rest: str) -> Approval | None:
    found = re.fullmatch(r"/approvals/(v[\d.]+)/(.+)/[^/]+", rest)
    return Approval(found[1], found[2], tag) if found else None


def _parts(number: str) -> tuple[int, int, int]:
    found = _NUMBER.fullmatch(number)
    if not found:
        raise ValueError(number)
    return int(found[1]), int(found[2]), int(found[3])
