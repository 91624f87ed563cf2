"""Hashes and paths from untrusted files are checked before they are used."""

from __future__ import annotations

import json

import pytest

from mlops_cli.data.untrusted import (
    data_hash,
    data_path,
    directory_files,
    json_tree,
    path_inside,
    refuse_malformed,
)
from mlops_cli.errors import DataRefused

MD5 = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("value", [MD5, MD5 + ".dir"])
def test_a_hash_is_a_hash(value):
    assert data_hash(value, "dvc.lock") == value


@pytest.mark.parametrize(
    "value",
    [
        "./../../../PWNED_BY_PULL",
        "./../../.git/config",
        MD5.upper(),
        MD5 + "\n",
        MD5[:-1],
        MD5 + ".dir.dir",
        ".dir",
        "",
        None,
        7,
        [MD5],
        "\ud800",
    ],
)
def test_what_is_no_hash_is_refused_with_its_place(value):
    with pytest.raises(DataRefused, match=r"^dvc\.lock states the hash"):
        data_hash(value, "dvc.lock")


@pytest.mark.parametrize(
    ("folder", "value", "path"),
    [
        ("", "data/rows.csv", "data/rows.csv"),
        ("src", "../data/x", "data/x"),
        ("", "./a", "a"),
        ("", "..x/y", "..x/y"),
        ("", ".gitignore", ".gitignore"),
        ("", "a b/é", "a b/é"),
        ("", "a/" * 99 + "b", "a/" * 99 + "b"),
    ],
)
def test_a_path_below_the_project_is_made_normal(folder, value, path):
    assert data_path(value, "dvc.lock", folder) == path


@pytest.mark.parametrize(
    "value",
    [
        "a/" * 100 + "b",
        "../x",
        "a/../../x",
        "..",
        ".",
        "",
        "/etc/passwd",
        ".git/config",
        "a/.GIT/hooks/x",
        ".git./config",
        ".dvc/config",
        "C:\\x",
        "C:x",
        "..\\x",
        "x\0y",
        "\ud800",
        "a" * 256,
        "a/" * 3000,
        5,
        None,
        ["a"],
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(value):
    with pytest.raises(DataRefused, match=r"^dvc\.lock states the path"):
        data_path(value, "dvc.lock")


def test_a_link_on_the_way_does_not_lead_out(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "project" / "models").symlink_to(tmp_path)
    (tmp_path / "project" / "data").mkdir()
    (tmp_path / "project" / "near").symlink_to("data")
    path_inside(tmp_path / "project", "near/x", "dvc.lock")
    with pytest.raises(DataRefused, match="a link leads out"):
        path_inside(tmp_path / "project", "models/secret", "dvc.lock")


def listing(*entries):
    return json.dumps([{"md5": md5, "relpath": path} for md5, path in entries]).encode()


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(DataRefused, match="leads to itself"):
        path_inside(tmp_path, "link", "dvc.lock")


def test_a_listing_gives_its_files():
    assert directory_files(listing((MD5, "a/b"), (MD5, "a/c")), "data") == {"a/b": MD5, "a/c": MD5}


@pytest.mark.parametrize(
    "content",
    [
        listing((MD5, ".git/config")),
        listing((MD5, "../x")),
        listing((MD5, "/etc/passwd")),
        listing((MD5, "./a")),
        listing((MD5, "a"), (MD5, "a")),
        listing((MD5, "a"), (MD5, "a/b")),
        listing((MD5, "a/b/c"), (MD5, "a")),
        listing(("./../../x", "a")),
        listing((MD5 + ".dir", "a")),
        listing((MD5, 7)),
        listing((MD5, None)),
        b'{"relpath": "a"}',
        b"[7]",
        b"[[]]",
        b"null",
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
def test_a_listing_of_what_is_not_below_its_folder_is_refused(content):
    with pytest.raises(DataRefused, match=r"^data "):
        directory_files(content, "data")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[NaN]", "[1e999]", "[-Infinity]", "9" * 5000, "{", '{"a":' * 99 + "1"]
)
def test_json_is_read_within_limits(text):
    with pytest.raises(DataRefused, match=r"^bundle\.json "):
        json_tree(text, "bundle.json")


def test_an_error_of_a_structure_is_a_refusal():
    with (
        pytest.raises(DataRefused, match=r"^it is not of the form .*KeyError"),
        refuse_malformed("it", "?"),
    ):
        {}["a"]
