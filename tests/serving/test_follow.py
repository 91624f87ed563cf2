"""Repeated checks of a followed stage: cheap without changes, and prompt after one."""

from __future__ import annotations

import os
import subprocess

import approval_projects as projects
import pytest
from approval_projects import approve, promote, run_command, set_allowed_signers, signer_lines

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
    projects.create_keys(folder)
    root = projects.create_project(folder)
    set_allowed_signers(root, *signer_lines(folder))
    approve(root, "ann", key="ann")
    approve(root, "bo", key="bo")
    promote(root)
    return root


@pytest.fixture
def root(template, tmp_path):
    copy = projects.copy_project(template, tmp_path)
    set_allowed_signers(copy, *signer_lines(copy.parent))
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
        for t in run_command(root, "git", "tag", "--list").split()
        if who in run_command(root, "git", "cat-file", "tag", t)
        and "BEGIN SSH" in run_command(root, "git", "cat-file", "tag", t)
    )
    return tag


def test_a_tag_that_goes_or_comes_is_noticed(root):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    run_command(root, "git", "tag", "-d", approval_of(root, "ann@"))
    with pytest.raises(NotFound):
        registry.current().find("production")
    for who in ("ann", "bo"):
        approve(root, who, key=who, version="v0.1.0")
    promote(root, "v0.1.0")
    assert registry.current().find("production").number == "v0.1.0"


def test_a_tag_that_was_moved_is_noticed(root):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    run_command(root, "git", "tag", "-f", approval_of(root, "ann@"), approval_of(root, "bo@"))
    with pytest.raises(NotFound):
        registry.current().find("production")


@pytest.mark.parametrize("change", ["signers", "revoked", "setting", "rules"])
def test_whatever_a_verdict_rests_on_is_noticed(root, change):
    registry = TrustedRegistry(root, "shop")
    assert registry.current().find("production").number == "v0.2.0"
    if change == "signers":
        set_allowed_signers(root, *signer_lines(root.parent, "ann"))
    elif change == "revoked":
        run_command(root, "git", "config", "gpg.ssh.revocationFile", str(root.parent / "bo.pub"))
    elif change == "setting":
        run_command(root, "git", "config", "--unset", "gpg.ssh.allowedSignersFile")
    else:
        run_command(root, "git", "update-ref", "-d", "refs/remotes/origin/main")
        run_command(root, "git", "checkout", "-q", "--detach")
        run_command(root, "git", "branch", "-D", "main")
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
