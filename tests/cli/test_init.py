"""`mlops init`: from a file to a project that runs."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mlops_cli import params
from mlops_cli.cli.app import main
from mlops_cli.project.pipeline import STAGES

SETS = {
    "breast-cancer.csv": ("target", "binary"),
    "wine.csv": ("target", "multiclass"),
    "diabetes.csv": ("target", "regression"),
    "mixed.csv": ("churned", "binary"),
    "mixed.parquet": ("churned", "binary"),
}
"""File -> target and task."""


def mixed(rows: int = 400) -> pl.DataFrame:
    """Mixed types, missing values and dates; the target follows age and plan."""
    day = dt.date(2023, 1, 1)
    ages = [20 + i * 37 % 60 for i in range(rows)]
    plans = [["free", "pro", "team"][i * 7 % 3] for i in range(rows)]
    return pl.DataFrame(
        {
            "Customer ID": [1000 + i for i in range(rows)],
            "signup date": [day + dt.timedelta(days=i * 13 % 400) for i in range(rows)],
            "Age": [None if i % 11 == 0 else age for i, age in enumerate(ages)],
            "plan": [None if i % 17 == 0 else plan for i, plan in enumerate(plans)],
            "active": [None if i % 19 == 0 else i % 2 == 0 for i in range(rows)],
            "spent": [i * 31 % 97 / 4 for i in range(rows)],
            "churned": [
                None if i % 23 == 0 else "yes" if age + i * 29 % 30 > 60 else "no"
                for i, age in enumerate(ages)
            ],
        }
    )


def write(name: str, folder: Path) -> Path:
    """Write one of the sets to a file."""
    import sklearn.datasets

    path = folder / name
    if name.startswith("mixed"):
        frame = mixed()
        frame.write_parquet(path) if name.endswith(".parquet") else frame.write_csv(path)
    else:
        load: Callable[..., object] = getattr(
            sklearn.datasets, "load_" + path.stem.replace("-", "_")
        )
        load(as_frame=True).frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", SETS)
def test_init_infers_a_pipeline_that_dvc_knows(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from dvc.repo import Repo

    target, task = SETS[name]
    root = tmp_path / "made"
    assert main(["init", str(root), "--data", str(write(name, tmp_path)), "--target", target]) == 0
    out = capsys.readouterr().out
    assert f"predict {target} ({task})" in out
    assert "mlops run" in out
    settings = params.load(root / "params.yaml")
    assert settings.task.type == task
    with Repo(str(root)) as repo:
        stages = [stage for stage in repo.index.stages if stage.cmd]
        named = [p for stage in stages for p in stage.params]
        assert not [p for p in named if set(p.params) - p.read_params().keys()]
    assert [stage.name for stage in stages] == list(STAGES)


def test_init_as_json_tells_what_became_of_each_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = write("mixed.csv", tmp_path)
    options = ["--target", "churned", "--time", "signup date", "--name", "leavers", "--json"]
    assert main(["init", str(tmp_path / "made"), "--data", str(data), *options]) == 0
    told = json.loads(capsys.readouterr().out)
    roles = {c["name"]: c["role"] for c in told["columns"]}
    assert told["project"] == "leavers"
    assert told["split"]["strategy"] == "time"
    assert roles["Customer ID"] == "left out"
    assert roles["signup date"] == "time"
    assert roles["churned"] == "target"


@pytest.mark.parametrize(
    ("file", "options", "status"),
    [
        ("mixed.csv", ["--target", "churnd"], 2),
        ("mixed.csv", ["--target", "churned", "--task", "regression"], 2),
        ("mixed.csv", ["--target", "churned", "--task", "guess"], 2),
        ("nowhere.csv", ["--target", "churned"], 7),
        ("empty.csv", ["--target", "churned"], 6),
        ("single.csv", ["--target", "y"], 4),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code_and_leaves_nothing(
    file: str,
    options: list[str],
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    write("mixed.csv", tmp_path)
    (tmp_path / "empty.csv").touch()
    (tmp_path / "single.csv").write_text("a,y\n1,no\n2,no\n")
    before = sorted(p.name for p in tmp_path.iterdir())
    given = ["--data", str(tmp_path / file), *options]
    assert main(["init", str(tmp_path / "made"), *given]) == status
    said = capsys.readouterr().err
    assert file in said or repr(options[-1]) in said or f"--task {options[-1]}" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wine.csv", "diabetes.csv", "mixed.parquet"])
def test_a_new_project_runs_at_once_and_then_has_nothing_to_do(name: str, tmp_path: Path):
    target, _ = SETS[name]
    root = tmp_path / "made"
    assert main(["init", str(root), "--data", str(write(name, tmp_path)), "--target", target]) == 0
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "mlops_cli", "run"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads((root / "reports" / "metrics.json").read_text(encoding="utf-8"))
    decision = json.loads((root / "models" / "registration.json").read_text(encoding="utf-8"))
    assert decision["decision"] in {"approved", "rejected"}
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert changed == "", "a run changes no file that init wrote"


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write("mixed.csv", tmp_path)
    assert main(["init", "it's blank", "--data", "mixed.csv", "--target", "churned"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("Next: ")
    go, _, run = command.partition(" && ")
    assert run == "mlops run"
    shell = subprocess.run(["sh", "-ec", f"{go}; pwd"], capture_output=True, text=True, check=True)
    assert shell.stdout.strip() == str(tmp_path / "it's blank")
