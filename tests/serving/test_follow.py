"""The look at a stage that a service repeats: cheap while nothing changes, and never too late."""

from __future__ import annotations

import os
import subprocess

import pytest
import signed_projects as made
from signed_projects import allow, approve, done, listed, promote

from mlops_cli.errors import NotFound
from mlops_cli.serving import follow
from mlops_cli.serving.follow import TrustedRegistry

SSH_KEYGEN = """\
#!/bin/sh
echo "$@" >> "{log}"
exec {real} "$@"
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("followed")
    made.keys(folder)
    root = made.make(folder)
    allow(root, *listed(folder))
    approve(root, "ann", key="ann")
    approve(root, "bo", key="bo")
    promote(root)
    return root


@pytest.fixture
def root(template, tmp_path):
    copy = made.copied(template, tmp_path)
    allow(copy, *listed(copy.parent))
    return copy


@pytest.fixture
def verifications(tmp_path, monkeypatch):
    """How often ssh-keygen has been started."""
    real = subprocess.run(
        ["sh", "-c", "command -v ssh-keygen"], capture_output=True, text=True, check=True
    ).stdout.strip()
    folder, log = tmp_path / "bin", tmp_path / "started"
    folder.mkdir()
    program = folder / "ssh-keygen"
    program.write_text(SSH_KEYGEN.format(log=log, real=real))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda: len(log.read_text().splitlines()) if log.exists() else 0


def test_nothing_is_verified_again_while_nothing_changes(root, verifications):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    first = verifications()
    assert first == 2
    for _ in range(5):
        assert registry.current().find("production").number == "v0.2.0"
    assert verifications() == first


def approval_of(root, who):
    (tag,) = (
        t
        for t in done(root, "git", "tag", "--list").split()
        if who in done(root, "git", "cat-file", "tag", t)
        and "BEGIN SSH" in done(root, "git", "cat-file", "tag", t)
    )
    return tag


def test_a_tag_that_goes_or_comes_is_noticed(root):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    done(root, "git", "tag", "-d", approval_of(root, "ann@"))
    with pytest.raises(NotFound):
        registry.current().find("production")
    for who in ("ann", "bo"):
        approve(root, who, key=who, version="v0.1.0")
    promote(root, "v0.1.0")
    assert registry.current().find("production").number == "v0.1.0"


def test_a_tag_that_was_moved_is_noticed(root):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    done(root, "git", "tag", "-f", approval_of(root, "ann@"), approval_of(root, "bo@"))
    with pytest.raises(NotFound):
        registry.current().find("production")


@pytest.mark.parametrize("change", ["signers", "revoked", "setting", "rules"])
def test_whatever_a_verdict_rests_on_is_noticed(root, change):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    if change == "signers":
        allow(root, *listed(root.parent, "ann"))
    elif change == "revoked":
        done(root, "git", "config", "gpg.ssh.revocationFile", str(root.parent / "bo.pub"))
    elif change == "setting":
        done(root, "git", "config", "--unset", "gpg.ssh.allowedSignersFile")
    else:
        done(root, "git", "update-ref", "-d", "refs/remotes/origin/main")
        done(root, "git", "checkout", "-q", "--detach")
        done(root, "git", "branch", "-D", "main")
    with pytest.raises(NotFound):
        registry.current().find("production")


def test_a_key_that_expires_is_noticed_without_a_change(root, verifications, monkeypatch):
    registry = TrustedRegistry(root, "shop")
    registry.current()
    before = verifications()
    monkeypatch.setattr(follow, "_REVERIFY_SECONDS", -1.0)
    registry.current()
    assert verifications() == 2 * before


def test_the_keyring_of_gnupg_counts(root, verifications, tmp_path, monkeypatch):
    home = tmp_path / "gnupg"
    home.mkdir()
    monkeypatch.setenv("GNUPGHOME", str(home))
    registry = TrustedRegistry(root, "shop")
    registry.current()
    before = verifications()
    (home / "trustdb.gpg").write_bytes(b"changed")
    registry.current()
    assert verifications() == 2 * before
