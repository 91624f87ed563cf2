"""The spill: complete events, limited size, kept until they are imported."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import child_process
import pytest
from event_databases import make_label, make_prediction

from mlops_cli.events import spill as module
from mlops_cli.events.spill import Spill


@pytest.fixture
def spill(tmp_path) -> Spill:
    return Spill(tmp_path / "spill", 10**6)


def files(spill: Spill, suffix: str = "events") -> list[Path]:
    return sorted(spill._folder.glob(f"*.{suffix}"))


def ids(spill: Spill) -> list[str]:
    return [p.id for chunk in spill.chunks() for p in chunk.predictions]


def test_what_is_written_is_given_back_once_and_gone(spill) -> None:
    events = [make_prediction(1), make_label(1), make_prediction(2, moment=None, entity=None)]
    assert spill.write(events)
    (chunk,) = spill.chunks()
    assert (chunk.predictions, chunk.labels) == ([events[0], events[2]], [events[1]])
    assert not files(spill)
    assert ids(spill) == []


def test_what_was_not_brought_in_to_the_end_is_given_again(spill, monkeypatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 10)
    spill.write([make_prediction(i) for i in range(25)])
    chunks = spill.chunks()
    assert len(next(chunks).predictions) == 10
    assert len(next(chunks).predictions) == 10
    chunks.close()
    assert ids(spill) == [f"id-{i}" for i in range(25)]


def test_events_can_be_spilled_during_an_import(spill) -> None:
    spill.write([make_prediction(1)])
    chunks = spill.chunks()
    next(chunks)
    spill.write([make_prediction(2)])
    assert next(chunks, None) is None
    assert ids(spill) == ["id-2"]


def test_segments_are_small_and_their_space_comes_back(spill, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SEGMENT", 500)
    for i in range(10):
        spill.write([make_prediction(i)])
    assert len(files(spill)) > 3
    assert ids(spill) == [f"id-{i}" for i in range(10)]
    assert spill.size == 0


def test_a_full_spill_takes_nothing_of_what_is_too_much(tmp_path) -> None:
    spill = Spill(tmp_path / "spill", 2_000)
    taken = [spill.write([make_prediction(i), make_prediction(-i)]) for i in range(1, 9)]
    assert taken[0]
    assert not taken[-1]
    assert spill.size <= 2_000
    assert len(ids(spill)) == 2 * sum(taken)
    assert spill.write([make_prediction(0)])


@pytest.mark.parametrize("torn", [b"0badc0de [", b'0badc0de ["p", []]\n', b"\0" * 500, b"\n"])
def test_a_torn_end_is_passed_over(spill, torn) -> None:
    spill.write([make_prediction(1), make_prediction(2)])
    spill.close()
    with files(spill)[0].open("ab") as file:
        file.write(torn)
    assert ids(spill) == ["id-1", "id-2"]
    assert not files(spill, "damaged")


def test_each_length_of_a_torn_write_gives_whole_events_only(spill) -> None:
    spill.write([make_prediction(1), make_prediction(2)])
    spill.close()
    whole = files(spill)[0].read_bytes()
    ends = whole.index(b"\n") + 1, len(whole)
    files(spill)[0].unlink()
    for length in range(0, len(whole) + 1, 7):
        (spill._folder / "1.events").write_bytes(whole[:length])
        assert len(ids(spill)) == sum(end <= length for end in ends)


def test_a_damaged_middle_is_kept_for_someone_to_look_at(spill) -> None:
    spill.write([make_prediction(i) for i in range(4)])
    spill.close()
    (path,) = files(spill)
    text = bytearray(path.read_bytes())
    text[text.index(b"id-1")] ^= 1
    path.write_bytes(bytes(text))
    assert ids(spill) == ["id-0", "id-2", "id-3"]
    assert files(spill, "damaged")[0].read_bytes() == bytes(text).splitlines(keepends=True)[1]
    assert spill.damaged == 1
    assert {oct(p.stat().st_mode)[-3:] for p in files(spill, "damaged")} == {"600"}


def test_a_failed_write_leaves_no_event_and_the_next_one_succeeds(spill, monkeypatch) -> None:
    spill.write([make_prediction(1)])
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spill.write([make_prediction(2)])
    monkeypatch.setattr(os, "fsync", real)
    spill.write([make_prediction(3)])
    assert ids(spill) == ["id-1", "id-3"]


def test_a_segment_that_another_process_writes_is_left_to_it_until_it_ends(spill) -> None:
    spill._folder.mkdir()
    code = (
        "import sys; from pathlib import Path\n"
        "from event_databases import make_prediction; from mlops_cli.events.spill import Spill\n"
        "spill = Spill(Path(sys.argv[1]), 10**6); spill.write([make_prediction(7)])\n"
        "print('written', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(spill._folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=child_process.environment(), **pipes) as other:
        assert other.stdout.readline() == "written\n"
        assert ids(spill) == []
        assert spill.size > 0
        other.kill()
    assert ids(spill) == ["id-7"]
    assert spill.size == 0


def test_an_empty_segment_goes_with_its_process(spill, tmp_path) -> None:
    spill._open_segment()
    spill.close()
    assert not files(spill)
    (spill._folder / "1.events").touch()
    assert ids(spill) == []
    assert not files(spill)


def test_files_are_their_owner_s_only(spill) -> None:
    spill.write([make_prediction(1)])
    spill.close()
    assert oct(spill._folder.stat().st_mode)[-3:] == "700"
    (path,) = files(spill)
    assert oct(path.stat().st_mode)[-3:] == "600"
    path.chmod(0o644)
    spill._folder.chmod(0o755)
    Spill(spill._folder, 10**6)
    assert oct(path.stat().st_mode)[-3:] == "600"
    assert oct(spill._folder.stat().st_mode)[-3:] == "700"
