"""Three-way merges of trees in Git's object store."""

import subprocess

import pytest

from mlops_cli.project.git import Git
from mlops_cli.project.merge import Merger, Overlap

LINES = "".join(f"line {i}\n" for i in range(9))


@pytest.fixture
def repo(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return Git(tmp_path)


def tree(git, files):
    """A tree of these files; a value is bytes, or (mode, bytes)."""
    environment = {"GIT_INDEX_FILE": str(git.root / "scratch-index")}
    git.run("read-tree", "--empty", environment=environment)
    for path, content in files.items():
        mode, data = content if isinstance(content, tuple) else ("100644", content)
        oid = git.run_bytes("hash-object", "-w", "--stdin", stdin=data).decode().strip()
        words = ("update-index", "--add", "--cacheinfo", f"{mode},{oid},{path}")
        git.run(*words, environment=environment)
    return git.run("write-tree", environment=environment).strip()


def content(git, root):
    listed = git.run("ls-tree", "-r", root).splitlines()
    return {
        line.split("\t")[1]: (line[:6], git.run_bytes("cat-file", "blob", line[12:52], stdin=b""))
        for line in listed
    }


def merged(git, base, mine, theirs, prefer=None):
    merger = Merger(git, lambda p: p == "made", lambda p: p == ".gitignore", prefer)
    return content(git, merger.merge(*(tree(git, side) for side in (base, mine, theirs))))


def test_edits_of_other_lines_come_together_byte_by_byte(repo):
    base = LINES.replace("\n", "\r\n").encode()
    mine, theirs = base.replace(b"line 1", b"mine"), base.replace(b"line 7", b"theirs\xff")
    found = merged(repo, {"a": base}, {"a": ("100755", mine)}, {"a": theirs})
    assert found == {"a": ("100755", mine.replace(b"line 7", b"theirs\xff"))}


def test_new_removed_and_generated_files(repo):
    base = {"gone": b"x", "stays": b"y", "made": b"1"}
    mine = {"stays": b"y", "new/file": b"z", "made": b"2"}
    theirs = {"gone": b"x", "stays": b"y", "theirs": b"t", "made": b"3"}
    found = {path: data for path, (_, data) in merged(repo, base, mine, theirs).items()}
    assert found == {"stays": b"y", "new/file": b"z", "theirs": b"t", "made": b"3"}


def test_lists_of_lines_keep_both_sides(repo):
    found = merged(repo, {}, {".gitignore": b"/a\n"}, {".gitignore": b"/b\n"})
    assert set(found[".gitignore"][1].split()) == {b"/a", b"/b"}


@pytest.mark.parametrize(
    ("base", "mine", "theirs"),
    [
        ({"a": b"1\n"}, {"a": b"2\n"}, {"a": b"3\n"}),
        ({"a": b"1\n"}, {}, {"a": b"3\n"}),
        ({"a": b"1\n"}, {"a": b"2\n"}, {}),
        ({}, {"a": b"2\n"}, {"a": b"3\n"}),
        ({"a": b"\0one"}, {"a": b"\0two"}, {"a": b"\0three"}),
        ({"a": b"1"}, {"a": ("120000", b"there")}, {"a": b"2"}),
    ],
)
def test_what_both_changed_is_an_overlap_until_one_side_is_preferred(repo, base, mine, theirs):
    with pytest.raises(Overlap) as caught:
        merged(repo, base, mine, theirs)
    assert caught.value.path == "a"
    for side, wanted in (("mine", mine), ("theirs", theirs)):
        assert merged(repo, base, mine, theirs, side) == content(repo, tree(repo, wanted))


def test_a_file_where_the_other_side_has_a_folder_is_an_overlap(repo):
    with pytest.raises(Overlap):
        merged(repo, {}, {"a": b"1"}, {"a/b": b"2"})


def test_only_the_lines_that_both_changed_are_decided(repo):
    base = LINES.encode()
    mine = base.replace(b"line 1", b"mine 1").replace(b"line 8", b"mine 8")
    theirs = base.replace(b"line 1", b"theirs 1").replace(b"line 5", b"theirs 5")
    found = merged(repo, {"a": base}, {"a": mine}, {"a": theirs}, "mine")["a"][1]
    assert b"mine 1" in found
    assert b"mine 8" in found
    assert b"theirs 5" in found
