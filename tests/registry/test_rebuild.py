"""`mlops verify --rebuild` runs the pipeline in a clean clone and compares bytes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import registry_projects as projects

from mlops_cli.cli.app import main
from mlops_cli.registry.rebuild import rebuild
from mlops_cli.registry.verify import verify_version

MLOPS = str(Path(sys.executable).with_name("mlops"))


def changed(project: Path, old: str, new: str) -> None:
    """A script that no longer makes what was registered with it; dvc.lock is made to agree."""
    script = project / "make_model.py"
    before = script.read_text()
    assert old in before
    script.write_text(before.replace(old, new))
    projects.run(project, *projects.DVC, "commit", "-q", "--force")
    projects.commit(project, "Changed")
    projects.tag_version(project, "v0.2.0")


def test_the_same_bytes_come_out_of_a_clean_clone(project: Path) -> None:
    projects.push_all(project)
    shutil.rmtree(project / ".dvc" / "cache")
    shutil.rmtree(project / "data")
    found = rebuild(project, projects.find_version(project))
    assert found.verdict == "reproduced to the byte"
    assert all(found.files.values())
    assert len(found.files) == 6
    assert found.outputs == ()
    assert not (project / ".mlops" / "rebuild").exists()
    assert not (project / "data").exists()


def test_other_bytes_with_metrics_in_their_intervals_are_told_apart(project: Path) -> None:
    changed(project, "threshold=0.5", "threshold=0.6")
    found = rebuild(project, projects.find_version(project))
    assert found.verdict == "same metrics, other bytes"
    assert [name for name, same in found.files.items() if not same] == [
        "bundle.json",
        "manifest.json",
    ]
    assert "models/model" in found.outputs


def test_metrics_outside_of_their_intervals_are_not_reproduced(project: Path) -> None:
    changed(
        project,
        'threshold=0.5,\n    program={"features": kinds},\n    signature={"inputs": inputs},\n'
        '    facts={"versions": {"toy": "1"}},',
        'threshold=0.6,\n    program={"features": kinds},\n    signature={"inputs": inputs},\n'
        '    facts={"versions": {"toy": "2"}},',
    )
    script = project / "make_model.py"
    script.write_text(script.read_text().replace('"value": 0.8', '"value": 0.2'))
    projects.run(project, *projects.DVC, "commit", "-q", "--force")
    projects.commit(project, "Worse")
    projects.run(project, "git", "tag", "-f", "-a", "toy@v0.2.0", "-m", "x")
    found = rebuild(project, projects.find_version(project))
    assert found.verdict == "not reproduced"
    assert found.metrics[0].again == 0.2
    assert found.libraries == (("toy", "1", "2"),)


def test_a_pipeline_that_fails_there_is_not_reproduced(project: Path) -> None:
    changed(project, "import polars as pl\n", "import polars as pl, nosuch_module\n")
    found = rebuild(project, projects.find_version(project))
    assert found.verdict == "not reproduced"
    assert "failed" in found.said
    assert not (project / ".mlops" / "rebuild").exists()


def test_nothing_of_a_version_runs_where_a_check_has_failed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = project.parent / "ran"
    pipeline = (project / "dvc.yaml").read_text()
    cmd = f"env > {trace} && python make_model.py"
    (project / "dvc.yaml").write_text(pipeline.replace("python make_model.py", cmd))
    projects.commit(project, "By hand")
    projects.tag_version(project, "v0.2.0")
    monkeypatch.chdir(project)
    assert main(["verify", "v0.2.0", "--rebuild"]) == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing was run, as checks failed (pipeline)" in said
    assert not trace.exists()
    assert main(["verify", "v0.2.0", "--anyway"]) == 2
    monkeypatch.setenv("MLOPS_API_KEYS", "secret-1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-2")
    monkeypatch.setenv("PYTHONSTARTUP", "/secret-3")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/secret-4")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret-5@proxy")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/secret-6")
    assert main(["verify", "v0.2.0", "--rebuild", "--anyway"]) == 4
    seen = trace.read_text()
    assert "secret" not in seen
    settings = dict(line.partition("=")[::2] for line in seen.splitlines() if "=" in line)
    assert settings["HOME"] != str(Path.home())
    assert Path(settings["HOME"]).name == "home"
    assert settings["BENTOML_DO_NOT_TRACK"] == settings["DVC_NO_ANALYTICS"] == "true"


def test_verify_alone_runs_nothing_of_the_version(project: Path) -> None:
    trace = project.parent / "ran"
    for name in ("make_model.py", "sitecustomize.py", "dvc.py", "hooks.py"):
        (project / name).write_text(f"open({str(trace)!r}, 'w')\n")
    projects.commit(project, "By hand")
    projects.tag_version(project, "v0.2.0")
    verify_version(project, projects.find_version(project))
    assert not trace.exists()
