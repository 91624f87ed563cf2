"""A Git repository with versions (without data) and stage rules, and signing keys."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_projects import run_command

from mlops_cli import params as parameters
from mlops_cli.layout import Layout
from mlops_cli.promotion.promote import approve as give_approval
from mlops_cli.promotion.promote import promote as promote_version
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


def create_project(folder: Path, rule: str = TWO_SIGNED) -> Path:
    """Create a clone with the versions v0.1.0 and v0.2.0, and its remote."""
    root, remote = folder / "shop", folder / "shop.git"
    run_command(folder, "git", "init", "-q", "--bare", "-b", "main", str(remote))
    run_command(folder, "git", "clone", "-q", str(remote), str(root))
    run_command(root, "git", "checkout", "-q", "-b", "main")
    run_command(root, "git", "config", "user.name", "Seed")
    run_command(root, "git", "config", "user.email", "seed@example.org")
    (root / ".gitignore").write_text(".mlops/\n")
    (root / "params.yaml").write_text(PARAMS.replace("RULE", rule))
    run_command(root, "git", "add", "--all")
    for n in (1, 2):
        run_command(root, "git", "commit", "-q", "--allow-empty", "-m", f"v0.{n}.0")
        message = f"shop v0.{n}.0\n\nBundle: {str(n) * 64}\n"
        run_command(root, "git", "tag", "-a", f"shop@v0.{n}.0", "-m", message)
    run_command(root, "git", "push", "-q", "origin", "main", "--tags")
    run_command(root, "git", "remote", "set-url", "origin", "../shop.git")
    return root


def copy_project(root: Path, folder: Path) -> Path:
    """Copy everything, so that a test may change it."""
    shutil.copytree(root.parent, folder, dirs_exist_ok=True)
    return folder / root.name


def set_rule(root: Path, rule: str, *, push: bool = True) -> None:
    """Commit another rule for production."""
    text = (root / "params.yaml").read_text()
    start = text.index("    production: ")
    (root / "params.yaml").write_text(f"{text[:start]}    production: {rule}\n")
    run_command(root, "git", "commit", "-qam", f"production: {rule}")
    if push:
        run_command(root, "git", "push", "-q", "origin", "main")


def create_keys(folder: Path, people: tuple[str, ...] = PEOPLE) -> None:
    """Create an SSH key for each person."""
    for person in people:
        run_command(
            folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / person)
        )


def public_key(folder: Path, person: str) -> str:
    return (folder / f"{person}.pub").read_text().strip()


def set_allowed_signers(root: Path, *lines: str) -> None:
    """Write the allowed signers file, and make Git sign with SSH."""
    file = root.parent / "allowed"
    file.write_text("\n".join(lines) + "\n")
    for name, value in {"gpg.format": "ssh", "gpg.ssh.allowedSignersFile": str(file)}.items():
        run_command(root, "git", "config", name, value)


def signer_lines(folder: Path, *people: str) -> list[str]:
    """Lines of an allowed signers file: each key with its own address."""
    return [f"{person}@example.org {public_key(folder, person)}" for person in people or PEOPLE]


@contextmanager
def git_identity(root: Path, address: str, key: str | None = None) -> Iterator[None]:
    """Set Git's identity and key while the block runs."""
    if key is not None:
        run_command(root, "git", "config", "user.signingkey", str(root.parent / key))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_EMAIL", address)
        patch.setenv("GIT_COMMITTER_NAME", address.partition("@")[0].title())
        yield


def open_session(root: Path, notes: list[str] | None = None, *, local: bool = False):  # type: ignore[no-untyped-def]
    layout = Layout(root)
    note = (lambda _: None) if notes is None else notes.append
    return Session.open(parameters.load(layout.params), layout, local=local, note=note)


def approve(
    root: Path,
    person: str,
    *,
    key: str | None = None,
    version: str = "v0.2.0",
    stage: str = "production",
    notes: list[str] | None = None,
) -> str:
    """Approve as a person, signed with a key if there is one."""
    address = person if "@" in person else f"{person}@example.org"
    with git_identity(root, address, key), open_session(root, notes) as one:
        return give_approval(one, version, stage, sign=key is not None)


def promote(root: Path, version: str = "v0.2.0", stage: str = "production", **options):
    with open_session(root, **options) as one:
        return promote_version(one, version, stage)[0]


def create_raw_tag(root: Path, name: str, content: bytes) -> str:
    """Create a tag whose object Git's commands would refuse to make."""
    completed = subprocess.run(
        ["git", "hash-object", "-t", "tag", "-w", "--literally", "--stdin"],
        cwd=root,
        input=content,
        capture_output=True,
        check=True,
    )
    object_id = completed.stdout.decode().strip()
    run_command(root, "git", "update-ref", f"refs/tags/{name}", object_id)
    return object_id


def object_id(root: Path, reference: str) -> str:
    return run_command(root, "git", "rev-parse", reference).strip()
