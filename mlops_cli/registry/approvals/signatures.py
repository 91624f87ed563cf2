"""Who signed a tag, as far as GnuPG or OpenSSH and this clone's Git settings can tell.

Git itself only says that some key it knows has signed. Here the key has to be the person's whose
address the tag states: for SSH, the key stands in ``gpg.ssh.allowedSignersFile`` with that very
address (a pattern such as ``*@example.org`` says nothing of who it is), or has a certificate for
it; for GnuPG, a user ID with that address is valid by the keyring's own trust.
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
    """A tag's signature doesn't say that it is of the person whom the tag names."""


@dataclass(frozen=True)
class Signer:
    """Whoever signed.

    Attributes
    ----------
    names
        The key's fingerprint, and all addresses that the key is known to be of.
    """

    key: str
    names: frozenset[str]


def signer_of(git: Git, object_id: str, address: str) -> Signer:
    """The signer of a tag object, who has to be the one with the address.

    Raises
    ------
    SignerUnknown
        With the reason.
    """
    asked = f"{object_id}\n".encode()
    output = git.run_bytes("cat-file", "--batch", given=asked)
    content = output.partition(b"\n")[2][:-1]
    signed, signature = split_signature(content)
    if not signature:
        raise SignerUnknown("it is not signed")
    if signature.startswith(_SSH):
        return _by_ssh(git, signed, signature, address)
    if signature.startswith(_PGP):
        return _by_gpg(git, object_id, address)
    raise SignerUnknown("its signature is of a kind that isn't counted (SSH and GnuPG are)")


@dataclass(frozen=True)
class _Allowed:
    """A line of the file of allowed signers.

    Attributes
    ----------
    rest
        Options and key.
    key
        Its fingerprint.
    authority
        Whether the key is of a certificate authority.
    """

    names: tuple[str, ...]
    rest: str
    key: str
    authority: bool


def _by_ssh(git: Git, signed: bytes, signature: bytes, address: str) -> Signer:
    if set('*?!,"') & set(address):  # ssh-keygen would take it for a pattern, or for several
        raise SignerUnknown("an address with a pattern doesn't say who has signed it")
    allowed = path_setting(git, "gpg.ssh.allowedSignersFile")
    if allowed is None or not allowed.is_file():
        raise SignerUnknown("Git here knows no signers (gpg.ssh.allowedSignersFile)")
    program = git.ask("config", "gpg.ssh.program") or "ssh-keygen"
    revoked = path_setting(git, "gpg.ssh.revocationFile")
    lines = list(_allowed(allowed))
    # A pattern doesn't say who it is, so a key has to stand there with the address itself. A
    # certificate names its owner, and ssh-keygen takes no pattern from it.
    own = [line for line in lines if not line.authority and _lists(line, address)]
    text = "".join(f"{address} {line.rest}\n" for line in own) + "".join(
        f"{','.join(line.names)} {line.rest}\n" for line in lines if line.authority
    )
    with tempfile.TemporaryDirectory(prefix="mlops-signature-") as folder:
        file, signers = Path(folder) / "signature", Path(folder) / "signers"
        file.write_bytes(signature)
        signers.write_text(text, encoding="utf-8")
        command = [program, "-Y", "verify", "-n", "git", "-s", str(file), "-f", str(signers)]
        command += ["-I", address] if revoked is None else ["-I", address, "-r", str(revoked)]
        code, out, said = _run(command, signed)
    good = _GOOD.fullmatch(out.strip())
    if code or good is None:
        reason = " ".join((said or out).replace(folder, "").split())
        raise SignerUnknown(
            f"no valid key of {address} in gpg.ssh.allowedSignersFile has signed it ({reason})"
        )
    key = good[1]
    names = {n for line in lines if line.key == key and not line.authority for n in line.names}
    plain = {n.casefold() for n in names if not set("*?!") & set(n)}
    return Signer(key, frozenset({key, address.casefold(), *plain}))


def _lists(line: _Allowed, address: str) -> bool:
    names = {name.casefold() for name in line.names}
    return address.casefold() in names and f"!{address.casefold()}" not in names


def _allowed(file: Path) -> Iterator[_Allowed]:
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
        yield _Allowed(names, parts[1], f"SHA256:{digest}", authority)


def _by_gpg(git: Git, object_id: str, address: str) -> Signer:
    _, _, said = git.attempt("verify-tag", "--raw", object_id)
    status = [line.split()[1:] for line in said.splitlines() if line.startswith("[GNUPG:] ")]
    words = [line[0] for line in status if line]
    for fault, means in _FAULTS.items():
        if fault in words:
            raise SignerUnknown(f"its signature {means}")
    keys = [line for line in status if line and line[0] == "VALIDSIG"]
    if words.count("GOODSIG") != 1 or len(keys) != 1:
        reason = " ".join(line for line in said.splitlines() if "[GNUPG:]" not in line)
        raise SignerUnknown(f"its signature can't be checked: {reason[:200] or 'no gpg'}")
    key = keys[0][-1]
    names = _user_ids(git, key)
    if address.casefold() not in names:
        theirs = ", ".join(sorted(names)) or "nobody whom the keyring trusts"
        raise SignerUnknown(f"its key is of {theirs}, and not of {address}")
    return Signer(key, frozenset({key, *names}))


def _user_ids(git: Git, key: str) -> set[str]:
    """The addresses of a key's user IDs that the keyring holds for valid."""
    program = git.ask("config", "gpg.openpgp.program") or git.ask("config", "gpg.program") or "gpg"
    _, listed, _ = _run([program, "--batch", "--with-colons", "--list-keys", key], b"")
    rows = [line.split(":") for line in listed.splitlines()]
    names = (row[9] for row in rows if row[0] == "uid" and row[1] in _VALID and len(row) > 9)  # noqa: PLR2004
    return {name.rpartition("<")[2].rstrip(">").strip().casefold() for name in names}


def path_setting(git: Git, key: str) -> Path | None:
    """A path from Git's settings; a relative one is seen from the repository's top, as by Git."""
    value = git.ask("config", "--type=path", key)
    if not value:
        return None
    top = git.ask("rev-parse", "--show-toplevel") or str(git.root)
    return Path(top) / value


def _run(command: list[str], given: bytes) -> tuple[int, str, str]:
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    return (
        done.returncode,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
