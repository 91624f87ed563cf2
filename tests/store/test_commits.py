"""What a version's commit may hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlops_cli.errors import NotProject
from mlops_cli.store.commits import Owned, refuse_foreign
from mlops_cli.store.git import Git


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
    owned = Owned({"stages": {"tune": {"params": ["trials"]}}}, {})
    with pytest.raises(NotProject, match=r"params\.yaml \(staged, then changed\)"):
        refuse_foreign(Git(project), owned)
    params.write_text("trials: 5\n")
    refuse_foreign(Git(project), owned)


def test_a_repository_of_another_owner_is_refused_with_gits_own_remedy(tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(NotProject, match="another user owns it") as refused:
        Git(tmp_path).resolve("HEAD")
    assert f"git config --global --add safe.directory {tmp_path}" in refused.value.hint
