"""Git tags of a registry: their fields, and the format of their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

__all__ = [
    "APPROVAL_PATTERN",
    "ASSIGNMENT_PATTERN",
    "MAX_ASSIGNMENT_NUMBER",
    "NUMBER_PATTERN",
    "Tag",
    "VersionPart",
    "address_of",
    "after_name",
    "approval_tag",
    "assignment_tag",
    "bump",
    "is_approval_of",
    "sort_key",
    "version_tag",
]

VersionPart = Literal["major", "minor", "patch"]

_COUNT = "(0|[1-9][0-9]{0,8})"
NUMBER_PATTERN = re.compile(rf"v{_COUNT}\.{_COUNT}\.{_COUNT}")
_STAGE = "[A-Za-z0-9](?:[A-Za-z0-9/_-]*[A-Za-z0-9])?"
ASSIGNMENT_PATTERN = re.compile(rf"#({_STAGE})(!?)#([1-9][0-9]{{0,17}})")
APPROVAL_PATTERN = re.compile(rf"/approvals/({NUMBER_PATTERN.pattern})/({_STAGE})/([^/]+)")
MAX_ASSIGNMENT_NUMBER = 10**18 - 1
_TRAILER = re.compile(r"([A-Z][A-Za-z-]*): (.*)")


@dataclass(frozen=True)
class Tag:
    """An annotated tag, or a lightweight one, without a message and with its commit's date.

    Attributes
    ----------
    message
        The message without the signature.
    object_id
        ID of the tag object that the reference pointed at when it was read.
    problem
        Why it can't be a tag of the registry, such as "points at a blob"; empty if it can.
    """

    name: str
    commit: str
    date: datetime
    tagger: str = ""
    message: str = ""
    annotated: bool = True
    object_id: str = ""
    problem: str = ""

    @property
    def trailers(self) -> dict[str, str]:
        """``Key: value`` lines at the end of the message."""
        return dict(self._body_and_trailers[1])

    @property
    def body(self) -> str:
        """The message without its first line and its trailers."""
        return self._body_and_trailers[0]

    @property
    def _body_and_trailers(self) -> tuple[str, list[tuple[str, str]]]:
        """The body, and the trailers: the last paragraph, if each of its lines is a trailer."""
        body, _, last = self.message.partition("\n")[2].strip().rpartition("\n\n")
        lines = [_TRAILER.fullmatch(line) for line in last.split("\n")]
        if not all(lines):
            return f"{body}\n\n{last}".strip(), []
        return body.strip(), [(line[1], line[2]) for line in lines if line]


def bump(number: str, part: VersionPart) -> str:
    """Increase one part of a version number.

    Examples
    --------
    >>> bump("v1.2.3", "minor")
    'v1.3.0'
    """
    major, minor, patch = sort_key(number)
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


def approval_tag(name: str, number: str, stage: str, address: str) -> str:
    """The name of the tag with a person's approval; ``address`` is an e-mail address."""
    return f"{name}/approvals/{number}/{stage}/{_person_part(address)}"


def is_approval_of(tag: Tag) -> bool:
    """Whether the person in the name of an approval's tag is its tagger.

    A person's second approval, if the first doesn't count, ends in ``=2``.
    """
    person = tag.name.rpartition("/")[2]
    return re.sub(r"=[0-9]+$", "", person) == _person_part(address_of(tag.tagger)) or (
        person == _person_part(address_of(tag.tagger))
    )


def address_of(identity: str) -> str:
    """The address of ``Name <address>``."""
    return identity.rpartition("<")[2].rstrip(">")


def _person_part(address: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+-]", "=", address).strip(".") or "unknown"


def after_name(name: str, tag: str) -> str | None:
    """The part of a tag's name after the model's name; None if it is no tag of the model."""
    if not tag.startswith(name):
        return None
    rest = tag[len(name) :]
    return rest if rest[:1] in {"@", "#"} or rest.startswith("/approvals/") else None


def sort_key(number: str) -> tuple[int, int, int]:
    """Sort key of a version number: its three parts as integers."""
    match = NUMBER_PATTERN.fullmatch(number)
    if not match:
        raise ValueError(number)
    return int(match[1]), int(match[2]), int(match[3])
