"""`.dvcignore` files are checked before DVC reads them, also in subfolders."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mlops_cli.data.untrusted import directory_files
from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.project.ignore_files import refuse_ignores

USUAL = """\
# comment

*.tmp
/logs/**/*.log
**/__pycache__/
!keep.tmp
data/raw/**
*.py[cod]
.*.sw?
build/
"""


def refused(root: Path, text: str, name: str = ".dvcignore", deep: str = "a/b") -> str:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    started = time.perf_counter()
    with pytest.raises((DataRefused, BadParams)) as caught:
        refuse_ignores(root, [name, deep])
    assert time.perf_counter() - started < 5
    return caught.value.message


def test_usual_patterns_pass(tmp_path: Path) -> None:
    (tmp_path / ".dvcignore").write_text(USUAL)
    refuse_ignores(tmp_path, [".dvcignore", "params.yaml"])
    refuse_ignores(tmp_path / "nowhere", [".dvcignore"])


@pytest.mark.parametrize("name", [".dvcignore", "data/.dvcignore", "data/.DVCIgnore"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("*a" * 8 + "b", "too many wildcards"),
        ("!" + "*a" * 8 + "b", "too many wildcards"),
        ("**/a/" * 4 + "b", "too many wildcards"),
        ("a/**/" * 6 + "b", "too many wildcards"),
        ("x" * 501, "more than 500 characters"),
        ("x" * 100_000, "more than 65,536 bytes"),
        ("\n".join(f"x{n}" for n in range(1_001)), "too many patterns"),
        ("\n".join(f"*a{n}*b*c" for n in range(21)), "too many patterns with wildcards"),
        ("[z-a]", "is invalid"),
        ("\\", "is invalid"),
        ("!", "is invalid"),
        ("\udcff", "not in UTF-8"),
    ],
)
def test_patterns_beyond_the_limits_are_refused(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    found = refused(tmp_path, text, name)
    assert said in found
    assert name in found


def test_patterns_of_all_files_count_together(tmp_path: Path) -> None:
    names = [f"f{n}/.dvcignore" for n in range(11)]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x\n" * 100)
    refuse_ignores(tmp_path, names[:10])
    with pytest.raises(DataRefused, match="too many patterns"):
        refuse_ignores(tmp_path, names)


def test_any_folder_is_no_pattern_on_very_deep_paths(tmp_path: Path) -> None:
    assert "folders" in refused(tmp_path, "**/a/b*", deep="a/" * 101 + "b")


def test_a_directory_listing_cannot_contain_dvcignore() -> None:
    content = b'[{"md5": "%s", "relpath": "x/.dvcignore"}]' % (b"a" * 32)
    with pytest.raises(DataRefused, match="dvcignore"):
        directory_files(content, "data/raw")
