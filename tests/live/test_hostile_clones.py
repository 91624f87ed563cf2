"""A stranger's repository that is cloned and looked at: nothing outside of the clone is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import delivered_projects as made
import hostile_clones as hostile
import pytest

from mlops_cli.cli.app import main

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
    project = made.copied(delivered, tmp_path_factory.mktemp("published"))
    return hostile.published(project)


@pytest.fixture
def attacker(published: Path, tmp_path: Path) -> Path:
    (tmp_path / "attacker").mkdir()
    return made.copied(published, tmp_path / "attacker")


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
        "0" * 31,
        "0" * 33,
        "0" * 32 + "\n",
        "A" * 32,
        "0" * 32 + ".dir.dir",
        ["0" * 32],
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
        attacker / "dvc.lock", lambda t: hostile.output(t, "models/model").update(md5=md5)
    )
    (attacker / "PWNED_BY_PULL").write_text("the attacker's")
    (attacker / "PWNED_BY_PULL.dir").write_text("the attacker's")
    clone = hostile.victim(hostile.recommitted(attacker))
    for command, (code, said) in looked_at(clone, monkeypatch, capsys).items():
        assert code in {3, 4}, (command, said)
    assert not list(tmp_path.rglob("attacker/PWNED*"))
