"""The commit of a version: its content and its signature."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlops_cli.errors import NotProject
from mlops_cli.project.git import Git
from mlops_cli.registry.commit_outputs import PipelineFiles, commit_of, require_clean_workspace
from mlops_cli.registry.git_tags import new_tag


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("place", [".", "teams/risk/çhurn"])
def test_staged_work_under_another_change_is_refused_also_in_a_subfolder(tmp_path, place):
    project = tmp_path / place
    project.mkdir(parents=True, exist_ok=True)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "Ann")
    git(tmp_path, "config", "user.email", "ann@example.org")
    (project / "dvc.yaml").write_text("stages: {}\n")
    params = project / "params.yaml"
    for text, step in (
        ("trials: 3\n", ("add", "--all")),
        (None, ("commit", "--quiet", "--message", "x")),
        ("trials: 5\n", ("add", "params.yaml")),
    ):
        if text is not None:
            params.write_text(text)
        git(project, *step)
    params.write_text("trials: 2\n")
    owned = PipelineFiles({"stages": {"tune": {"params": ["trials"]}}}, {})
    with pytest.raises(NotProject, match=r"params\.yaml \(staged, then changed\)"):
        require_clean_workspace(Git(project), owned)
    params.write_text("trials: 5\n")
    require_clean_workspace(Git(project), owned)


def test_a_repository_of_another_owner_is_refused_with_gits_own_remedy(tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(NotProject, match="another user owns it") as refused:
        Git(tmp_path).resolve("HEAD")
    assert f"git config --global --add safe.directory {tmp_path}" in refused.value.hint


@pytest.fixture
def signing(tmp_path):
    """A repository that signs with an SSH key, in a subfolder's project."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True
    )
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "allowed").write_text(f"ann@example.org {public}")
    project = tmp_path / "repo" / "teams" / "risk"
    project.mkdir(parents=True)
    git(tmp_path / "repo", "init", "--quiet")
    for name, value in {
        "user.name": "Ann",
        "user.email": "ann@example.org",
        "gpg.format": "ssh",
        "user.signingkey": str(tmp_path / "key"),
        "gpg.ssh.allowedSignersFile": str(tmp_path / "allowed"),
        "commit.gpgsign": "true",
        "tag.gpgsign": "true",
    }.items():
        git(project, "config", name, value)
    (project / "dvc.lock").write_text("a\n")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "x")
    (project / "dvc.lock").write_text("b\n")
    return project


def test_a_versions_commit_and_tag_are_signed_if_git_is_set_to_sign(signing):
    commit = commit_of(Git(signing), ["dvc.lock"], "Register\n")
    git(signing, "verify-commit", commit)
    tag = new_tag(Git(signing), "risk@v0.1.0", commit, "Register\n\nSHA: 1\n# kept")
    git(signing, "update-ref", tag.ref, tag.new)
    git(signing, "verify-tag", "risk@v0.1.0")
    assert "# kept" in Git(signing).run("cat-file", "tag", tag.new)
    git(signing, "config", "commit.gpgsign", "false")
    git(signing, "config", "tag.gpgsign", "false")
    plain = commit_of(Git(signing), ["dvc.lock"], "Register again\n")
    assert "gpgsig" not in Git(signing).run("cat-file", "commit", plain)
    unsigned = new_tag(Git(signing), "risk@v0.2.0", plain, "x")
    assert "SIGNATURE" not in Git(signing).run("cat-file", "tag", unsigned.new)


def test_a_commit_that_cannot_be_signed_says_which_key_is_missing(signing):
    git(signing, "config", "user.signingkey", str(signing / "gone"))
    with pytest.raises(NotProject, match=r"commit can't be signed with gpg\.format ssh"):
        commit_of(Git(signing), ["dvc.lock"], "Register\n")
