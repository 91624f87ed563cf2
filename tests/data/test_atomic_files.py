"""Atomic writes, and error messages for a full disk."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mlops_cli.data.atomic_files import (
    append_json_line,
    atomic_write,
    read_json,
    read_json_lines,
    write_json,
)
from mlops_cli.errors import DiskFull, NotFound

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def test_what_is_staged_takes_the_place_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "d"
    target.mkdir()
    (target / "old").write_text("x")
    with atomic_write(target) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("y")
    assert [p.name for p in target.iterdir()] == ["new"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_leftover_of_a_kill_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".d.part").mkdir()
    (tmp_path / ".d.part" / "junk").write_text("x")
    with atomic_write(tmp_path / "d") as temporary:
        temporary.mkdir()
    assert list((tmp_path / "d").iterdir()) == []


@needs_full
def test_a_full_disk_is_a_sentence_whoever_wrote(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFull, match="no space is left on the disk"),
        atomic_write(tmp_path / "a"),
    ):
        FULL.write_text("x")
    with pytest.raises(DiskFull, match="no space is left"), atomic_write(tmp_path / "b"):
        pl.DataFrame({"a": range(100_000)}).write_parquet(FULL)
    with pytest.raises(DiskFull, match="no space is left"), atomic_write(tmp_path / "c"):
        pl.LazyFrame({"a": range(100_000)}).sink_parquet(FULL)
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back_and_a_missing_file_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, "ü"]})
    assert read_json(tmp_path / "a.json") == {"x": [1, "ü"]}
    with pytest.raises(NotFound, match=r"b\.json is not there"):
        read_json(tmp_path / "b.json")


def test_a_line_that_a_kill_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    history = tmp_path / "monitor" / "history.jsonl"
    assert read_json_lines(history) == []
    append_json_line(history, {"reason": "a\u2028b"})
    whole = history.read_bytes()
    history.write_bytes(whole + '{"reason": "é'.encode()[:-1])
    append_json_line(history, {"reason": "next"})
    append_json_line(history, {"reason": "last"})
    assert [entry["reason"] for entry in read_json_lines(history)] == ["a\u2028b", "next", "last"]
