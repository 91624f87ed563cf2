"""The command line without a pipeline: help, errors as two lines, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.cli.app import main

SETTINGS = """\
project: {name: shop}
task: {type: binary}
ingest: {sources: {orders: {uri: orders.csv}}}
featurize: {base: orders, target: late, features: {size: size}}
register: {name: shop}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(SETTINGS)
    (tmp_path / "orders.csv").write_text("size,late\n1,0\n2,1\n3,0\n4,1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_version_option_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from mlops_cli import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mlops {__version__}\n"


@pytest.mark.parametrize("words", [["nosuch"], ["run", "--nosuch"], ["stage"]])
def test_a_wrong_command_line_is_code_2(words: list[str]) -> None:
    assert main(words) == 2


def test_outside_a_project_is_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "is not in a project" in said.err
    assert "mlops init" in said.err


def test_a_project_without_git_and_dvc_is_code_3(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run"]) == 3
    assert "is not under DVC" in capsys.readouterr().err


def test_a_misspelt_setting_is_code_3_and_corrected(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "params.yaml").write_text(SETTINGS + "splitt: {}\n")
    assert main(["stage", "ingest"]) == 3
    said = capsys.readouterr().err
    assert "splitt is not a known setting (params.yaml:6)" in said
    assert "Did you mean 'split'?" in said


def test_an_unknown_stage_is_code_7(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage", "tran"]) == 7
    assert "Did you mean 'train'?" in capsys.readouterr().err


def test_a_stage_before_its_inputs_is_code_7(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stage", "validate"]) == 7
    assert "mlops run" in capsys.readouterr().err


def test_a_missing_source_is_code_6(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "orders.csv").unlink()
    assert main(["stage", "ingest"]) == 6
    assert "orders.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("target: late", "target: lat", 3, "Did you mean 'late'?"),
        ("size: size", "size: sise * 2", 3, "Did you mean 'size'?"),
        ("size: size", "size: size *", 3, "featurize.features.size is not an expression"),
        ("size: size", "size: late", 4, "the feature 'size' equals the target in every row"),
        ("target: late", "target: late / 2", 3, "a binary task needs classes"),
        ("target: late", "target: 'NULLIF(late, late)'", 4, "none of 4 rows of orders has a label"),
    ],
)
def test_an_impossible_feature_is_refused_with_a_message(
    old: str, new: str, code: int, message: str, *, project: Path, request: pytest.FixtureRequest
) -> None:
    capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")
    (project / "params.yaml").write_text(SETTINGS.replace(old, new))
    assert main(["stage", "ingest"]) == 0
    assert main(["stage", "validate"]) == 0
    assert main(["stage", "featurize"]) == code
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (project / "data" / "features").exists()


def test_a_target_with_one_class_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{i},1\n" for i in range(50))
    (project / "orders.csv").write_text("size,late\n" + rows)
    for stage in ("ingest", "validate", "featurize", "split"):
        assert main(["stage", stage]) == 0
    assert main(["stage", "tune"]) == 4
    assert "one class" in capsys.readouterr().err


def test_an_unexpected_error_shows_a_traceback_only_with_debug(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("mlops_cli.cli.project.find", broken)
    assert main(["status"]) == 1
    said = capsys.readouterr().err
    assert "unexpected ZeroDivisionError: by zero" in said
    assert "Traceback" not in said
    assert main(["status", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_panic_of_a_library_shows_no_traceback(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from polars.exceptions import PanicException

    def broken(*_: object) -> None:
        raise PanicException("no value")  # which is no Exception

    monkeypatch.setattr("mlops_cli.cli.project.find", broken)
    assert main(["status"]) == 1
    assert "unexpected PanicException: no value" in capsys.readouterr().err


def test_with_json_stdout_has_only_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["stage", "ingest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "ingest"
