"""Checks of what Git tracks, before the project's paths are used.

A clone contains links, and whatever was committed in DVC's folders and ours. A link that leads out
of the repository would let a stranger choose what is read and written elsewhere. A tracked
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

_LOCAL_PATHS = ((".mlops",), (".dvc", "tmp"), (".dvc", "config.local"))
"""State and settings of one clone, which must not be tracked."""
_READ_FILES = ("dvc.lock", "dvc.yaml", ".dvcignore", ".gitignore")
"""Files in a project's own folder that commands read, besides params.yaml."""
_STATE_FOLDERS = frozenset({".git", ".dvc", ".mlops"})
_FILE_OPTIONS = frozenset(
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
_BOOLEANS = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0"})
_SETTLED_NS = 2_000_000_000
"""Nanoseconds after which the timestamps of a file distinguish one write from another."""
_LISTINGS: dict[Path, tuple[tuple[int, ...], str]] = {}
"""Cache: project -> state of its index, and Git's listing in that state."""
_LINK = re.compile(r"120000 (?:blob )?([0-9a-f]{40,64})[^\t]*\t(.+)", re.DOTALL)


def refuse_unsafe(root: Path, commit: str | None = None) -> None:
    """Refuse a repository whose links or settings lead out of it.

    Parameters
    ----------
    commit
        The commit to check before it is checked out; by default the files as they are.

    Raises
    ------
    DataRefused
        If a tracked link leads out of the repository, or a clone's own state is tracked; or if a
        pipe, a socket or a device is in the place of a project file that would be read.
    BadParams
        If `.dvc/config` names commands, or files and folders outside of the project.
    """
    if commit is None:
        _refuse_special(root)
    git = Git(root)
    try:
        listing = _list_entries(git, commit)
    except GitMissing:  # as in a container, whose files aren't a clone
        return
    if listing is None:
        return
    # The project may be a subfolder of the repository.
    prefix = _prefix(git)
    top = root.resolve() if not prefix else _top(git)
    for entry in listing.split("\0"):
        name = entry.partition("\t")[2]
        _refuse_local_path(name.removeprefix(prefix))
        if link := _LINK.fullmatch(entry):
            target = _read_target(git, top / name, link[1], commit)
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
    """Paths of the tracked files, relative to the project; none if Git isn't installed."""
    git = Git(root)
    try:
        listing = _list_entries(git, None) or ""
        prefix = _prefix(git)
    except GitMissing:
        return []
    names = (entry.partition("\t")[2] for entry in listing.split("\0"))
    return [name.removeprefix(prefix) for name in names if name and name.startswith(prefix)]


def _refuse_special(root: Path) -> None:
    """Refuse pipes and the like, which an archive may contain: reading one blocks for ever."""
    for path in (
        *(root / name for name in _READ_FILES),
        *_list_folders(root, "reports", "models", ".dvc"),
    ):
        try:
            mode = path.stat().st_mode
        except OSError:  # not there, or a link to nothing
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DataRefused(
                f"{path.relative_to(root).as_posix()!a} is a pipe, a socket or a device",
                "Don't trust this folder, or remove it.",
            )


def _list_folders(root: Path, *folders: str) -> Iterator[Path]:
    for folder in folders:
        # Links haven't been checked yet.
        if not (root / folder).is_symlink():
            with suppress(OSError):
                yield from sorted((root / folder).iterdir())


def _list_entries(git: Git, commit: str | None) -> str | None:
    if commit is not None:
        return git.try_run("ls-tree", "-r", "-z", "--full-tree", commit)
    # A command lists the files several times. Only Git's listing is cached, and only as long as its
    # index is the same file; the listed files themselves are examined each time.
    state = _index_state(git.root)
    if state is None or _LISTINGS.get(git.root, (None, ""))[0] != state:
        listing = git.try_run("ls-files", "--stage", "--full-name", "-z", ":/")
        if state is None or listing is None:
            return listing
        _LISTINGS.clear()
        _LISTINGS[git.root] = state, listing
    return _LISTINGS[git.root][1]


def _index_state(root: Path) -> tuple[int, ...] | None:
    """State of the index file, which differs after each write; None if that isn't certain.

    None for an index elsewhere than in the project's own `.git`, and for one so new that a second
    write may leave the same timestamps.
    """
    if any(name in os.environ for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")):
        return None
    try:
        status = (root / ".git" / "index").stat()
    except OSError:
        return None
    if time.time_ns() - status.st_mtime_ns < _SETTLED_NS:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _prefix(git: Git) -> str:
    return "" if (git.root / ".git").exists() else git.try_run("rev-parse", "--show-prefix") or ""


def _top(git: Git) -> Path:
    return Path(git.run("rev-parse", "--show-toplevel").strip())


def _refuse_local_path(name: str) -> None:
    parts = tuple(name.casefold().split("/"))
    for local in _LOCAL_PATHS:
        if parts[: len(local)] == local:
            raise DataRefused(
                f"{name!a} is tracked by Git, but {'/'.join(local)} is each clone's own",
                f"Don't trust this repository, or: git rm -r --cached {'/'.join(local)}",
            )


def _read_target(git: Git, path: Path, blob: str, commit: str | None) -> str | None:
    if commit is not None:
        return git.try_run("cat-file", "blob", blob)
    try:
        return os.fspath(path.readlink())
    except OSError:  # gone, or no link any more
        return None


def _leads_out(name: str, target: str) -> bool:
    """Whether a link leads out of the repository, or into a folder of Git's, DVC's or ours.

    Only its first parts may be ``..``: later ones would be relative to the target of another link.
    """
    folder, names = name.split("/")[:-1], target.split("/")
    if target.startswith("/") or "\\" in target:
        return True
    while names and names[0] in {".", ".."}:
        if names.pop(0) == "..":
            if not folder:
                return True
            folder.pop()
    touched = {part.rstrip(" .").casefold() for part in (*name.split("/"), *folder, *names)}
    return ".." in names or bool(touched & _STATE_FOLDERS)


def _refuse_config(git: Git, commit: str | None) -> None:
    """Refuse committed DVC settings with which a stranger could run, read or write anything."""
    folder = git.root / ".dvc"
    if commit is None:
        config, local = _read_settings(folder / "config"), _read_settings(folder / "config.local")
    else:
        config = _parse_settings((git.read(commit, ".dvc/config") or "").splitlines())
        local = _read_settings(folder / "config.local")
    for section, option, value in _unsafe_settings(config, folder):
        # The user's own setting overrides it.
        if option not in local.get(section, {}):
            raise BadParams(
                f"{option} of [{section}] in .dvc/config is {value!a}: a repository may not "
                "choose commands, nor files and folders outside of itself",
                "If that is right, say so in your own settings: dvc config --local "
                f"{_section_name(section)}.{option} ...",
            )


def _unsafe_settings(config: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str, str]]:
    """Section, option and value of the settings that name commands, or files outside."""
    for section, options in config.items():
        if not isinstance(options, dict):
            continue
        kind = section.partition('"')[0].strip(" '\"")
        for option, value in options.items():
            if kind == "remote":
                names_file = option in _FILE_OPTIONS and str(value).lower() not in _BOOLEANS
                unsafe = option.endswith("command") or (names_file and _is_outside(value, folder))
            else:
                unsafe = kind == "cache" and option == "dir" and _is_outside(value, folder)
            if unsafe:
                yield section, option, str(value)


def _is_outside(value: object, folder: Path) -> bool:
    path = os.path.normpath(folder / os.path.expanduser(str(value)))  # noqa: PTH111 - text
    root = folder.parent
    return not Path(path).is_relative_to(root) or ".git" in Path(path).relative_to(root).parts


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return _parse_settings(path.read_bytes().decode("utf-8", "replace").splitlines())
    except OSError:
        return {}


def _parse_settings(lines: list[str]) -> dict[str, Any]:
    """Sections -> options, as DVC reads them: in small letters."""
    from configobj import ConfigObj, ConfigObjError

    try:
        return _lower_keys(ConfigObj(lines).dict())
    except (ConfigObjError, RecursionError) as error:
        message = " ".join(str(error).split())
        raise BadParams(f".dvc/config cannot be read: {message}", "Correct it.") from None


def _lower_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(key).lower(): _lower_keys(value) if isinstance(value, dict) else value
        for key, value in tree.items()
    }


def _section_name(section: str) -> str:
    return section.strip("'").replace(' "', ".").strip('"')
