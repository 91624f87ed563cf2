"""Snapshots: files of any kind are restored, and newer work is never overwritten."""

import os
import subprocess
from pathlib import Path

import pytest

from mlops_cli.errors import NotProject
from mlops_cli.project.snapshots import Snapshot, fingerprint, text_fingerprint


def git(root, *words):
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path):
    """A repository with a file, a folder, and links to either; outside lies what they lead to."""
    root = tmp_path / "project"
    (root / "reports" / "plots").mkdir(parents=True)
    (root / "reports" / "plots" / "roc.json").write_text("old")
    (root / "params.yaml").write_text("old")
    (tmp_path / "outside" / "plots").mkdir(parents=True)
    (tmp_path / "outside" / "plots" / "roc.json").write_text("old")
    (tmp_path / "outside" / "settings.yaml").write_text("old")
    (root / "link.yaml").symlink_to("../outside/settings.yaml")
    (root / "linked").symlink_to(tmp_path / "outside" / "plots")
    (root / "dangling").symlink_to("nowhere")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "config", "user.name", "Ann")
    git(root, "config", "user.email", "ann@example.org")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Start")
    return root


NAMES = ["params.yaml", "reports/plots", "link.yaml", "linked", "dangling", "absent"]


def taken(root):
    snapshot = Snapshot(root, root / ".mlops" / "retrain")
    (root / ".git" / "info" / "exclude").write_text(".mlops\n")
    snapshot.take(NAMES)
    return snapshot, git(root, "rev-parse", "HEAD")


def tree(*roots):
    return {
        path: fingerprint(path)
        for root in roots
        for path in root.rglob("*")
        if not {".git", ".mlops"} & set(path.parts)
    }


def put_back(snapshot, head):
    plan = snapshot.plan(head)
    plan.refuse_uncommitted("the files were edited", "Commit it.")
    snapshot.restore(plan)
    return plan


def file(path):
    """A file, whatever was there."""
    removed(path)
    path.write_text("new")


def folder(path):
    removed(path)
    path.mkdir()
    (path / "inner").mkdir()
    (path / "inner" / "a.json").write_text("new")


def link(path):
    removed(path)
    path.symlink_to("params.yaml")


def removed(path):
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            removed(child)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("change", [file, folder, link, removed])
@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_change_of_a_path_is_restored(root, name, change):
    snapshot, head = taken(root)
    before = tree(root, root.parent / "outside")
    snapshot.record_write_start([name])
    change(root / name)
    snapshot.record_write_end([name])
    put_back(snapshot, head)
    assert tree(root, root.parent / "outside") == before
    assert git(root, "status", "--porcelain") == ""


def test_what_was_written_through_a_link_is_put_back_behind_it(root):
    snapshot, head = taken(root)
    before = tree(root, root.parent / "outside")
    snapshot.record_expected_text(root / "link.yaml", "new")
    (root / "link.yaml").write_text("new")
    put_back(snapshot, head)
    assert tree(root, root.parent / "outside") == before
    assert (root / "link.yaml").is_symlink()


def test_a_kill_while_putting_back_is_made_up_for_by_doing_it_again(root):
    snapshot, head = taken(root)
    before = tree(root)
    snapshot.record_write_start(NAMES)
    for name in NAMES:
        folder(root / name)
    snapshot.record_write_end()
    whole = snapshot.plan(head).to_replace
    for number in range(len(whole)):
        plan = snapshot.plan(head)
        plan.to_replace = plan.to_replace[:number]
        snapshot.restore(plan)
        # As one leaves it that is killed at the worst moment: the old is gone, half the new lies.
        if number < len(whole):
            removed(root / whole[number])
            (root / whole[number]).parent.joinpath(f".{Path(whole[number]).name}.part").write_text(
                "half"
            )
    put_back(snapshot, head)
    assert tree(root) == before


def test_an_edit_since_is_refused_by_name_and_nothing_is_put_back(root):
    snapshot, head = taken(root)
    snapshot.record_expected_text(root / "params.yaml", "new")
    (root / "params.yaml").write_text("new")
    snapshot.record_write_start(["reports/plots"])
    file(root / "reports" / "plots")
    snapshot.record_write_end(["reports/plots"])
    (root / "params.yaml").write_text("mine")
    now = tree(root)
    with pytest.raises(NotProject, match=r"would lose what changed in: params\.yaml"):
        put_back(snapshot, head)
    assert tree(root) == now


def test_a_file_added_to_a_folder_since_is_an_edit(root):
    snapshot, head = taken(root)
    snapshot.record_write_start(["reports/plots"])
    folder(root / "reports" / "plots")
    snapshot.record_write_end(["reports/plots"])
    (root / "reports" / "plots" / "notes.txt").write_text("mine")
    with pytest.raises(NotProject, match="reports/plots"):
        put_back(snapshot, head)


@pytest.mark.parametrize("text", ["mine", "new"])
def test_what_was_committed_since_stays(root, text):
    """Even what was written here: who commits it has made it theirs."""
    snapshot, head = taken(root)
    snapshot.record_expected_text(root / "params.yaml", "new")
    (root / "params.yaml").write_text(text)
    git(root, "commit", "--quiet", "--all", "--message", "Mine")
    put_back(snapshot, head)
    assert (root / "params.yaml").read_text() == text
    assert git(root, "status", "--porcelain") == ""


def test_what_was_dirty_before_is_so_again_and_what_was_checked_out_since_stays(root):
    (root / "params.yaml").write_text("dirty")
    snapshot, head = taken(root)
    snapshot.record_expected_text(root / "params.yaml", "new")
    (root / "params.yaml").write_text("new")
    put_back(snapshot, head)
    assert (root / "params.yaml").read_text() == "dirty"
    git(root, "checkout", "--", "params.yaml")
    put_back(snapshot, head)
    assert (root / "params.yaml").read_text() == "old"


def test_what_a_killed_writer_left_is_put_aside(root):
    snapshot, head = taken(root)
    snapshot.record_write_start(["reports/plots"])
    folder(root / "reports" / "plots")
    plan = put_back(snapshot, head)
    assert plan.to_back_up == ["reports/plots"]
    kept = root / ".mlops" / "retrain" / "aside" / "reports" / "plots" / "inner" / "a.json"
    assert kept.read_text() == "new"
    assert (root / "reports" / "plots" / "roc.json").read_text() == "old"


def test_what_was_staged_since_is_no_longer_and_what_was_before_still_is(root):
    (root / "params.yaml").write_text("staged before")
    git(root, "add", "params.yaml")
    snapshot, head = taken(root)
    before = git(root, "status", "--porcelain")
    snapshot.record_write_start(["params.yaml", "reports/plots", "absent"])
    for name in ("params.yaml", "reports/plots", "absent"):
        folder(root / name) if name == "reports/plots" else file(root / name)
    snapshot.record_write_end()
    git(root, "add", "reports", "absent")
    put_back(snapshot, head)
    assert git(root, "status", "--porcelain") == before


def test_the_mark_of_a_text_is_that_of_its_file(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("ingest: {}\r\nä", encoding="utf-8", newline="")
    assert fingerprint(path) == text_fingerprint("ingest: {}\r\nä")
    os.chmod(path, 0o755)  # noqa: PTH101, S103 - Git tells these apart
    assert fingerprint(path) != text_fingerprint("ingest: {}\r\nä")


def test_copies_that_are_gone_are_said_to_be(root):
    snapshot, head = taken(root)
    snapshot.drop()
    with pytest.raises(NotProject, match="are gone"):
        snapshot.plan(head)
