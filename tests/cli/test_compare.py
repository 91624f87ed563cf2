"""`mlops compare` on real Git repositories."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mlops_cli.cli.app import main


def git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write(root: Path, value: float, until: str = "2013-10-01", family: str = "linear") -> None:
    """The files of a run whose model has this roc_auc."""
    figure = {"value": value, "low": value - 0.01, "high": value + 0.01}
    files = {
        "reports/metrics.json": {"model": {"roc_auc": figure}},
        "reports/evaluation.json": {
            "metrics": ["roc_auc"],
            "confidence": 0.95,
            "rows": 100,
            "slices": {
                "site": {
                    "judged": [
                        {
                            "value": "a|b <script> @you",
                            "rows": 60,
                            "metrics": {"roc_auc": value},
                            "interval": figure,
                        }
                    ]
                }
            },
        },
        "reports/features.json": {"features": {"size": {}}, "rows": {"labelled": 1000}},
        "models/registration.json": {"families": [family], "bundle_sha256": str(value)},
    }
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(content))
    (root / "params.yaml").write_text(f'ingest:\n  until: "{until}"\n')
    (root / "dvc.lock").write_text(
        f"stages: {{ingest: {{outs: [{{path: data/ingested, md5: {until}-x}}]}}}}\n"
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two committed runs on main, and the first without a run, in a subfolder of a repository."""
    root = tmp_path / "repository" / "project"
    root.mkdir(parents=True)
    git(root.parent, "init", "-q", "-b", "main")
    git(root.parent, "config", "user.name", "a")
    git(root.parent, "config", "user.email", "a@b.c")
    (root / "params.yaml").write_text("ingest: {}\n")
    for tag, run in {"empty": None, "first": (0.8,), "second": (0.7, "2013-11-01")}.items():
        if run:
            write(root, *run)
        git(root, "add", "-A")
        git(root, "commit", "-qm", tag)
        git(root, "tag", tag)
    monkeypatch.chdir(root)
    return root


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["compare", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["compare", *words])
    return code, capsys.readouterr().err


def test_it_tells_what_changed_between_two_revisions(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads(said(capsys, "first", "second", "--json"))
    (metric,) = told["metrics"]
    assert metric["difference"] == -0.1
    assert (metric["verdict"], metric["overlap"]) == ("worse", False)
    assert [c["name"] for c in told["params"]] == ["ingest.until"]
    assert [c["name"] for c in told["data"]] == ["data clock", "hash of the ingested data"]
    assert [s["value"] for s in told["worse_slices"]] == ["a|b <script> @you"]


def test_the_workspace_is_compared_with_the_last_commit_by_default(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, 0.75, "2013-11-01")
    told = json.loads(said(capsys, "--json"))
    assert told["new"] == "workspace"
    assert told["metrics"][0]["difference"] == 0.05


def test_on_the_terminal_intervals_and_verdicts_stand_side_by_side(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "first")
    assert "0.8 [0.79, 0.81]" in shown
    assert "0.7 [0.69, 0.71]" in shown
    assert "worse, clearly" in shown
    assert "unpaired" in shown
    assert "ingest.until" in shown


def test_markdown_is_a_table_in_which_data_formats_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(capsys, "first", "--markdown")
    lines = shown.splitlines()
    assert lines[0].startswith("### first (")
    assert any(line.startswith("| roc\\_auc | 0.8 \\[0.79, 0.81\\] |") for line in lines)
    assert "<script>" not in shown
    row = next(line for line in lines if "script" in line)
    assert "a\\|b" in row
    assert "@you" not in row
    tables = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_the_same_model_is_said_to_be_the_same(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the same model" in said(capsys, "second").splitlines()[0]


def test_an_unknown_revision_is_answered_with_the_nearest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = refused(capsys, "frist")
    assert code == 7
    assert "'frist'" in err
    assert "Did you mean 'first'?" in err


def test_a_revision_without_reports_is_refused_unless_allowed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = refused(capsys, "empty")
    assert code == 7
    assert "has no reports/metrics.json" in err
    assert "nothing to compare with" in said(capsys, "empty", "--allow-missing")


def test_a_shallow_clone_is_told_to_fetch_the_rest(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = git(project, "rev-parse", "first")
    address = f"file://{project.parent}"
    git(tmp_path, "clone", "-q", "--depth=1", address, "shallow")
    monkeypatch.chdir(tmp_path / "shallow" / "project")
    code, err = refused(capsys, old)
    assert code == 7
    assert "git fetch --unshallow" in err


def test_a_workspace_without_a_run_is_told_to_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "reports" / "metrics.json").unlink()
    code, err = refused(capsys, "first")
    assert code == 7
    assert "mlops run" in err


def test_a_broken_report_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "reports" / "metrics.json").write_text("<<<<<<< HEAD\n")
    code, err = refused(capsys, "first")
    assert code == 4
    assert "reports/metrics.json of workspace" in err


def test_a_folder_outside_of_git_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(capsys)[0] == 3
    (tmp_path / "params.yaml").write_text("ingest: {}\n")
    code, err = refused(capsys)
    assert code == 3
    assert "not under Git" in err


def test_two_formats_at_once_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--json", "--markdown")[0] == 2


def test_comparing_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "first")
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("metrics", ("model", "roc_auc"), [[]]),
        ("metrics", ("model", "roc_auc", "high"), {"value": []}),
        ("metrics", ("model", "roc_auc", "value"), "remote://kept/x"),
        ("metrics", ("model",), 7),
        ("evaluation", ("slices", "site"), []),
        ("evaluation", ("slices", "site", "judged"), [3]),
        ("evaluation", ("confidence",), "much"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",), ("--markdown",)], ids=" ".join)
def test_a_report_of_another_form_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], file, keys, value, form
) -> None:
    path = project / "reports" / f"{file}.json"
    tree = json.loads(path.read_text())
    node = tree
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path.write_text(json.dumps(tree))
    code, text = refused(capsys, "first", *form)
    assert code == 4, text
    assert "a report of" in " ".join(text.split())
