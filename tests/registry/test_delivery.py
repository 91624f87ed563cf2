"""A version's bundle is fetched by its hash, completely or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import registry_projects as projects

from mlops_cli.cli.app import main
from mlops_cli.errors import DataRefused, NotFound, SourceUnreadable, Usage
from mlops_cli.models import bundle
from mlops_cli.project.dvc_objects import Objects
from mlops_cli.registry.fetch_bundle import bundle_md5, pull_bundle


def state(project: Path) -> tuple[str, bytes, bytes]:
    """What a pull of a bundle must not touch."""
    index = (project / ".git" / "index").read_bytes()
    status = projects.run(project, "git", "--no-optional-locks", "status", "--porcelain")
    return status, index, (project / "dvc.lock").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def without_data(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / "models" / "model")


def test_a_bundle_comes_from_the_cache_and_the_workspace_stays(project: Path) -> None:
    before = state(project)
    folder = pull_bundle(project, projects.find_version(project))
    assert folder == project / ".mlops" / "models" / "toy@v0.1.0"
    assert contents(folder) == contents(project / "models" / "model")
    bundle.load(folder)
    assert state(project) == before


def test_from_the_cache_it_needs_no_dvc(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mlops_cli.registry.git_tags import read;"
        "from mlops_cli.registry.fetch_bundle import pull_bundle; root = Path.cwd();"
        "pull_bundle(root, read(root, 'toy').find('latest')); assert 'dvc' not in sys.modules"
    )
    projects.run(project, sys.executable, "-c", code)


def test_what_is_not_in_the_cache_comes_from_the_remote(project: Path) -> None:
    projects.push_all(project)
    expected = contents(project / "models" / "model")
    without_data(project)
    before = state(project)
    folder = pull_bundle(project, projects.find_version(project), into=project.parent / "out")
    assert contents(folder) == expected
    assert state(project) == before
    shutil.rmtree(project.parent / "kept")
    assert contents(pull_bundle(project, projects.find_version(project))) == expected, (
        "now it is cached"
    )


def test_a_cache_elsewhere_is_found(project: Path) -> None:
    shutil.move(project / ".dvc" / "cache", project.parent / "shared")
    projects.run(project, *projects.DVC, "cache", "dir", "--local", "../shared")
    shutil.rmtree(project.parent / "kept")
    bundle.verify(pull_bundle(project, projects.find_version(project)))


def test_another_remote_that_has_it_is_asked_too(project: Path) -> None:
    projects.run(project, *projects.DVC, "remote", "add", "other", "../other")
    projects.run(project, *projects.DVC, "push", "-q", "-r", "other")
    without_data(project)
    bundle.verify(pull_bundle(project, projects.find_version(project)))


def test_a_project_in_a_subfolder_of_its_repository_is_served(
    delivered: Path, tmp_path: Path
) -> None:
    inner = tmp_path / "outer" / "inner"
    shutil.copytree(delivered, inner)
    shutil.rmtree(inner / ".git")
    outer = inner.parent
    projects.run(outer, "git", "init", "-q", "-b", "main")
    projects.run(outer, "git", "config", "user.name", "Ann")
    projects.run(outer, "git", "config", "user.email", "ann@example.org")
    projects.commit(outer, "All")
    projects.tag_version(inner, "v0.1.0")
    bundle.verify(pull_bundle(inner, projects.find_version(inner)))


def test_a_second_pull_mends_what_was_changed_in_its_own_folder(project: Path) -> None:
    folder = pull_bundle(project, projects.find_version(project))
    projects.change_byte(folder / "encoder.json")
    bundle.verify(pull_bundle(project, projects.find_version(project)))


def test_one_byte_in_any_file_of_the_cache_is_refused_by_name(project: Path) -> None:
    version = projects.find_version(project)
    whole = bundle_md5(project, version)
    files = Objects(project).tree(whole, "models/model")
    for name, md5 in {**files, "": whole}.items():
        projects.change_byte(projects.cache_path(project, md5))
        with pytest.raises(DataRefused, match=f"models/model.*{name}.* was changed in DVC's cache"):
            pull_bundle(project, version)
        projects.change_byte(projects.cache_path(project, md5))
        assert not (project / ".mlops" / "models" / "toy@v0.1.0").exists()
    bundle.verify(pull_bundle(project, version))


def test_one_byte_in_the_remote_is_refused_and_not_cached(project: Path) -> None:
    projects.push_all(project)
    version = projects.find_version(project)
    files = Objects(project).tree(bundle_md5(project, version), "models/model")
    md5 = files["encoder.json"]
    without_data(project)
    projects.change_byte(project.parent / "kept" / "files" / "md5" / md5[:2] / md5[2:])
    with pytest.raises(DataRefused, match=r"models/model/encoder\.json was changed in the remote"):
        pull_bundle(project, version)
    assert not projects.cache_path(project, md5).exists()


def test_a_bundle_other_than_its_tag_states_is_refused(project: Path) -> None:
    message = f"Register\n\nBundle: {'0' * 64}\n"
    projects.run(project, "git", "tag", "-a", "toy@v0.2.0", "-m", message)
    with pytest.raises(DataRefused, match=r"toy@v0\.2\.0 states bundle 000000000000, but"):
        pull_bundle(project, projects.find_version(project))


@pytest.mark.parametrize("there", [True, False], ids=["no model in it", "no dvc.lock"])
def test_a_tag_on_a_commit_without_a_model_is_said(project: Path, there: bool) -> None:
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    if not there:
        (project / "dvc.lock").unlink()
    projects.commit(project, "No model")
    projects.tag_version(project, "v0.2.0")
    with pytest.raises(NotFound, match=r"tag toy@v0\.2\.0 points at a commit without a model"):
        pull_bundle(project, projects.find_version(project))


def test_what_is_nowhere_is_said_with_what_was_tried(project: Path) -> None:
    without_data(project)
    with pytest.raises(NotFound, match=r"neither in DVC's cache nor in kept \(") as caught:
        pull_bundle(project, projects.find_version(project))
    assert "mlops push" in caught.value.hint
    projects.run(project, *projects.DVC, "remote", "remove", "kept")
    with pytest.raises(NotFound, match="has no DVC remote") as caught:
        pull_bundle(project, projects.find_version(project))
    assert "dvc remote add" in caught.value.hint


def test_an_unknown_remote_is_corrected(project: Path) -> None:
    without_data(project)
    with pytest.raises(NotFound) as caught:
        pull_bundle(project, projects.find_version(project), remote="kpet")
    assert caught.value.hint == "Did you mean 'kept'?"


def test_a_remote_that_cannot_be_reached_is_not_an_empty_one(project: Path) -> None:
    without_data(project)
    shutil.rmtree(project.parent / "kept")
    with pytest.raises(SourceUnreadable, match="there is no folder"):
        pull_bundle(project, projects.find_version(project))


def test_a_folder_of_other_things_is_never_replaced(project: Path) -> None:
    mine = project.parent / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(Usage, match="holds something else"):
        pull_bundle(project, projects.find_version(project), into=mine)
    assert contents(mine) == {"thesis.tex": b"x"}


def test_a_killed_pull_leaves_nothing_in_place(project: Path) -> None:
    # A pipe in place of an object: the copy waits for ever just before the bundle is whole.
    files = Objects(project).tree(
        bundle_md5(project, projects.find_version(project)), "models/model"
    )
    place = projects.cache_path(project, files["signature.json"])
    kept = place.read_bytes()
    place.unlink()
    os.mkfifo(place)
    code = (
        "from pathlib import Path; from mlops_cli.project import dvc_objects;"
        "from mlops_cli.registry.git_tags import read; from mlops_cli.registry import fetch_bundle;"
        "dvc_objects.Objects.cached_path = lambda self, md5: self._cache / md5[:2] / md5[2:];"
        "root = Path.cwd(); fetch_bundle.pull_bundle(root, read(root, 'toy').find('latest'))"
    )
    folder = project / ".mlops" / "models"
    with subprocess.Popen([sys.executable, "-c", code], cwd=project) as running:
        while not list(folder.glob(".toy*/program.json")):
            assert running.poll() is None
        running.kill()
    assert not (folder / "toy@v0.1.0").exists()
    place.unlink()
    place.write_bytes(kept)
    bundle.verify(pull_bundle(project, projects.find_version(project)))
    assert [p.name for p in folder.iterdir()] == ["toy@v0.1.0"]


def test_the_command_says_where_it_is(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["models", "pull", "latest", "-o", "out"]) == 0
    assert f"toy@v0.1.0 is in {project / 'out'}" in capsys.readouterr().out
    bundle.verify(project / "out")
    assert main(["models", "pull", "v0.9.0"]) == 7
    assert "has no version or stage 'v0.9.0'" in capsys.readouterr().err
