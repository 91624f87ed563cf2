"""A Git repository with versions but without data, its stages with rules; people's keys."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_projects import done

from mlops_cli import params as parameters
from mlops_cli.layout import Layout
from mlops_cli.promotion.promote import approve as give_approval
from mlops_cli.promotion.promote import promote as put
from mlops_cli.registry.session import Session

PARAMS = """\
project: {name: shop}
task: {type: regression}
ingest: {sources: {orders: {uri: orders.csv}}}
featurize: {base: orders, target: price}
register:
  name: shop
  stages:
    staging: {}
    production: RULE
"""
TWO_SIGNED = "{approvals: 2, approvers: [ann@example.org, bo@example.org], signed: true}"
PEOPLE = ("ann", "bo", "mallory")


def make(folder: Path, rule: str = TWO_SIGNED) -> Path:
    """A clone with the versions v0.1.0 and v0.2.0, and its remote; keys beside it."""
    root, remote = folder / "shop", folder / "shop.git"
    done(folder, "git", "init", "-q", "--bare", "-b", "main", str(remote))
    done(folder, "git", "clone", "-q", str(remote), str(root))
    done(root, "git", "checkout", "-q", "-b", "main")
    done(root, "git", "config", "user.name", "Seed")
    done(root, "git", "config", "user.email", "seed@example.org")
    (root / ".gitignore").write_text(".mlops/\n")
    (root / "params.yaml").write_text(PARAMS.replace("RULE", rule))
    done(root, "git", "add", "--all")
    for n in (1, 2):
        done(root, "git", "commit", "-q", "--allow-empty", "-m", f"v0.{n}.0")
        message = f"shop v0.{n}.0\n\nBundle: {str(n) * 64}\n"
        done(root, "git", "tag", "-a", f"shop@v0.{n}.0", "-m", message)
    done(root, "git", "push", "-q", "origin", "main", "--tags")
    done(root, "git", "remote", "set-url", "origin", "../shop.git")
    return root


def copied(root: Path, folder: Path) -> Path:
    """A copy of all, which a test may change."""
    shutil.copytree(root.parent, folder, dirs_exist_ok=True)
    return folder / root.name


def set_rule(root: Path, rule: str, *, push: bool = True) -> None:
    """Commit another rule of production."""
    text = (root / "params.yaml").read_text()
    start = text.index("    production: ")
    (root / "params.yaml").write_text(f"{text[:start]}    production: {rule}\n")
    done(root, "git", "commit", "-qam", f"production: {rule}")
    if push:
        done(root, "git", "push", "-q", "origin", "main")


def keys(folder: Path, people: tuple[str, ...] = PEOPLE) -> None:
    """An SSH key for each of them."""
    for who in people:
        done(folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / who))


def public(folder: Path, who: str) -> str:
    return (folder / f"{who}.pub").read_text().strip()


def allow(root: Path, *lines: str) -> None:
    """Write the file of allowed signers, and let Git sign by SSH."""
    file = root.parent / "allowed"
    file.write_text("\n".join(lines) + "\n")
    for name, value in {"gpg.format": "ssh", "gpg.ssh.allowedSignersFile": str(file)}.items():
        done(root, "git", "config", name, value)


def listed(folder: Path, *people: str) -> list[str]:
    """Lines of allowed signers: each key for its own address."""
    return [f"{who}@example.org {public(folder, who)}" for who in people or PEOPLE]


@contextmanager
def acting(root: Path, address: str, key: str | None = None) -> Iterator[None]:
    """Git's identity and key, while the block runs."""
    if key is not None:
        done(root, "git", "config", "user.signingkey", str(root.parent / key))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_EMAIL", address)
        patch.setenv("GIT_COMMITTER_NAME", address.partition("@")[0].title())
        yield


def session(root: Path, notes: list[str] | None = None, *, local: bool = False):  # type: ignore[no-untyped-def]
    layout = Layout(root)
    note = (lambda _: None) if notes is None else notes.append
    return Session.open(parameters.load(layout.params), layout, local=local, note=note)


def approve(
    root: Path,
    who: str,
    *,
    key: str | None = None,
    version: str = "v0.2.0",
    stage: str = "production",
    notes: list[str] | None = None,
) -> str:
    """Approve as somebody, signed with a key if one is given."""
    address = who if "@" in who else f"{who}@example.org"
    with acting(root, address, key), session(root, notes) as one:
        return give_approval(one, version, stage, sign=key is not None)


def promote(root: Path, version: str = "v0.2.0", stage: str = "production", **options):
    with session(root, **options) as one:
        return put(one, version, stage)[0]


def tag_by_hand(root: Path, name: str, content: bytes) -> str:
    """A reference to an object that Git's own commands would not make."""
    made = subprocess.run(
        ["git", "hash-object", "-t", "tag", "-w", "--literally", "--stdin"],
        cwd=root,
        input=content,
        capture_output=True,
        check=True,
    )
    object_id = made.stdout.decode().strip()
    done(root, "git", "update-ref", f"refs/tags/{name}", object_id)
    return object_id


def object_of(root: Path, reference: str) -> str:
    return done(root, "git", "rev-parse", reference).strip()
