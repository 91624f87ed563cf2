"""Parse tags from Git's objects, so that a reference can't claim what its tag doesn't say."""

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
"""Maximum bytes of a tag or commit object; no person writes a larger message."""
_START = datetime.fromtimestamp(0, UTC)
_LAST_SECOND = 253_402_214_399
"""One day before the latest time that Python can represent."""

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
    """An object as `git cat-file --batch` returns it."""

    kind: str
    content: bytes


def tags(git: Git, name: str) -> list[Tag]:
    """All tags whose names are of a model, also those that are no valid tags of a registry.

    Raises
    ------
    NotProject
        If the folder is not under Git.
    """
    try:
        # Don't read the objects here: a tag whose object is missing would end the command.
        output = git.run_bytes(
            "for-each-ref",
            "--format=%(refname:strip=2)%00%(objectname)",
            f"refs/tags/{name}*",
            f"refs/tags/{name}/**",
            stdin=b"",
        )
    except GitFailed as error:
        if "not a git repository" in error.stderr:
            raise NotProject(f"{git.root} is not under Git", "Run `git init` there.") from None
        raise
    pairs = [line.split(b"\0") for line in output.splitlines()]
    object_ids = {ref.decode("utf-8", "replace"): object_id.decode() for ref, object_id in pairs}
    object_ids = {ref: object_id for ref, object_id in object_ids.items() if after_name(name, ref)}
    objects = _read_objects(git, set(object_ids.values()))
    parsed = [
        _parse_tag(ref, object_id, objects[object_id]) for ref, object_id in object_ids.items()
    ]
    kinds = {
        c: kind for c, (kind, _) in _kinds(git, {t.commit for t in parsed if t.commit}).items()
    }
    return [
        tag
        if not tag.commit or kinds[tag.commit] == "commit"
        else _invalid_tag(
            tag.name, tag.object_id, f"points at a commit that is {kinds[tag.commit]}"
        )
        for tag in parsed
    ]


def split_signature(content: bytes) -> tuple[bytes, bytes]:
    """Split a tag object into its signed part and its signature, which may be empty."""
    matches = list(_SIGNATURE.finditer(content))
    end = matches[-1].start() if matches else len(content)
    return content[:end], content[end:]


def _read_objects(git: Git, object_ids: Iterable[str]) -> dict[str, TagObject]:
    """Contents of tags and commits; only the kind of other objects and of too large ones."""
    objects, readable = {}, []
    for object_id, (kind, size) in _kinds(git, object_ids).items():
        large = kind in {"tag", "commit"} and size > _LARGEST
        objects[object_id] = TagObject("large" if large else kind, b"")
        if kind in {"tag", "commit"} and not large:
            readable.append(object_id)
    request = "".join(f"{object_id}\n" for object_id in readable).encode()
    content = git.run_bytes("cat-file", "--batch", stdin=request) if readable else b""
    return objects | dict(_parse_batch(content))


def _kinds(git: Git, object_ids: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Object -> kind and size; the kind is "missing" where the object isn't there."""
    ids = sorted(object_ids)
    if not ids:
        return {}
    request = "".join(f"{object_id}\n" for object_id in ids).encode()
    lines = git.run_bytes("cat-file", "--batch-check", stdin=request).decode().splitlines()
    parts = (line.partition(" ")[2].partition(" ") for line in lines)
    return {i: (kind, int(size or 0)) for i, (kind, _, size) in zip(ids, parts, strict=True)}


def _parse_batch(output: bytes) -> Iterator[tuple[str, TagObject]]:
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        object_id, kind, size = output[position:end].decode().split()
        position = end + 1 + int(size)
        yield object_id, TagObject(kind, output[end + 1 : position])
        position += 1


class _UnreadableError(Exception):
    """An object can't be a tag of a registry; the message says why."""


def _parse_tag(name: str, object_id: str, target: TagObject) -> Tag:
    try:
        parse = _parse_lightweight if target.kind == "commit" else _parse_annotated
        return parse(name, object_id, target)
    except _UnreadableError as error:
        return _invalid_tag(name, object_id, str(error))


def _parse_lightweight(name: str, object_id: str, target: TagObject) -> Tag:
    date = _COMMITTER.search(target.content.partition(b"\n\n")[0])
    if date is None:
        raise _UnreadableError("points at a commit without a date")
    return Tag(name, object_id, _parse_time(date[1].decode()), annotated=False, object_id=object_id)


def _parse_annotated(name: str, object_id: str, target: TagObject) -> Tag:
    problems = {
        "tag": "",
        "large": f"is larger than {_LARGEST:,} bytes",
        "missing": "points at an object that is not in this clone",
    }
    if problem := problems.get(target.kind, f"points at a {target.kind} and not at a commit"):
        raise _UnreadableError(problem)
    header = _HEADER.match(target.content)
    if header is None:
        raise _UnreadableError("cannot be read as Git writes a tag")
    commit, kind, stated_name = (header[n].decode("utf-8", "replace") for n in (1, 2, 3))
    if kind != "commit":
        raise _UnreadableError(f"points at a {kind} and not at a commit")
    if stated_name != name:
        raise _UnreadableError(f"was made as {stated_name}")
    try:
        tagger_line = (header[4] or b"").decode()
        message = split_signature(target.content[header.end() :])[0].decode()
    except UnicodeDecodeError:
        raise _UnreadableError("is not in UTF-8") from None
    person = _PERSON.fullmatch(tagger_line)
    if person is None:
        raise _UnreadableError("doesn't say who made it, and when")
    if "\0" in message + tagger_line:
        raise _UnreadableError("holds a NUL")
    tagger = f"{person[1]} <{person[2]}>".strip()
    return Tag(name, commit, _parse_time(person[3]), tagger, message.strip(), object_id=object_id)


def _parse_time(seconds: str) -> datetime:
    if int(seconds) > _LAST_SECOND:
        raise _UnreadableError(f"is dated {seconds} seconds after 1970")
    return datetime.fromtimestamp(int(seconds), UTC)


def _invalid_tag(name: str, object_id: str, problem: str) -> Tag:
    return Tag(name, "", _START, object_id=object_id, problem=problem)
