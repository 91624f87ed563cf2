"""The setup in docs/security.md does what the page says."""

import re
import subprocess
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs/security.md").read_text(encoding="utf-8")


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A clone of a bare repository whose hook is the page's; give a way to call Git there."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "ann")
        monkeypatch.setenv(f"{name}_EMAIL", "ann@example.org")

    def call(*words, folder="clone"):
        command = ["git", *words]
        return subprocess.run(
            command, cwd=tmp_path / folder, capture_output=True, text=True, check=False
        )

    call("init", "-q", "--bare", "bare", folder=".")
    call("clone", "-q", "bare", "clone", folder=".")
    call("commit", "-q", "--allow-empty", "-m", "one")
    (hook,) = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "bare/hooks/pre-receive"
    path.write_text(hook)
    path.chmod(0o755)
    return call


def tag_now(git, tag):
    """A tag as mlops makes it: by the rules of the remote's default branch."""
    tip = git("rev-parse", "HEAD", folder="bare").stdout.strip()
    git("tag", "-a", tag, "-m", f"one\n\nVersion: v0.1.0\nRules: {tip}")


def push(git, *words):
    """Push; give whether it was taken, and what was said."""
    done = git("push", "-q", "origin", *words)
    return done.returncode == 0, done.stderr


TAGS = ["shop@v0.1.0", "shop#production#1", "shop/approvals/v0.1.0/production/ann=example.org",
        "team/shop@v0.1.0", "team/shop#a#1"]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_of_the_registry_is_set_once(git, tag) -> None:
    push(git, "HEAD")
    tag_now(git, tag)
    assert push(git, tag) == (True, "")
    git("commit", "-q", "--allow-empty", "-m", "two")
    git("tag", "-f", "-a", tag, "-m", "two")
    taken, said = push(git, "--force", tag)
    assert not taken
    assert "never moved or deleted" in said
    taken, said = push(git, "--delete", tag)
    assert not taken
    assert "never moved or deleted" in said


@pytest.mark.parametrize("tag", TAGS)
def test_a_registry_tag_must_be_annotated_and_have_its_own_name(git, tag) -> None:
    git("tag", tag)
    assert "is no annotated tag" in push(git, tag)[1]
    git("tag", "-d", tag)
    git("tag", "-a", "other", "-m", "x")
    git("update-ref", f"refs/tags/{tag}", git("rev-parse", "other").stdout.strip())
    taken, said = push(git, tag)
    assert not taken
    assert "is a tag of another name: other" in said


@pytest.mark.parametrize(
    "message",
    [
        "no rules at all",
        "x\n\nRules: OLD",
        "x\n\nRules: TIP\n\nnot the last",
        "x\n\nRules: TIP\nnot all trailers",
        "x\n\nRules: TIP\nRules: OLD",
        "x\n\nRules: OLD\n-----BEGIN PGP MESSAGE-----\n\nRules: TIP",
    ],
)
def test_an_assignment_states_the_rules_of_now(git, message) -> None:
    old = git("rev-parse", "HEAD").stdout.strip()
    git("commit", "-q", "--allow-empty", "-m", "two")
    push(git, "HEAD")
    tip = git("rev-parse", "HEAD").stdout.strip()
    git("tag", "-a", "shop#a#1", "-m", message.replace("OLD", old).replace("TIP", tip))
    taken, said = push(git, "shop#a#1")
    assert not taken
    assert "shop#a#1 is not by the rules of the default branch's tip" in said
    tag_now(git, "shop#a#2")
    git("tag", "-a", "shop#a!#3", "-m", "gto empties it")
    assert push(git, "shop#a#2", "shop#a!#3") == (True, "")


def test_other_references_are_pushed_normally(git) -> None:
    git("tag", "v1")
    assert push(git, "HEAD:main", "v1") == (True, "")
    assert push(git, "--delete", "v1") == (True, "")


def test_the_lines_for_signing_by_ssh_work_as_they_stand(git, tmp_path, monkeypatch) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".config/git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    key = str(home / ".ssh/id_ed25519")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    _, _, ssh = PAGE.partition("**SSH, for a person.**")
    first, second = re.findall(r"```sh\n(.*?)```", ssh, flags=re.DOTALL)[:2]
    tag = "shop/approvals/v0.2.0/production/ann=example.org"
    lines = [line for line in (first + second).splitlines() if "mlops" not in line]
    script = "\n".join(lines).replace("NAME/", "shop/").split("git tag --verify")
    for text in (script[0], f"git tag -s -a '{tag}' -m approved", "git tag --verify" + script[1]):
        done = subprocess.run(
            ["sh", "-ec", text], cwd=tmp_path / "clone", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert 'Good "git" signature for ann@example.org' in done.stderr
