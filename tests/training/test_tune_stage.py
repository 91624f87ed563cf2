"""The tune stage: what it writes, and what it may read."""

import json
import os
import signal
import subprocess
import sys
import time

import child_process
import polars as pl
import pytest
from split_projects import make_params, make_splits

from mlops_cli.errors import BadParams, DataRefused, NotFound
from mlops_cli.reporting import Silent
from mlops_cli.training import tune_stage

FAST = ["linear", "forest", "extra_trees", "lightgbm"]
FEW = {"trials": 6, "families": FAST}


def outputs(layout):
    files = sorted(p for p in layout.tuning.rglob("*") if p.is_file())
    return {str(p.relative_to(layout.tuning)): p.read_bytes() for p in files}


def best(layout):
    return json.loads((layout.tuning / "best.json").read_text())


@pytest.mark.parametrize(
    ("kind", "metric"), [("binary", "roc_auc"), ("multiclass", "log_loss"), ("regression", "rmse")]
)
def test_it_writes_the_best_and_all_trials_and_never_opens_test(tmp_path, kind, metric):
    layout = make_splits(tmp_path, kind)
    assert not layout.split("test").exists()
    summary = tune_stage.run(make_params(kind, tune=FEW), layout, Silent())
    trials = json.loads((layout.tuning / "trials.json").read_text())
    assert best(layout)["metric"] == metric
    assert len(trials) == 6
    assert {t["family"] for t in trials[:4]} == set(FAST)
    scores = [t["score"] for t in trials if t["state"] == "complete"]
    assert best(layout)["score"] == (max(scores) if kind == "binary" else min(scores))
    assert best(layout)["family"] in summary.headline
    assert not list((layout.work / "tune").iterdir())


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    results = []
    for name in ("a", "b"):
        layout = make_splits(tmp_path / name, "multiclass")
        tune_stage.run(make_params("multiclass", tune=FEW), layout, Silent())
        results.append(outputs(layout))
    assert results[0] == results[1]


@pytest.mark.parametrize("positives", [1, 2, 3])
def test_folds_without_a_positive_row_have_no_score_of_their_own(tmp_path, positives):
    layout = make_splits(tmp_path, "binary")
    for name, rows in (("train", positives), ("validation", 1)):
        split = pl.read_parquet(layout.split(name)).with_row_index("at")
        split = split.with_columns(_target=(pl.col("at") < rows).cast(pl.String)).drop("at")
        split.write_parquet(layout.split(name))
    tune_stage.run(make_params("binary", tune={"trials": 3, "families": FAST}), layout, Silent())
    trials = json.loads((layout.tuning / "trials.json").read_text())
    assert all(0 <= t["score"] <= 1 for t in trials if t["state"] == "complete")


def test_it_trains_on_no_more_rows_than_given(tmp_path):
    layout = make_splits(tmp_path, "binary")
    tune_stage.run(make_params("binary", tune={"trials": 1, "rows": 100}), layout, Silent())
    assert best(layout)["rows"] == 100


def test_families_metric_and_ranges_are_as_given(tmp_path):
    layout = make_splits(tmp_path, "binary")
    given = {
        "trials": 3,
        "families": ["lightgbm"],
        "metric": "log_loss",
        "spaces": {"lightgbm": {"max_leaves": {"low": 3, "high": 5}}},
    }
    tune_stage.run(make_params("binary", tune=given), layout, Silent())
    trials = json.loads((layout.tuning / "trials.json").read_text())
    assert best(layout)["metric"] == "log_loss"
    assert {t["family"] for t in trials} == {"lightgbm"}
    assert all(3 <= t["settings"]["max_leaves"] <= 5 for t in trials)


def test_a_metric_of_another_task_is_refused(tmp_path):
    layout = make_splits(tmp_path, "binary")
    with pytest.raises(BadParams, match="rmse"):
        tune_stage.run(make_params("binary", tune={"metric": "rmse"}), layout, Silent())


def test_splits_that_cannot_be_used_are_refused(tmp_path):
    layout = make_splits(tmp_path, "binary")
    params = make_params("binary", tune=FEW)
    train = pl.read_parquet(layout.split("train"))
    train.drop("f3").write_parquet(layout.split("train"))
    with pytest.raises(DataRefused, match="'f3'"):
        tune_stage.run(params, layout, Silent())
    train.head(0).write_parquet(layout.split("train"))
    with pytest.raises(DataRefused, match="the train split has no rows"):
        tune_stage.run(params, layout, Silent())
    train.with_columns(_target=pl.lit("same")).write_parquet(layout.split("train"))
    with pytest.raises(DataRefused, match="target has one class: 'same'"):
        tune_stage.run(params, layout, Silent())
    layout.split("train").unlink()
    with pytest.raises(NotFound, match=r"train\.parquet"):
        tune_stage.run(params, layout, Silent())
    assert not layout.tuning.exists()


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path):
    calm, killed = (make_splits(tmp_path / name, "binary") for name in ("calm", "killed"))
    given = {"trials": 8, "families": ["linear", "forest", "lightgbm"]}
    params = make_params("binary", tune=given)
    tune_stage.run(params, calm, Silent())
    script = (
        "from pathlib import Path\n"
        "from split_projects import make_params\n"
        "from mlops_cli.layout import Layout\n"
        "from mlops_cli.reporting import Silent\n"
        "from mlops_cli.training import tune_stage\n"
        f"params = make_params('binary', tune={given!r})\n"
        f"tune_stage.run(params, Layout(Path({str(killed.root)!r})), Silent())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=child_process.environment())
    deadline = time.monotonic() + 60
    journals = []
    while process.poll() is None and time.monotonic() < deadline:
        journals = list((killed.work / "tune").glob("*.journal"))
        if journals and journals[0].read_bytes().count(b"\n") > 3:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.005)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert journals[0].exists()
    assert not killed.tuning.exists()
    tune_stage.run(params, killed, Silent())
    assert outputs(killed) == outputs(calm)


def test_a_search_resumes_only_with_the_same_settings(tmp_path):
    layout = make_splits(tmp_path, "binary")
    journals = layout.work / "tune"
    journals.mkdir(parents=True)
    (journals / "0123456789abcdef.journal").write_text("of another search")
    tune_stage.run(make_params("binary", tune={"trials": 1}), layout, Silent())
    assert not list(journals.iterdir())
