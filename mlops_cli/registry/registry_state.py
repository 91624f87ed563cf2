"""The state that a judgement of a registry rests on: references, settings, and signers' keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.registry.approvals.signatures import path_setting

if TYPE_CHECKING:
    from mlops_cli.project.git import Git

__all__ = ["registry_state"]

_SIGNERS = ("gpg.ssh.allowedSignersFile", "gpg.ssh.revocationFile")
_KEYRING = (
    "pubring.kbx", "pubring.gpg", "trustdb.gpg", "gpg.conf", "public-keys.d/pubring.db",
)  # fmt: skip


def registry_state(git: Git) -> str | None:
    """A digest that changes with whatever a judgement of the registry rests on.

    No tag is read, and no signature verified. None where Git doesn't answer.
    """
    references = git.ask("for-each-ref", "--format=%(HEAD)%(refname) %(objectname) %(symref)")
    settings = git.ask("config", "--list", "-z")
    if references is None or settings is None:
        return None
    files = [_stamp(path) for path in _files(git, settings)]
    # The settings may hold a password, so only a digest is kept.
    return hashlib.sha256(repr((references, settings, files)).encode()).hexdigest()


def _files(git: Git, settings: str) -> Iterator[Path]:
    for key in _SIGNERS:
        # Git lists keys in small letters, and is asked for a path only where there is one.
        if f"{key.lower()}\n" in settings and (path := path_setting(git, key)) is not None:
            yield path
    home = Path(os.environ.get("GNUPGHOME") or Path.home() / ".gnupg")
    yield from (home / name for name in _KEYRING)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
