"""`mlops push` and `mlops pull`: data before tags, all or nothing, no lost work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import registry_projects as projects

from mlops_cli.cli.app import main
from mlops_cli.errors import DataRefused, NotFound, NotProject, SourceUnreadable
from mlops_cli.registry.fetch_bundle import bundle_md5
from mlops_cli.registry.git_tags import read
from mlops_cli.registry.sync.push_pull import pull, push
from mlops_cli.registry.verify import verify_version


def published(project: Path) -> list[str]:
    """References of the bare remote."""
    return projects.run(project.parent / "origin.git", "git", "for-each-ref").split()[2::3]


def moved_on(project: Path, text: str = "more\n") -> None:
    (project / "notes.txt").write_text(text)
    projects.commit(project, "Notes")


@pytest.fixture
def pair(project: Path) -> tuple[Path, Path]:
    """The project, pushed, and another clone of it that has pulled."""
    push(project, "toy")
    other = projects.clone_remote(project)
    pull(other, "toy")
    return project, other


def test_a_push_sends_data_branch_and_tags_and_says_so(project: Path) -> None:
    projects.run(project, "git", "tag", "private")
    moved = push(project, "toy")
    kept = [p for p in (project.parent / "kept").rglob("*") if p.is_file()]
    assert (moved.files, moved.bytes) == (len(kept), sum(p.stat().st_size for p in kept))
    assert moved.tags == ("toy@v0.1.0",)
    assert moved.branch == "main: new branch"
    assert published(project) == ["refs/heads/main", "refs/tags/toy@v0.1.0"]
    again = push(project, "toy")
    assert (again.files, again.tags, again.branch) == (0, (), None)


def test_a_fresh_clone_pulls_everything(project: Path) -> None:
    sent = push(project, "toy")
    other = projects.clone_remote(project)
    moved = pull(other, "toy")
    assert (moved.files, moved.bytes) == (sent.files, sent.bytes)
    assert (other / "data" / "rows.csv").read_bytes() == (
        project / "data" / "rows.csv"
    ).read_bytes()
    assert all(check.passed for check in verify_version(other, projects.find_version(other)))
    assert pull(other, "toy").files == 0


def test_a_pull_moves_the_branch_forward(pair: tuple[Path, Path]) -> None:
    project, other = pair
    moved_on(project)
    projects.tag_version(project, "v0.2.0")
    push(project, "toy")
    moved = pull(other, "toy")
    assert moved.tags == ("toy@v0.2.0",)
    assert (moved.branch or "").startswith("main: ")
    assert (other / "notes.txt").read_text() == "more\n"


def test_every_versions_bundle_goes_also_when_the_branch_moved_on(project: Path) -> None:
    first = bundle_md5(project, projects.find_version(project))
    shutil.rmtree(project.parent / "kept")
    settings = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(settings.replace("seed: 3", "seed: 4"))
    script = project / "make_model.py"
    script.write_text(script.read_text().replace("threshold=0.5", "threshold=0.6"))
    projects.run(project, *projects.DVC, "repro", "-q")
    projects.commit(project, "Second")
    assert bundle_md5(project, projects.find_version(project)) == first
    push(project, "toy")
    other = projects.clone_remote(project)
    projects.run(other, "git", "fetch", "-q", "--tags")
    assert all(check.passed for check in verify_version(other, projects.find_version(other)))


def test_without_its_data_no_tag_is_published(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    with pytest.raises(NotFound, match=r"has the bundle of toy@v0\.1\.0.*no tag was published"):
        push(project, "toy")
    assert published(project) == []


def test_what_was_changed_in_the_cache_is_not_sent(project: Path) -> None:
    md5 = bundle_md5(project, projects.find_version(project))
    projects.change_byte(projects.cache_path(project, md5))
    with pytest.raises(DataRefused, match="was changed in DVC's cache"):
        push(project, "toy")
    assert published(project) == []


def test_missing_remotes_are_explained(project: Path) -> None:
    projects.run(project, *projects.DVC, "remote", "remove", "kept")
    with pytest.raises(NotFound) as caught:
        push(project, "toy")
    assert "dvc remote add --default" in caught.value.hint
    projects.run(project, "git", "remote", "remove", "origin")
    for move in (push, pull):
        with pytest.raises(NotFound) as caught:
            move(project, "toy")
        assert "git remote add origin" in caught.value.hint


def test_an_unreachable_git_remote_is_code_6_and_sends_nothing(project: Path) -> None:
    shutil.rmtree(project.parent / "origin.git")
    for move in (push, pull):
        with pytest.raises(SourceUnreadable, match="'origin' cannot be reached"):
            move(project, "toy")
    assert list((project.parent / "kept").iterdir()) == []


def test_a_diverged_branch_is_explained_and_nothing_moves(pair: tuple[Path, Path]) -> None:
    project, other = pair
    moved_on(project)
    projects.tag_version(project, "v0.2.0")
    push(project, "toy")
    moved_on(other, "mine\n")
    head = projects.run(other, "git", "rev-parse", "HEAD")
    with pytest.raises(NotProject, match="diverged: 1 commits are only here, 1 only there"):
        pull(other, "toy")
    with pytest.raises(
        NotProject, match=r"nothing was pushed: main -> main \(fetch first|non-fast"
    ):
        push(other, "toy")
    assert projects.run(other, "git", "rev-parse", "HEAD") == head
    assert projects.run(other, "git", "tag").split() == ["toy@v0.1.0"]
    assert projects.run(other, "git", "status", "--porcelain") == ""


def test_a_tag_that_is_another_one_there_is_said(pair: tuple[Path, Path]) -> None:
    _, other = pair
    projects.run(other, "git", "tag", "-d", "toy@v0.1.0")
    moved_on(other)
    projects.tag_version(other, "v0.1.0")
    with pytest.raises(NotProject, match=r"toy@v0\.1\.0.*already exists"):
        push(other, "toy")


def test_a_pull_never_overwrites_your_files(pair: tuple[Path, Path]) -> None:
    project, other = pair
    moved_on(project)
    push(project, "toy")
    (other / "notes.txt").write_text("mine\n")
    with pytest.raises(NotProject, match=r"only you have: notes\.txt"):
        pull(other, "toy")
    assert (other / "notes.txt").read_text() == "mine\n"
    (other / "notes.txt").unlink()
    (other / "data" / "rows.csv").chmod(0o644)
    (other / "data" / "rows.csv").write_text("mine\n")
    with pytest.raises(NotProject, match=r"only you have: data/rows\.csv"):
        pull(other, "toy")
    assert (other / "data" / "rows.csv").read_text() == "mine\n"
    assert not (other / "notes.txt").exists()


def test_a_detached_head_is_refused_by_pull_and_pushes_tags_alone(pair: tuple[Path, Path]) -> None:
    _, other = pair
    projects.run(other, "git", "checkout", "-q", "--detach")
    with pytest.raises(NotProject, match="detached"):
        pull(other, "toy")
    assert push(other, "toy").branch is None


def test_the_commands_say_what_moved(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["push"]) == 0
    told = capsys.readouterr().out
    assert "pushed main: new branch to origin" in told
    assert "pushed 1 tag to origin: toy@v0.1.0" in told
    assert main(["pull"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def retrained(project: Path) -> None:
    """Another model, committed and pushed."""
    script = project / "make_model.py"
    script.write_text(script.read_text().replace("threshold=0.5", "threshold=0.6"))
    projects.run(project, *projects.DVC, "repro", "-q")
    projects.commit(project, "Second")
    push(project, "toy")


def test_what_the_branch_leaves_behind_is_kept_in_the_cache(pair: tuple[Path, Path]) -> None:
    project, other = pair
    first = bundle_md5(other, projects.find_version(other))
    shutil.rmtree(other / ".dvc" / "cache")
    retrained(project)
    pull(other, "toy")
    assert projects.cache_path(other, first).is_file()
    assert (other / "models" / "model" / "bundle.json").read_bytes() == (
        project / "models" / "model" / "bundle.json"
    ).read_bytes()


def test_a_file_of_yours_in_the_place_of_an_output_stays_and_so_does_the_branch(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, other = pair
    (project / "data" / "new.csv").write_text("a,b\n1,2\n")
    projects.run(project, *projects.DVC, "add", "-q", "data/new.csv")
    projects.commit(project, "New data")
    push(project, "toy")
    (other / "data" / "new.csv").write_text("mine\n")
    head = projects.run(other, "git", "rev-parse", "HEAD")
    monkeypatch.chdir(other)
    assert main(["pull"]) == 3
    heard = capsys.readouterr().err
    assert "data/new.csv" in heard
    assert "Move them elsewhere" in heard
    assert (other / "data" / "new.csv").read_text() == "mine\n"
    assert projects.run(other, "git", "rev-parse", "HEAD") == head
    (other / "data" / "new.csv").unlink()
    assert main(["pull"]) == 0
    assert (other / "data" / "new.csv").read_text() == "a,b\n1,2\n"


def test_each_version_that_a_push_publishes_can_be_verified_elsewhere(project: Path) -> None:
    rows = project / "data" / "rows.csv"
    rows.write_text(rows.read_text() + "0.5,1\n")
    projects.run(project, *projects.DVC, "add", "-q", "data/rows.csv")
    projects.run(project, *projects.DVC, "repro", "-q")
    projects.commit(project, "More rows")
    projects.tag_version(project, "v0.2.0")
    push(project, "toy")
    other = projects.clone_remote(project)
    pull(other, "toy")
    for number in ("v0.1.0", "v0.2.0"):
        checks = verify_version(other, read(other, "toy").find(number))
        assert [check.said for check in checks if not check.passed] == []


def test_old_data_that_were_removed_from_the_remote_are_not_sent_again(project: Path) -> None:
    push(project, "toy")
    old = bundle_md5(project, projects.find_version(project))
    shutil.rmtree(project.parent / "kept")
    (project.parent / "kept").mkdir()
    rows = project / "data" / "rows.csv"
    first = rows.read_text()
    rows.write_text(first + "0.5,1\n")
    projects.run(project, *projects.DVC, "add", "-q", "data/rows.csv")
    projects.run(project, *projects.DVC, "repro", "-q")
    projects.commit(project, "More rows")
    push(project, "toy")
    sent = [p for p in (project.parent / "kept").rglob("*") if p.is_file()]
    assert first not in [p.read_text(errors="replace") for p in sent]
    assert any(p.name.startswith(old[2:]) for p in sent)


@pytest.mark.parametrize("folder", [False, True])
def test_a_remote_that_sends_more_than_dvc_lock_states_is_stopped(
    project: Path, folder: bool
) -> None:
    push(project, "toy")
    other = projects.clone_remote(project)
    kept = project.parent / "kept" / "files" / "md5"
    objects = [p for p in kept.rglob("*") if p.is_file()]
    for path in objects:
        if (path.suffix == ".dir") is folder:
            path.chmod(0o644)
            with path.open("r+b") as file:
                file.truncate(300 << 20 if folder else 3_000_000)
    with pytest.raises(DataRefused, match="larger in the remote than"):
        pull(other, "toy")
    assert not list(other.glob(".mlops/fetch-*"))
    cache = other / ".dvc" / "cache" / "files"
    assert all(p.stat().st_size < 3_000_000 for p in cache.rglob("*") if p.is_file())
