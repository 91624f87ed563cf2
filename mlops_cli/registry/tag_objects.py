"""Tags read from Git's own objects, so that what a tag says isn't taken from its reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops_cli.errors import NotProject
from mlops_cli.project.git import Git, GitFailed
from mlops_cli.registry.tags import Tag, after_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["TagObject", "split_signature", "tags"]

_LARGEST = 1 << 18
"""Bytes of a tag or commit object; more is no message that anybody wrote."""
_START = datetime.fromtimestamp(0, UTC)
_LAST_SECOND = 253_402_214_399
"""The day before the last one that a date can have."""

_HEADER = re.compile(
    rb"object ([0-9a-f]{40,64})\ntype ([a-z]+)\ntag ([^\n]*)\n"
    rb"(?:tagger ([^\n]*)\n)?([^\n]+\n)*\n"
)
_PERSON = re.compile(r"([^<>]*) <([^<>\s]*)> ([0-9]{1,12}) [+-][0-9]{4}")
_COMMITTER = re.compile(rb"^committer [^\n]*> ([0-9]{1,12}) [+-][0-9]{4}$", re.MULTILINE)
_SIGNATURE = re.compile(
    rb"^-----BEGIN (?:SSH SIGNATURE|PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE)-----", re.MULTILINE
)


@dataclass(frozen=True)
class TagObject:
    """An object as `git cat-file --batch` gives it."""

    kind: str
    content: bytes


def tags(git: Git, name: str) -> list[Tag]:
    """All tags of a model by their names, those included that are no tag of a registry.

    Raises
    ------
    NotProject
        If the folder is not under Git.
    """
    try:
        # The objects aren't looked at here: a tag that has none would end the command.
        listed = git.run_bytes(
            "for-each-ref",
            "--format=%(refname:strip=2)%00%(objectname)",
            f"refs/tags/{name}*",
            f"refs/tags/{name}/**",
            given=b"",
        )
    except GitFailed as error:
        if "not a git repository" in error.said:
            raise NotProject(f"{git.root} is not under Git", "Run `git init` there.") from None
        raise
    pairs = [line.split(b"\0") for line in listed.splitlines()]
    mine = {ref.decode("utf-8", "replace"): object_id.decode() for ref, object_id in pairs}
    mine = {ref: object_id for ref, object_id in mine.items() if after_name(name, ref)}
    objects = _objects(git, set(mine.values()))
    read = [_tag(ref, object_id, objects[object_id]) for ref, object_id in mine.items()]
    kinds = {c: kind for c, (kind, _) in _kinds(git, {t.commit for t in read if t.commit}).items()}
    return [
        tag
        if not tag.commit or kinds[tag.commit] == "commit"
        else _refused(tag.name, tag.object_id, f"points at a commit that is {kinds[tag.commit]}")
        for tag in read
    ]


def split_signature(content: bytes) -> tuple[bytes, bytes]:
    """A tag object's signed part and its signature, which is empty where there is none."""
    found = list(_SIGNATURE.finditer(content))
    end = found[-1].start() if found else len(content)
    return content[:end], content[end:]


def _objects(git: Git, object_ids: Iterable[str]) -> dict[str, TagObject]:
    """The content of tags and commits; of anything else, and of what is too large, the kind."""
    found, wanted = {}, []
    for object_id, (kind, size) in _kinds(git, object_ids).items():
        large = kind in {"tag", "commit"} and size > _LARGEST
        found[object_id] = TagObject("large" if large else kind, b"")
        if kind in {"tag", "commit"} and not large:
            wanted.append(object_id)
    asked = "".join(f"{object_id}\n" for object_id in wanted).encode()
    content = git.run_bytes("cat-file", "--batch", given=asked) if wanted else b""
    return found | dict(_batch(content))


def _kinds(git: Git, object_ids: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Object -> kind and size; the kind is "missing" where the object isn't there."""
    ids = sorted(object_ids)
    if not ids:
        return {}
    asked = "".join(f"{object_id}\n" for object_id in ids).encode()
    lines = git.run_bytes("cat-file", "--batch-check", given=asked).decode().splitlines()
    parts = (line.partition(" ")[2].partition(" ") for line in lines)
    return {i: (kind, int(size or 0)) for i, (kind, _, size) in zip(ids, parts, strict=True)}


def _batch(output: bytes) -> Iterator[tuple[str, TagObject]]:
    place = 0
    while place < len(output):
        end = output.index(b"\n", place)
        object_id, kind, size = output[place:end].decode().split()
        place = end + 1 + int(size)
        yield object_id, TagObject(kind, output[end + 1 : place])
        place += 1


class _UnreadableError(Exception):
    """Why an object can't be a tag of a registry."""


def _tag(name: str, object_id: str, found: TagObject) -> Tag:
    try:
        read = _lightweight if found.kind == "commit" else _annotated
        return read(name, object_id, found)
    except _UnreadableError as error:
        return _refused(name, object_id, str(error))


def _lightweight(name: str, object_id: str, found: TagObject) -> Tag:
    date = _COMMITTER.search(found.content.partition(b"\n\n")[0])
    if date is None:
        raise _UnreadableError("points at a commit without a date")
    return Tag(name, object_id, _moment(date[1].decode()), annotated=False, object_id=object_id)


def _annotated(name: str, object_id: str, found: TagObject) -> Tag:
    problems = {
        "tag": "",
        "large": f"is larger than {_LARGEST:,} bytes",
        "missing": "points at an object that is not in this clone",
    }
    if problem := problems.get(found.kind, f"points at a {found.kind} and not at a commit"):
        raise _UnreadableError(problem)
    header = _HEADER.match(found.content)
    if header is None:
        raise _UnreadableError("cannot be read as Git writes a tag")
    commit, kind, own = (header[n].decode("utf-8", "replace") for n in (1, 2, 3))
    if kind != "commit":
        raise _UnreadableError(f"points at a {kind} and not at a commit")
    if own != name:
        raise _UnreadableError(f"was made as {own}")
    try:
        tagger = (header[4] or b"").decode()
        message = split_signature(found.content[header.end() :])[0].decode()
    except UnicodeDecodeError:
        raise _UnreadableError("is not in UTF-8") from None
    person = _PERSON.fullmatch(tagger)
    if person is None:
        raise _UnreadableError("doesn't say who made it, and when")
    if "\0" in message + tagger:
        raise _UnreadableError("holds a NUL")
    who = f"{person[1]} <{person[2]}>".strip()
    return Tag(name, commit, _moment(person[3]), who, message.strip(), object_id=object_id)


def _moment(seconds: str) -> datetime:
    if int(seconds) > _LAST_SECOND:
        raise _UnreadableError(f"is dated {seconds} seconds after 1970")
    return datetime.fromtimestamp(int(seconds), UTC)


def _refused(name: str, object_id: str, problem: str) -> Tag:
    return Tag(name, "", _START, object_id=object_id, problem=problem)
