"""Verify who signed a tag, with GnuPG or OpenSSH and this clone's Git settings.

Git itself only says that one of the keys that it knows has signed. Here the key has to belong to
the address that the tag states. For SSH, ``gpg.ssh.allowedSignersFile`` lists the key with exactly
this address (a pattern such as ``*@example.org`` identifies nobody), or the key has a certificate
for it. For GnuPG, a user ID with this address is valid by the keyring's own trust.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import MlopsError
from mlops_cli.registry.tag_objects import split_signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_cli.project.git import Git

__all__ = ["Signer", "SignerUnknown", "path_setting", "signer_of"]

_SSH = b"-----BEGIN SSH SIGNATURE-----"
_PGP = (b"-----BEGIN PGP SIGNATURE-----", b"-----BEGIN PGP MESSAGE-----")
_GOOD = re.compile(r'Good "git" signature for .* with \S+ key (SHA256:[A-Za-z0-9+/]+)')
_KEY = re.compile(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]+=*)")
_VALID = ("f", "u")
_FAULTS = {
    "EXPSIG": "has expired",
    "EXPKEYSIG": "was made with a key that has expired",
    "REVKEYSIG": "was made with a key that was revoked",
    "BADSIG": "doesn't fit what was signed",
    "ERRSIG": "was made with a key that is not in the keyring",
}


class SignerUnknown(MlopsError):
    """A tag's signature doesn't prove that the person named by the tag has signed it."""


@dataclass(frozen=True)
class Signer:
    """The signer of a tag.

    Attributes
    ----------
    key
        The key's fingerprint.
    names
        The fingerprint and all addresses that the key belongs to.
    """

    key: str
    names: frozenset[str]


def signer_of(git: Git, object_id: str, address: str) -> Signer:
    """Verify that the owner of an address has signed a tag object; return the signer.

    Raises
    ------
    SignerUnknown
        If the tag is unsigned, the signature is invalid, or somebody else has signed; with the
        reason.
    """
    request = f"{object_id}\n".encode()
    output = git.run_bytes("cat-file", "--batch", stdin=request)
    content = output.partition(b"\n")[2][:-1]
    payload, signature = split_signature(content)
    if not signature:
        raise SignerUnknown("it is not signed")
    if signature.startswith(_SSH):
        return _verify_ssh(git, payload, signature, address)
    if signature.startswith(_PGP):
        return _verify_gpg(git, object_id, address)
    raise SignerUnknown("its signature is of a kind that isn't counted (SSH and GnuPG are)")


@dataclass(frozen=True)
class _AllowedSigner:
    """One line of the allowed signers file.

    Attributes
    ----------
    names
        Addresses and patterns that the key belongs to.
    rest
        Options and key.
    key
        The key's fingerprint.
    authority
        Whether the key belongs to a certificate authority.
    """

    names: tuple[str, ...]
    rest: str
    key: str
    authority: bool


def _verify_ssh(git: Git, payload: bytes, signature: bytes, address: str) -> Signer:
    if set('*?!,"') & set(address):  # ssh-keygen would take it for a pattern, or for several
        raise SignerUnknown("an address with a pattern doesn't say who has signed it")
    allowed_file = path_setting(git, "gpg.ssh.allowedSignersFile")
    if allowed_file is None or not allowed_file.is_file():
        raise SignerUnknown("Git here knows no signers (gpg.ssh.allowedSignersFile)")
    program = git.try_run("config", "gpg.ssh.program") or "ssh-keygen"
    revocations = path_setting(git, "gpg.ssh.revocationFile")
    lines = list(_read_allowed_signers(allowed_file))
    # A pattern identifies nobody, so a key has to be listed with the address itself. A certificate
    # names its owner, and ssh-keygen accepts no pattern in it.
    key_lines = [line for line in lines if not line.authority and _lists(line, address)]
    accepted = "".join(f"{address} {line.rest}\n" for line in key_lines) + "".join(
        f"{','.join(line.names)} {line.rest}\n" for line in lines if line.authority
    )
    with tempfile.TemporaryDirectory(prefix="mlops-signature-") as folder:
        file, signers = Path(folder) / "signature", Path(folder) / "signers"
        file.write_bytes(signature)
        signers.write_text(accepted, encoding="utf-8")
        command = [program, "-Y", "verify", "-n", "git", "-s", str(file), "-f", str(signers)]
        command += (
            ["-I", address] if revocations is None else ["-I", address, "-r", str(revocations)]
        )
        code, out, err = _run(command, payload)
    good = _GOOD.fullmatch(out.strip())
    if code or good is None:
        reason = " ".join((err or out).replace(folder, "").split())
        raise SignerUnknown(
            f"no valid key of {address} in gpg.ssh.allowedSignersFile has signed it ({reason})"
        )
    key = good[1]
    names = {n for line in lines if line.key == key and not line.authority for n in line.names}
    plain = {n.casefold() for n in names if not set("*?!") & set(n)}
    return Signer(key, frozenset({key, address.casefold(), *plain}))


def _lists(line: _AllowedSigner, address: str) -> bool:
    names = {name.casefold() for name in line.names}
    return address.casefold() in names and f"!{address.casefold()}" not in names


def _read_allowed_signers(file: Path) -> Iterator[_AllowedSigner]:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        parts = line.strip().split(maxsplit=1)
        key = _KEY.search(parts[1]) if parts[1:] and not parts[0].startswith("#") else None
        if key is None:
            continue
        try:
            blob = base64.b64decode(key[2], validate=True)
        except binascii.Error:
            continue
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        names = tuple(parts[0].strip('"').split(","))
        authority = "cert-authority" in parts[1][: key.start()].lower()
        yield _AllowedSigner(names, parts[1], f"SHA256:{digest}", authority)


def _verify_gpg(git: Git, object_id: str, address: str) -> Signer:
    _, _, output = git.run_unchecked("verify-tag", "--raw", object_id)
    status = [line.split()[1:] for line in output.splitlines() if line.startswith("[GNUPG:] ")]
    keywords = [line[0] for line in status if line]
    for fault, meaning in _FAULTS.items():
        if fault in keywords:
            raise SignerUnknown(f"its signature {meaning}")
    valid = [line for line in status if line and line[0] == "VALIDSIG"]
    if keywords.count("GOODSIG") != 1 or len(valid) != 1:
        reason = " ".join(line for line in output.splitlines() if "[GNUPG:]" not in line)
        raise SignerUnknown(f"its signature can't be checked: {reason[:200] or 'no gpg'}")
    key = valid[0][-1]
    names = _user_ids(git, key)
    if address.casefold() not in names:
        owners = ", ".join(sorted(names)) or "nobody whom the keyring trusts"
        raise SignerUnknown(f"its key is of {owners}, and not of {address}")
    return Signer(key, frozenset({key, *names}))


def _user_ids(git: Git, key: str) -> set[str]:
    """The addresses of a key's user IDs that are valid by the keyring's trust."""
    program = (
        git.try_run("config", "gpg.openpgp.program")
        or git.try_run("config", "gpg.program")
        or "gpg"
    )
    _, output, _ = _run([program, "--batch", "--with-colons", "--list-keys", key], b"")
    rows = [line.split(":") for line in output.splitlines()]
    names = (row[9] for row in rows if row[0] == "uid" and row[1] in _VALID and len(row) > 9)  # noqa: PLR2004
    return {name.rpartition("<")[2].rstrip(">").strip().casefold() for name in names}


def path_setting(git: Git, key: str) -> Path | None:
    """A path from Git's settings; a relative one starts at the repository's top, as in Git."""
    value = git.try_run("config", "--type=path", key)
    if not value:
        return None
    top = git.try_run("rev-parse", "--show-toplevel") or str(git.root)
    return Path(top) / value


def _run(command: list[str], stdin: bytes) -> tuple[int, str, str]:
    try:
        process = subprocess.run(command, input=stdin, capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    return (
        process.returncode,
        process.stdout.decode(errors="replace"),
        process.stderr.decode(errors="replace"),
    )
