"""Limits of the commits that are listed and checked out."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.project import dvc_lock
from mlops_cli.project.dvc_lock import files_at_commit, lock_at, refuse_large
from mlops_cli.project.git import Git


def git(root: Path, *words: str, given: str = "") -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words],
        cwd=root, input=given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    return tmp_path


def test_a_commit_of_ten_billion_files_is_refused_at_once(root: Path) -> None:
    tree = git(root, "hash-object", "-w", "--stdin", given="x")
    kind = "100644 blob"
    for _ in range(10):
        entries = "".join(f"{kind} {tree}\t{n}\n" for n in range(10))
        tree, kind = git(root, "mktree", given=entries), "040000 tree"
    commit = git(root, "commit-tree", tree, "-m", "bomb")
    started = time.perf_counter()
    for look in (lambda: lock_at(root, commit), lambda: files_at_commit(root, commit).__enter__()):
        with pytest.raises(DataRefused, match="more than 200,000 files in Git"):
            look()
    assert time.perf_counter() - started < 20


def test_files_too_large_for_git_are_refused_before_they_are_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc_lock, "_MAX_BYTES", 1 << 20)
    (root / "zeros").write_bytes(bytes((1 << 20) + 1))
    git(root, "add", "--all")
    git(root, "commit", "-qm", "Zeros")
    commit = git(root, "rev-parse", "HEAD")
    with pytest.raises(DataRefused, match="of files in Git"), files_at_commit(root, commit):
        pass
    refuse_large(Git(root), commit, sizes=False)


def test_a_commit_that_comes_with_a_fetch_has_its_lock_then(root: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    git(theirs, "init", "-q", "-b", "main")
    (theirs / "dvc.lock").write_text("stages: {ingest: {outs: []}}\n")
    git(theirs, "add", "--all")
    git(theirs, "commit", "-qm", "A run")
    commit = git(theirs, "rev-parse", "HEAD")
    assert lock_at(root, commit) is None
    git(root, "fetch", "-q", str(theirs), "main")
    lock = lock_at(root, commit)
    assert lock is not None
    assert lock.stages == ("ingest",)
    assert lock_at(root, commit) is lock
