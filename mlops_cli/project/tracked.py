"""What Git tracks in a project, looked at before the project's paths are used.

Git brings links, and whatever lies in folders of DVC's and of ours, into a clone. A link that leads
out of the repository would let a stranger choose what is read and written elsewhere; a tracked
``.mlops`` or ``.dvc/tmp`` would be taken for this clone's own state.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.project.git import Git, GitMissing

__all__ = ["refuse_unsafe", "tracked_files"]

_OWN = ((".mlops",), (".dvc", "tmp"), (".dvc", "config.local"))
"""Never tracked: state and settings of one clone."""
_READ = ("dvc.lock", "dvc.yaml", ".dvcignore", ".gitignore")
"""Files of a project's own folder that commands read, beside params.yaml."""
_STATE = frozenset({".git", ".dvc", ".mlops"})
_FILES = frozenset(
    {
        "cert_path",
        "configpath",
        "credentialpath",
        "gdrive_service_account_json_file_path",
        "gdrive_user_credentials_file",
        "key_path",
        "keyfile",
        "ssl_verify",
    }
)
"""Options of a DVC remote that name a file."""
_BOOLEAN = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0"})
_SETTLED = 2_000_000_000
"""Nanoseconds after which the times of a file tell one write from another."""
_LISTED: dict[Path, tuple[tuple[int, ...], str]] = {}
"""Project -> the state of its index, and what Git listed then."""
_LINK = re.compile(r"120000 (?:blob )?([0-9a-f]{40,64})[^\t]*\t(.+)", re.DOTALL)


def refuse_unsafe(root: Path, commit: str | None = None) -> None:
    """Refuse a repository whose links or settings reach beyond it.

    Parameters
    ----------
    commit
        The commit to look at, before it is put in place; by default the files as they are.

    Raises
    ------
    DataRefused
        If a tracked link leads out of the repository, or what is only a clone's own is tracked;
        or if a pipe, a socket or a device stands where a file of the project would be read.
    BadParams
        If `.dvc/config` names commands, or files and folders outside of the project.
    """
    if commit is None:
        _refuse_special(root)
    git = Git(root)
    try:
        listed = _listed(git, commit)
    except GitMissing:  # as in a container, where the files didn't come by Git
        return
    if listed is None:
        return
    # Of the folder that Git tracks, the project may be a part.
    prefix = _prefix(git)
    top = root.resolve() if not prefix else _top(git)
    for entry in listed.split("\0"):
        name = entry.partition("\t")[2]
        _refuse_own(name.removeprefix(prefix))
        if found := _LINK.fullmatch(entry):
            target = _target(git, top / name, found[1], commit)
            if target is not None and _leads_out(name, target):
                raise DataRefused(
                    f"{name!a} is a link to {target!a}, which is not in this repository",
                    "Don't trust this repository, or replace the link: git rm --cached, then "
                    "a link of your own that Git doesn't track.",
                )
            if commit is None and _is_circular(top / name):
                raise DataRefused(
                    f"{name!a} is a link to {target!a}, which leads back to it", "Remove the link."
                )
    _refuse_config(git, commit)


