"""Digest of all that a registry's content depends on: references, settings, signers' keys."""

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
    """A digest that changes whenever the versions, stages or approvals may have changed.

    It needs no tag to be read and no signature to be verified. None if Git fails.
    """
    references = git.try_run("for-each-ref", "--format=%(HEAD)%(refname) %(objectname) %(symref)")
    settings = git.try_run("config", "--list", "-z")
    if references is None or settings is None:
        return None
    files = [_stamp(path) for path in _key_files(git, settings)]
    # The settings may hold a password, so only a digest is kept.
    return hashlib.sha256(repr((references, settings, files)).encode()).hexdigest()


def _key_files(git: Git, settings: str) -> Iterator[Path]:
    for key in _SIGNERS:
        # Git lists keys in lower case. Only a key that is set costs another call of Git.
        if f"{key.lower()}\n" in settings and (path := path_setting(git, key)) is not None:
            yield path
    home = Path(os.environ.get("GNUPGHOME") or Path.home() / ".gnupg")
    yield from (home / name for name in _KEYRING)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
