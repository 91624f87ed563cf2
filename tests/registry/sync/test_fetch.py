"""Repeated fetches of a service from the Git remote, also with network errors."""

import subprocess
import threading
import time

import pytest

from mlops_cli.errors import BadParams, NotFound, Usage
from mlops_cli.project.git import Git
from mlops_cli.registry.sync.fetch import Fetcher, fetcher


def git(folder, *words):
    subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b", *words], cwd=folder, check=True
    )


@pytest.fixture
def clone(tmp_path):
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "origin.git")
    git(tmp_path, "init", "-q", "-b", "main", "other")
    git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "One")
    git(tmp_path / "other", "remote", "add", "origin", "../origin.git")
    git(tmp_path / "other", "push", "-q", "origin", "main")
    git(tmp_path, "clone", "-q", "origin.git", "clone")
    return tmp_path / "clone"


def until(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError


def test_what_a_colleague_pushes_arrives_and_local_branches_stay(clone):
    running = Fetcher(Git(clone), "origin", 0.2)
    running.start()
    other = clone.with_name("other")
    git(other, "commit", "-q", "--allow-empty", "-m", "Two")
    git(other, "tag", "-am", "second", "shop#production#2")
    git(other, "push", "-q", "origin", "main", "--tags")
    until(lambda: Git(clone).try_run("tag", "--list") == "shop#production#2")
    running.stop()
    assert Git(clone).resolve("origin/main") != Git(clone).resolve("main")
    assert running.state()["problem"] is None
    assert running.age < 10


def test_a_remote_that_is_away_is_noted_once_and_asked_again(clone):
    away, origin, notes = clone.with_name("away"), clone.with_name("origin.git"), []
    origin.rename(away)
    running = Fetcher(Git(clone), "origin", 0.05, notes.append)
    running.start()
    until(lambda: running.failures > 2)
    assert "fetching from origin failed" in running.state()["problem"]
    assert len(notes) == 1
    away.rename(origin)
    until(lambda: running.problem is None)
    running.stop()
    assert notes[1:] == ["the Git remote origin is reached again"]


def test_a_remote_that_never_answers_is_ended_with_its_children(clone, tmp_path, monkeypatch):
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 100\n")
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    git(clone, "remote", "set-url", "origin", "ssh://nowhere/x.git")
    start = time.monotonic()
    code, _ = Git(clone).run_with_timeout(
        "fetch", "origin", timeout=0.5, stop_event=threading.Event()
    )
    assert code is None
    running = Fetcher(Git(clone), "origin", 0.1)
    running.start()
    until((tmp_path / "pid").exists)
    running.stop()
    assert time.monotonic() - start < 10
    pid = (tmp_path / "pid").read_text().strip()
    until(lambda: subprocess.run(["kill", "-0", pid], capture_output=True, check=False).returncode)


def test_how_often_is_a_span_and_the_default_needs_a_remote(clone, tmp_path):
    def made(wanted, default="30s", root=clone):
        return fetcher(root, wanted, default, print)

    assert made(None).state()["every_seconds"] == 30
    assert made("1m30s").state()["every_seconds"] == 90
    assert made("off") is None
    assert made(None, None) is None
    for text in ("10", "0s", "500ms", "2d", "soon", "1mo", "-5s"):
        with pytest.raises(Usage, match="takes a span from 1s to 1d"):
            made(text)
        with pytest.raises(BadParams, match=r"serve.fetch in params.yaml"):
            made(None, text)
    git(clone, "remote", "remove", "origin")
    assert made(None) is None
    with pytest.raises(NotFound, match="no Git remote"):
        made("30s")
