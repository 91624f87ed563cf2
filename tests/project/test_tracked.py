"""Checks of a project's files before its paths are used."""

from __future__ import annotations

import os
import subprocess

import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.project.git import Git
from mlops_cli.project.tracked import refuse_unsafe, tracked_files

NAMES = ("dvc.lock", "dvc.yaml", ".dvc/config", "reports/metrics.json", "models/registration.json")


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_where_a_file_is_read_is_refused_before_it_is_opened(tmp_path, name, with_git):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if with_git:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    refuse_unsafe(tmp_path)
    os.mkfifo(path)
    with pytest.raises(DataRefused, match="is a pipe") as caught:
        refuse_unsafe(tmp_path)
    assert name in caught.value.message
    assert caught.value.exit_code == 4


def test_a_link_to_a_pipe_is_refused_and_one_to_a_file_is_not(tmp_path):
    (tmp_path / "other").write_text("")
    (tmp_path / "dvc.lock").symlink_to("other")
    (tmp_path / "dvc.yaml").symlink_to("nothing")
    refuse_unsafe(tmp_path)
    os.mkfifo(tmp_path / "nothing")
    with pytest.raises(DataRefused, match=r"dvc\.yaml"):
        refuse_unsafe(tmp_path)


@pytest.fixture
def repository(tmp_path):
    """A repository whose index was written a while ago."""
    git(tmp_path, "init", "-q")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("")
    git(tmp_path, "add", ".")
    os.utime(tmp_path / ".git" / "index", (1, 1))
    return tmp_path


def git(root, *arguments):
    subprocess.run(["git", *arguments], cwd=root, check=True)


def test_git_is_asked_once_for_one_checkout(repository, monkeypatch):
    asked = []
    try_run = Git.try_run

    def counted(self, *arguments):
        asked.append(arguments[0])
        return try_run(self, *arguments)

    monkeypatch.setattr(Git, "try_run", counted)
    refuse_unsafe(repository)
    refuse_unsafe(repository)
    assert tracked_files(repository) == ["data/a.csv"]
    assert asked.count("ls-files") == 1


def test_a_changed_checkout_is_looked_at_again(repository):
    refuse_unsafe(repository)
    (repository / "b.csv").symlink_to("/etc/passwd")
    git(repository, "add", "b.csv")
    os.utime(repository / ".git" / "index", (1, 1))
    with pytest.raises(DataRefused, match="which is not in this repository"):
        refuse_unsafe(repository)
    assert tracked_files(repository) == ["b.csv", "data/a.csv"]


def test_a_link_that_was_turned_is_seen_though_git_was_told_nothing(repository):
    (repository / "b.csv").symlink_to("data/a.csv")
    git(repository, "add", "b.csv")
    os.utime(repository / ".git" / "index", (1, 1))
    refuse_unsafe(repository)
    (repository / "b.csv").unlink()
    (repository / "b.csv").symlink_to("/etc/passwd")
    with pytest.raises(DataRefused, match="which is not in this repository"):
        refuse_unsafe(repository)


def test_tracked_files_are_named_from_the_project_on(repository):
    assert tracked_files(repository / "data") == ["a.csv"]
