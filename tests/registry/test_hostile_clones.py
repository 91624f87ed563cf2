"""Commands on an untrusted clone touch nothing outside of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_clones as hostile
import pytest
import registry_projects as projects

from mlops_cli.cli.app import main
from mlops_cli.errors import DataRefused
from mlops_cli.project.dvc_files import refuse_files

LOOKING = (
    ("models", "pull", "v0.1.0"),
    ("verify", "v0.1.0"),
    ("pull",),
    ("predict", "data/rows.csv", "-o", "out.csv", "--version", "v0.1.0"),
    ("serve", "--version", "v0.1.0"),
    ("status",),
)


@contextmanager
def untouched(clone: Path) -> Iterator[None]:
    """Nothing comes, goes or changes beside the clone, nor in its .git's settings and hooks."""

    def state() -> dict[str, bytes]:
        beside = [p for p in clone.parent.rglob("*") if clone not in (p, *p.parents)]
        own = [clone / ".git" / "config", *(clone / ".git" / "hooks").iterdir()]
        return {str(p): p.read_bytes() if p.is_file() else b"" for p in (*beside, *own)}

    before = state()
    yield
    assert state() == before


@pytest.fixture(scope="module")
def published(delivered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its DVC remote in the repository. Don't change it."""
    project = projects.copy_project(delivered, tmp_path_factory.mktemp("published"))
    return hostile.commit_dvc_remote(project)


@pytest.fixture
def attacker(published: Path, tmp_path: Path) -> Path:
    (tmp_path / "attacker").mkdir()
    return projects.copy_project(published, tmp_path / "attacker")


def looked_at(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, tuple[int, str]]:
    """Each command -> its exit code and what it said; nothing outside may change."""
    monkeypatch.chdir(clone)
    said = {}
    for words in LOOKING:
        with untouched(clone):
            code = main(list(words))
        heard = capsys.readouterr()
        said[words[0]] = code, " ".join((heard.out + heard.err).split())
        assert "unexpected" not in said[words[0]][1], said
    return said


@pytest.mark.parametrize(
    "md5",
    [
        "./../../../PWNED_BY_PULL",
        "./../../.git/config",
        "./../../../PWNED_BY_PULL.dir",
        "/etc/passwd",
        7,
    ],
)
def test_a_hash_in_dvc_lock_that_is_none_is_refused_and_nothing_is_written(
    attacker: Path,
    tmp_path: Path,
    md5: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile.edit_yaml(
        attacker / "dvc.lock", lambda t: hostile.lock_output(t, "models/model").update(md5=md5)
    )
    (attacker / "PWNED_BY_PULL").write_text("the attacker's")
    (attacker / "PWNED_BY_PULL.dir").write_text("the attacker's")
    clone = hostile.clone_repository(hostile.commit_and_retag(attacker))
    for command, (code, said) in looked_at(clone, monkeypatch, capsys).items():
        assert code in {3, 4}, (command, said)
    assert not list(tmp_path.rglob("attacker/PWNED*"))


def lock_path(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(
        attacker / "dvc.lock", lambda t: hostile.lock_output(t, "data/copy.csv").update(path=path)
    )
    hostile.edit_yaml(
        attacker / "dvc.yaml",
        lambda t: t["stages"]["train"].update(
            outs=[path if o == "data/copy.csv" else o for o in t["stages"]["train"]["outs"]]
        ),
    )


def dvc_path(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(attacker / "data/rows.csv.dvc", lambda t: t["outs"][0].update(path=path))


def wdir(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(attacker / "data/rows.csv.dvc", lambda t: t.update(wdir=path))


def stage_wdir(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(attacker / "dvc.yaml", lambda t: t["stages"]["train"].update(wdir=path))


def dependency(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(attacker / "dvc.yaml", lambda t: t["stages"]["train"]["deps"].append(path))


def variables(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(attacker / "dvc.yaml", lambda t: t.update(vars=[path]))


def settings_file(attacker: Path, path: Any) -> None:
    hostile.edit_yaml(
        attacker / "dvc.yaml", lambda t: t["stages"]["train"]["params"].append({path: ["a"]})
    )


def listed_file(attacker: Path, path: Any) -> None:
    """In the listing of the model's folder, under its right hash."""

    def change(tree: Any) -> None:
        out = hostile.lock_output(tree, "models/model")
        place = attacker / hostile.REMOTE_FILES / out["md5"][:2] / out["md5"][2:]
        listing = hostile.json.loads(place.read_bytes())
        listing[0]["relpath"] = path
        content = hostile.json.dumps(listing).encode()
        out["md5"] = hostile.add_object(attacker, content, ".dir")

    hostile.edit_yaml(attacker / "dvc.lock", change)


@pytest.mark.parametrize(
    "place",
    [
        lock_path,
        dvc_path,
        wdir,
        stage_wdir,
        dependency,
        variables,
        settings_file,
        listed_file,
    ],
)
@pytest.mark.parametrize("path", ["../../secret.yaml", "/etc/passwd"])
def test_a_path_that_leads_out_is_refused_before_anything_is_read_or_written_there(
    attacker: Path,
    place: Any,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (attacker.parent / "secret.yaml").write_text("a: 1\n")
    place(attacker, path)
    clone = hostile.clone_repository(hostile.commit_and_retag(attacker))
    found = looked_at(clone, monkeypatch, capsys)
    refused = {"pull"} if place is listed_file else {"status", "pull"}
    assert {command for command, (code, _) in found.items() if code in {3, 4}} >= refused, found


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (".mlops", ".."),
        ("models", ".."),
        ("reports", "/etc"),
        ("data/validated", "../../secret"),
        ("params.yaml", "../secret"),
        ("dvc.lock", ".git/config"),
        (".dvc/tmp", "../.."),
        (".dvc/cache", "../../secret"),
        ("deep", "models/../../secret"),
        ("hooks", ".git/hooks"),
        ("models", "models"),
    ],
)
def test_a_committed_link_that_leads_out_is_refused(
    attacker: Path,
    tmp_path: Path,
    name: str,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = attacker / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    projects.run(attacker, "git", "add", "-A", "-f", "--", name)
    projects.run(attacker, "git", "commit", "-qm", "A link")
    clone = hostile.clone_repository(attacker)
    (tmp_path / "secret").write_text(projects.PARAMS)
    for command, (code, said) in looked_at(clone, monkeypatch, capsys).items():
        # A link that leads to params.yaml of nobody makes it no project.
        assert code in {3, 4}, (command, said)


def test_what_a_pull_would_bring_is_looked_at_before_the_branch_moves(
    attacker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = hostile.clone_repository(attacker)
    head = projects.run(clone, "git", "rev-parse", "HEAD")
    (attacker / "out").symlink_to("../../secret")
    hostile.commit_and_retag(attacker)
    projects.run(clone, "git", "tag", "-d", "toy@v0.1.0")
    monkeypatch.chdir(clone)
    with untouched(clone):
        assert main(["pull"]) == 4
    assert "'out' is a link" in " ".join(capsys.readouterr().err.split())
    assert projects.run(clone, "git", "rev-parse", "HEAD") == head


def test_links_inside_of_the_repository_are_let_be(
    attacker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (attacker / "docs").mkdir()
    (attacker / "docs" / "data").symlink_to("../data")
    clone = hostile.clone_repository(hostile.commit_and_retag(attacker))
    monkeypatch.chdir(clone)
    assert main(["models", "pull", "v0.1.0"]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "[cache]\n    dir = ../../elsewhere\n",
        "[CACHE]\n    Dir = /tmp/elsewhere\n",
        "[cache]\n    dir = ../.git/hooks\n",
        "['remote \"x\"']\n    url = webdav://h/x\n    bearer_token_command = touch ../PWNED\n",
        "['remote \"x\"']\n    url = ssh://h/x\n    keyfile = ../../secret\n",
        "[[[x]]]\n",
    ],
)
def test_committed_settings_of_dvc_may_not_reach_outside(
    attacker: Path,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = attacker / ".dvc" / "config"
    config.write_text(config.read_text() + text)
    projects.run(attacker, "git", "commit", "-qam", "Settings")
    clone = hostile.clone_repository(attacker)
    found = looked_at(clone, monkeypatch, capsys)
    assert {code for code, _ in found.values()} == {3}, found


def test_settings_of_ones_own_may_name_a_cache_elsewhere(
    attacker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = attacker / ".dvc" / "config"
    config.write_text(config.read_text() + "[cache]\n    dir = ../../elsewhere\n")
    projects.run(attacker, "git", "commit", "-qam", "Settings")
    clone = hostile.clone_repository(attacker)
    projects.run(clone, *projects.DVC, "config", "--local", "cache.dir", str(tmp_path / "mine"))
    monkeypatch.chdir(clone)
    assert main(["models", "pull", "v0.1.0"]) == 0
    assert (tmp_path / "mine").is_dir()


def test_dvc_keeps_its_databases_where_no_repository_says(
    attacker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It unpickles what it finds there."""
    config = attacker / ".dvc" / "config"
    text = config.read_text()
    config.write_text(text.replace("[core]\n", "[core]\n    site_cache_dir = ../site\n"))
    projects.run(attacker, "git", "commit", "-qam", "Settings")
    clone = hostile.clone_repository(attacker)
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.chdir(clone)
    assert main(["status"]) == 0
    assert (tmp_path / "own" / "mlops-cli" / "dvc" / "repo").is_dir()
    assert (tmp_path / "own" / "mlops-cli" / "dvc").stat().st_mode & 0o77 == 0
    assert not (clone / "site").exists()
    assert not (clone / ".dvc" / "site").exists()


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock", "data/rows.csv.dvc"])
def test_nine_levels_of_aliases_are_refused_at_once(
    attacker: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
    )
    with (attacker / name).open("a") as file:
        file.write(bomb)
    clone = hostile.clone_repository(hostile.commit_and_retag(attacker))
    found = looked_at(clone, monkeypatch, capsys)
    assert found["status"][0] == 3, found
    assert "aliases written out" in found["status"][1]


@pytest.mark.parametrize("name", ["params.yaml", "more.yaml"])
def test_merge_keys_that_grow_are_refused_before_dvc_reads_its_variables(
    attacker: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (attacker / name).open("a") as file:
        file.write("\nb0: &b0 {x: 1}\n")
        for i in range(1, 10):
            file.write(f"b{i}: &b{i}\n  <<: [{', '.join([f'*b{i - 1}'] * 9)}]\n")
    if name == "more.yaml":
        with (attacker / "dvc.yaml").open("a") as file:
            file.write("vars: [more.yaml]\n")
    clone = hostile.clone_repository(hostile.commit_and_retag(attacker))
    monkeypatch.chdir(clone)
    for command in ("status", "pull"):
        assert main([command]) == 3
        assert "aliases written out" in " ".join(capsys.readouterr().err.split())


def test_a_remote_that_refuses_connections_is_unreadable_and_its_password_is_not_shown(
    attacker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "http://deploy:s3cr3tPW@127.0.0.1:9/data"
    projects.run(attacker, *projects.DVC, "remote", "modify", "kept", "url", url)
    projects.run(attacker, "git", "commit", "-qam", "A remote")
    clone = hostile.clone_repository(attacker)
    monkeypatch.chdir(clone)
    for words, code in ((["models", "pull", "v0.1.0"], 6), (["verify", "v0.1.0"], 4)):
        assert main(words) == code
        heard = capsys.readouterr()
        said = " ".join((heard.out + heard.err).split())
        assert "127.0.0.1:9" in said
        assert "s3cr3tPW" not in said
        assert "cannot be read" in said
        assert "neither in" not in said


def test_patterns_that_take_forever_are_refused(
    attacker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (attacker / "data" / ".dvcignore").write_text("*a" * 8 + "b\n")
    (attacker / "data" / ("a" * 60)).write_text("")
    clone = hostile.clone_repository(hostile.commit_and_retag(attacker))
    said = looked_at(clone, monkeypatch, capsys)
    for command in ("pull", "status"):
        assert said[command][0] == 4, said
        assert "data/.dvcignore:1 has too many wildcards" in said[command][1]


@pytest.mark.parametrize("inner", [("objects",), ("commondir",)])
def test_files_that_git_takes_for_a_repository_run_nothing(
    tmp_path: Path,
    inner: tuple[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A project in a folder of a clone, which tracks HEAD, config and objects beside it."""
    projects.run(tmp_path, "git", "init", "-q", "mono")
    project = tmp_path / "mono" / "shop"
    (project / "refs").mkdir(parents=True)
    (project / "objects").mkdir()
    if inner == ("commondir",):
        (project / "objects").rename(tmp_path / "mono" / "objects")
        (project / "refs").rename(tmp_path / "mono" / "refs")
        (project / "commondir").write_text("..\n")
    (project / "params.yaml").write_text("project: {name: shop}\n")
    (project / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "run.sh").write_text(f"#!/bin/sh\ntouch '{tmp_path}/PWNED'\n")
    (tmp_path / "run.sh").chmod(0o755)
    settings = f"[core]\n bare = false\n worktree = .\n fsmonitor = {tmp_path}/run.sh\n"
    for folder in (project, project.parent):
        (folder / "config").write_text(settings)
    monkeypatch.chdir(project)
    for words in (("status",), ("models",), ("verify", "v0.1.0"), ("pull",), ("clock",)):
        assert main(list(words)) == 3
        assert "looks like a repository of Git's" in capsys.readouterr().err
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data/rows.csv.dvc", "outs: [{md5: eaa4ac350a952abd2d2ae077723f1349, path: PATH}]\n"),
        ("dvc.yaml", "stages: {a: {cmd: x, outs: [PATH]}}\n"),
        ("dvc.yaml", "stages: {a: {cmd: x, deps: [PATH]}}\n"),
    ],
)
def test_a_path_of_thousands_of_folders_is_refused_at_once(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text.replace("PATH", "a/" * 6000 + "b"))
    # DVC takes over a minute to read it.
    with pytest.raises(DataRefused, match=r"states a path of more than 1,000 folders"):
        refuse_files(tmp_path, [name])