def _is_circular(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def tracked_files(root: Path) -> list[str]:
    """Names of the tracked files, below the project; none where there is no Git to be asked."""
    git = Git(root)
    try:
        listed = _listed(git, None) or ""
        prefix = _prefix(git)
    except GitMissing:
        return []
    names = (entry.partition("\t")[2] for entry in listed.split("\0"))
    return [name.removeprefix(prefix) for name in names if name and name.startswith(prefix)]


def _refuse_special(root: Path) -> None:
    """Refuse pipes and the like, as an archive may bring them: who reads one waits for ever."""
    for path in (*(root / name for name in _READ), *_entries(root, "reports", "models", ".dvc")):
        try:
            mode = path.stat().st_mode
        except OSError:  # not there, or a link to nothing
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DataRefused(
                f"{path.relative_to(root).as_posix()!a} is a pipe, a socket or a device",
                "Don't trust this folder, or remove it.",
            )


def _entries(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        # Where a link leads isn't known yet.
        if not (root / folder).is_symlink():
            with suppress(OSError):
                yield from sorted((root / folder).iterdir())


def _listed(git: Git, commit: str | None) -> str | None:
    if commit is not None:
        return git.ask("ls-tree", "-r", "-z", "--full-tree", commit)
    # A command asks several times. Only Git's own answer is kept, and only as long as its index is
    # the same file: what the names stand for is looked at each time.
    state = _index_state(git.root)
    if state is None or _LISTED.get(git.root, (None, ""))[0] != state:
        listed = git.ask("ls-files", "--stage", "--full-name", "-z", ":/")
        if state is None or listed is None:
            return listed
        _LISTED.clear()
        _LISTED[git.root] = state, listed
    return _LISTED[git.root][1]


def _index_state(root: Path) -> tuple[int, ...] | None:
    """What is another as soon as Git writes the index; None where that can't be told.

    So it is for an index elsewhere than in the project's own `.git`, and for one so new that a
    second write may leave the same times.
    """
    if any(name in os.environ for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")):
        return None
    try:
        found = (root / ".git" / "index").stat()
    except OSError:
        return None
    if time.time_ns() - found.st_mtime_ns < _SETTLED:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _prefix(git: Git) -> str:
    return "" if (git.root / ".git").exists() else git.ask("rev-parse", "--show-prefix") or ""


def _top(git: Git) -> Path:
    return Path(git.run("rev-parse", "--show-toplevel").strip())


def _refuse_own(name: str) -> None:
    names = tuple(name.casefold().split("/"))
    for own in _OWN:
        if names[: len(own)] == own:
            raise DataRefused(
                f"{name!a} is tracked by Git, but {'/'.join(own)} is each clone's own",
                f"Don't trust this repository, or: git rm -r --cached {'/'.join(own)}",
            )


def _target(git: Git, path: Path, blob: str, commit: str | None) -> str | None:
    if commit is not None:
        return git.ask("cat-file", "blob", blob)
    try:
        return os.fspath(path.readlink())
    except OSError:  # gone, or no link any more
        return None


def _leads_out(name: str, target: str) -> bool:
    """Whether a link leads out, or into what is Git's, DVC's or ours.

    Only the first parts may be ``..``: further on, they would count from where another link leads.
    """
    folder, names = name.split("/")[:-1], target.split("/")
    if target.startswith("/") or "\\" in target:
        return True
    while names and names[0] in {".", ".."}:
        if names.pop(0) == "..":
            if not folder:
                return True
            folder.pop()
    own = {part.rstrip(" .").casefold() for part in (*name.split("/"), *folder, *names)}
    return ".." in names or bool(own & _STATE)


def _refuse_config(git: Git, commit: str | None) -> None:
    """Refuse committed settings of DVC's by which a stranger could run, read or write anything."""
    own = git.root / ".dvc"
    if commit is None:
        config, other = _settings(own / "config"), _settings(own / "config.local")
    else:
        config = _parsed((git.read(commit, ".dvc/config") or "").splitlines())
        other = _settings(own / "config.local")
    for section, option, value in _reaching(config, own):
        # What somebody says in settings of their own, counts instead.
        if option not in other.get(section, {}):
            raise BadParams(
                f"{option} of [{section}] in .dvc/config is {value!a}: a repository may not "
                "choose commands, nor files and folders outside of itself",
                "If that is right, say so in your own settings: dvc config --local "
                f"{_key(section)}.{option} ...",
            )


def _reaching(config: Mapping[str, Any], own: Path) -> Iterator[tuple[str, str, str]]:
    for section, options in config.items():
        if not isinstance(options, dict):
            continue
        kind = section.partition('"')[0].strip(" '\"")
        for option, value in options.items():
            if kind == "remote":
                names_file = option in _FILES and str(value).lower() not in _BOOLEAN
                reaches = option.endswith("command") or (names_file and _is_outside(value, own))
            else:
                reaches = kind == "cache" and option == "dir" and _is_outside(value, own)
            if reaches:
                yield section, option, str(value)


def _is_outside(value: object, own: Path) -> bool:
    path = os.path.normpath(own / os.path.expanduser(str(value)))  # noqa: PTH111 - text
    root = own.parent
    return not Path(path).is_relative_to(root) or ".git" in Path(path).relative_to(root).parts


def _settings(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_bytes().decode("utf-8", "replace").splitlines())
    except OSError:
        return {}


def _parsed(lines: list[str]) -> dict[str, Any]:
    """Sections -> options, as DVC reads them: in small letters."""
    from configobj import ConfigObj, ConfigObjError

    try:
        return _lowered(ConfigObj(lines).dict())
    except (ConfigObjError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise BadParams(f".dvc/config cannot be read: {said}", "Correct it.") from None


def _lowered(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(key).lower(): _lowered(value) if isinstance(value, dict) else value
        for key, value in tree.items()
    }


def _key(section: str) -> str:
    return section.strip("'").replace(' "', ".").strip('"')
