"""`mlops clock` moves the data clock and changes nothing else in params.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_cli import params
from mlops_cli.cli.app import main
from mlops_cli.errors import BadParams
from mlops_cli.project.edit_params import set_until

PARAMS = """\
# What we predict.
project: {name: shop}   # a comment
task: {type: binary}
ingest:
  # Up to when.
  UNTIL
  sources:
    orders: {uri: "orders.csv", time: day}
featurize: {base: orders, target: late}
register:
    name: shop
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS.replace("UNTIL", 'until: "2013-10-01"'))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2013-11-01", "2013-11-01"),
        ("+1mo", "2013-11-01"),
        ("+36h", "2013-10-02T12:00:00Z"),
        ("2013-11-01T02:00:00+02:00", "2013-11-01"),
    ],
)
def test_the_clock_moves_and_no_other_character_does(
    project: Path, given: str, written: str
) -> None:
    before = project.read_text()
    assert main(["clock", given]) == 0
    assert project.read_text() == before.replace('"2013-10-01"', f'"{written}"')
    assert params.load(project).ingest.until is not None


def test_without_a_date_it_is_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = project.read_text()
    assert main(["clock", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["until"], told["changed"]) == ("2013-10-01", False)
    assert project.read_text() == before


def test_it_goes_back_only_when_that_is_meant(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.read_text()
    assert main(["clock", "2013-09-01"]) == 2
    assert "2013-09-01 is before the present data clock, 2013-10-01" in capsys.readouterr().err
    assert project.read_text() == before
    assert main(["clock", "2013-09-01", "--back"]) == 0
    assert '"2013-09-01"' in project.read_text()


@pytest.mark.parametrize(
    "given", ["yesterday", "+1fortnight", "+", "+-7d", "+99999y", "2013-13-01", "01.10.2013"]
)
def test_what_is_no_moment_is_refused(
    project: Path, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.read_text()
    assert main(["clock", given]) == 2
    assert repr(given) in capsys.readouterr().err
    assert project.read_text() == before


def test_a_span_needs_a_clock_to_start_from(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_text(PARAMS.replace("UNTIL", "until: null"))
    assert main(["clock", "+7d"]) == 2
    assert "ingest.until is not set" in capsys.readouterr().err


def test_a_clock_that_would_cut_nothing_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write_text(project.read_text().replace(", time: day", ""))
    assert main(["clock", "2014-01-01"]) == 3
    assert "states its `time`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value",
    ["until: null", "until:", "until:  '2013-10-01'   # why", '"until" : ~', "until: 2013-10-01x"],
)
def test_any_plain_way_of_writing_it_is_understood(tmp_path: Path, value: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("UNTIL", value))
    set_until(path, "2014-01-01")
    assert params.load(path).ingest.until is not None
    changed = [
        line
        for line in path.read_text().splitlines()
        if line not in PARAMS.replace("UNTIL", value).splitlines()
    ]
    assert len(changed) == 1
    assert '"2014-01-01"' in changed[0]
    assert ("# why" in changed[0]) == ("# why" in value)


def test_a_missing_key_is_added_and_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(PARAMS.replace("  UNTIL\n", "").replace("\n", "\r\n").encode())
    set_until(path, "2014-01-01")
    assert params.load(path).ingest.until is not None
    assert path.read_bytes().count(b"\r\n") == PARAMS.count("\n") - 1
    path.write_text(PARAMS.split("ingest:", maxsplit=1)[0] + "ingest: {sources: {a: {uri: b}}}\n")
    set_until(path, "2014-01-01")
    assert 'ingest: {until: "2014-01-01", sources: {a: {uri: b}}}' in path.read_text()


@pytest.mark.parametrize("value", ["until: >-\n    2013-10-01", "until: &there '2013-10-01'"])
def test_what_is_not_safely_replaced_is_left_to_the_user(tmp_path: Path, value: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("UNTIL", value))
    before = path.read_text()
    with pytest.raises(BadParams, match="isn't safely replaced"):
        set_until(path, "2014-01-01")
    assert path.read_text() == before
