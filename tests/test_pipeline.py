"""The whole pipeline on a small project: reproducible, and safe against kills."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import interrupted
import pytest
import reproduced

from mlops_cli.project.pipeline import STAGES

MLOPS = interrupted.MLOPS


def mlops(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MLOPS, *words], cwd=project, capture_output=True, text=True, check=False, timeout=300
    )


def said_json(project: Path, *words: str) -> Any:
    done = mlops(project, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has never run."""
    project = interrupted.small_project(tmp_path_factory.mktemp("pipeline"), rows=600)
    settings = (project / "params.yaml").read_text()
    assert "trials: 20" in settings
    (project / "params.yaml").write_text(settings.replace("trials: 20", "trials: 3"))
    return project


@pytest.fixture(scope="module")
def ready(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it in which every stage is up to date."""
    project = tmp_path_factory.mktemp("ready") / fresh.name
    shutil.copytree(fresh, project)
    assert mlops(project, "run").returncode == 0
    return project


@pytest.fixture
def changed(ready: Path) -> Iterator[Path]:
    """The ready project, whose parameters are put back afterwards."""
    settings = (ready / "params.yaml").read_text()
    yield ready
    (ready / "params.yaml").write_text(settings)


@pytest.mark.slow
def test_a_run_makes_everything_and_a_second_one_nothing(ready: Path) -> None:
    again = said_json(ready, "run", "--json")
    assert again["changed"] == []
    assert list(again["stages"]) == list(STAGES)
    assert "roc_auc" in again["stages"]["evaluate"]["headline"]
    assert "nothing changed: all 8 stages are up to date" in mlops(ready, "run").stdout


@pytest.mark.slow
def test_a_run_says_the_decision_also_where_its_record_came_with_git(
    ready: Path, tmp_path: Path
) -> None:
    project = tmp_path / ready.name
    shutil.copytree(ready, project)
    shutil.rmtree(project / ".mlops")
    shutil.rmtree(project / ".dvc" / "cache" / "runs")
    for name in ("data/ingested", "data/validated", "data/quarantine", "data/features"):
        shutil.rmtree(project / name)
    said = mlops(project, "run").stdout
    assert "register: up to date, as their inputs are the same" in said
    assert "beats_baselines" in said
    assert ("approved: " in said) or ("rejected: " in said)


@pytest.mark.slow
def test_one_stage_can_be_brought_up_to_date_through_dvc(ready: Path) -> None:
    done = mlops(ready, "split")
    assert "nothing changed: split is up to date" in done.stdout
    assert "train" in done.stdout


@pytest.mark.slow
def test_status_tells_what_changed_and_what_waits(changed: Path) -> None:
    assert {s["state"] for s in said_json(changed, "status", "--json")["stages"].values()} == {
        "up to date"
    }
    settings = (changed / "params.yaml").read_text()
    (changed / "params.yaml").write_text(settings.replace("trials: 3", "trials: 4"))
    stages = said_json(changed, "status", "--json")["stages"]
    assert stages["split"]["state"] == "up to date"
    assert stages["tune"] == {**stages["tune"], "state": "changed", "why": ["tune is modified"]}
    assert stages["train"]["state"] == "waits for the stages before"
    shown = mlops(changed, "status").stdout
    assert "tune is modified" in shown
    assert "beats_baselines" in shown


@pytest.mark.slow
def test_a_changed_rule_reruns_its_stage_and_what_follows(ready: Path, tmp_path: Path) -> None:
    project = tmp_path / ready.name
    shutil.copytree(ready, project)
    settings = (project / "params.yaml").read_text()
    assert "  features:\n" in settings
    ratio = settings.replace("  features:\n", "  features:\n    doubled: size * 2\n", 1)
    (project / "params.yaml").write_text(ratio)
    done = said_json(project, "run", "--json")
    assert done["changed"] == [s for s in STAGES if s not in {"ingest", "validate"}]


@pytest.mark.slow
def test_a_change_of_the_model_cards_texts_reruns_register_only(
    ready: Path, tmp_path: Path
) -> None:
    project = tmp_path / ready.name
    shutil.copytree(ready, project)
    old = json.loads((project / "models/model/manifest.json").read_text())
    settings = (project / "params.yaml").read_text()
    assert "  owner: ''\n" in settings
    (project / "params.yaml").write_text(settings.replace("owner: ''", "owner: Ann", 1))
    assert said_json(project, "run", "--json")["changed"] == ["register"]
    new = json.loads((project / "models/model/manifest.json").read_text())
    differ = {name for name in new["files"] if new["files"][name] != old["files"][name]}
    assert differ == {"README.md"}
    assert "- Owner: Ann" in (project / "models/model/README.md").read_text()
    record = json.loads((project / "models/registration.json").read_text())
    assert record["bundle_sha256"] == new["bundle_sha256"] != old["bundle_sha256"]


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(fresh: Path, tmp_path: Path) -> None:
    project = tmp_path / fresh.name
    shutil.copytree(fresh, project)
    assert interrupted.check(project, kills=1, seed=1) == []


@pytest.mark.slow
def test_broken_validation_rules_stop_the_run_with_exit_code_4(changed: Path) -> None:
    settings = (changed / "params.yaml").read_text()
    strict = settings.replace("columns:\n", "columns:\n        nosuch: {type: integer}\n", 1)
    (changed / "params.yaml").write_text(strict)
    done = mlops(changed, "run")
    assert done.returncode == 4
    assert "nosuch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_second_run_is_refused_while_one_is_running(fresh: Path, tmp_path: Path) -> None:
    project = tmp_path / fresh.name
    shutil.copytree(fresh, project)
    first = interrupted.start(project)
    assert interrupted.stage_at_work(first, "ingest")
    second = mlops(project, "run")
    assert second.returncode == 8
    assert f"process {first.pid}" in second.stderr
    assert first.wait(timeout=300) == 0


@pytest.mark.slow
def test_reproduced_accepts_allowed_differences_only(ready: Path, tmp_path: Path) -> None:
    project = tmp_path / ready.name
    shutil.copytree(ready, project)
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["add", "-A"], [*who, "commit", "-qm", "results"]):
        subprocess.run(["git", *words], cwd=project, check=True, capture_output=True)
    assert reproduced.differences(project) == ([], [])
    lock = project / "dvc.lock"
    model = reproduced.hashes(lock.read_text())["models/model"]
    lock.write_text(lock.read_text().replace(model, "0" * 32 + ".dir"))
    assert reproduced.differences(project) == ([], ["models/model"])
    metrics = json.loads((project / "reports/metrics.json").read_text())
    metrics["model"]["roc_auc"]["value"] -= 0.01
    (project / "reports/metrics.json").write_text(json.dumps(metrics))
    wrong, _ = reproduced.differences(project)
    assert [line.split(":")[0] for line in wrong] == ["reports/metrics.json model.roc_auc.value"]
