"""Studies: the value of features, of more rows and of recent rows; adversarial validation."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
from trained_projects import make_params, train_project

from mlops_cli.errors import DataRefused, Usage
from mlops_cli.evaluation.studies import study
from mlops_cli.evaluation.studies.base import Options
from mlops_cli.layout import ROW, TARGET, TIME
from mlops_cli.reporting import Silent

ROWS = 900


def table(drift=0.0, shift=0.0):
    """x0 decides; what it means changes with time by ``drift``; test rows differ by ``shift``."""
    rng = np.random.default_rng(0)
    data = {f"x{i}": rng.normal(size=ROWS) for i in range(6)}
    slope = 1 - drift * np.linspace(1, 0, ROWS)
    y = slope * data["x0"] + 0.3 * rng.normal(size=ROWS) > 0
    data["x1"][ROWS * 7 // 10 :] += shift
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return pl.DataFrame(
        data
        | {
            "kind": np.where(rng.random(ROWS) < 0.5, "a", "b"),
            TARGET: np.where(y, "yes", "no"),
            ROW: np.arange(ROWS, dtype=np.uint32),
            TIME: [start + dt.timedelta(hours=i) for i in range(ROWS)],
        }
    )


GIVEN = make_params("binary", evaluate={"resamples": 40})


def studied(root, name, made, task="binary", **options):
    layout = train_project(root, task, table=made, rounds=10)
    given = GIVEN if task == "binary" else make_params(task, evaluate={"resamples": 40})
    summary = study(name, given, layout, Options(**options), Silent())
    return json.loads(layout.study(_file(name, **options)).read_text()), summary, layout


def _file(name, by="source", **_):
    return "ablation-feature" if (name, by) == ("ablation", "feature") else name


def test_the_feature_that_decides_is_worth_most(tmp_path):
    report, summary, layout = studied(tmp_path, "ablation", table(), by="feature")
    first, *others = report["groups"]
    assert first["group"] == "x0"
    assert first["worth"]["low"] > 0.2
    assert all(abs(group["worth"]["value"]) < 0.05 for group in others)
    assert len(summary.tables[0].rows) == 7
    before = layout.study("ablation-feature").read_bytes()
    study("ablation", GIVEN, layout, Options(by="feature"), Silent())
    assert layout.study("ablation-feature").read_bytes() == before


def test_more_rows_are_better_and_each_step_halves_them(tmp_path):
    report, _, _ = studied(tmp_path, "learning", table(), steps=3)
    assert [p["rows"] for p in report["points"]] == [78, 157, 315, 630]
    assert report["points"][-1]["value"] > report["points"][0]["value"]
    assert report["gain_of_the_last_half"]["low"] <= report["gain_of_the_last_half"]["high"]


def test_older_rows_are_worse_where_the_world_changed(tmp_path):
    report, _, _ = studied(tmp_path, "staleness", table(drift=2.0), step="5d", steps=3)
    newest, *_, oldest = report["points"]
    assert newest["until"] > oldest["until"]
    assert abs(newest["rows"] - oldest["rows"]) <= 1
    # The gain of the newest over the oldest, paired.
    assert oldest["loss"]["low"] > 0.05


def test_rows_of_one_population_cannot_be_told_apart(tmp_path):
    report, summary, _ = studied(tmp_path, "adversarial", table())
    assert report["roc_auc"]["low"] <= 0.5
    assert "can't be told" in summary.headline


def test_a_feature_that_moved_is_what_tells(tmp_path):
    report, _, _ = studied(tmp_path, "adversarial", table(shift=3.0))
    assert report["roc_auc"]["value"] > 0.9
    assert report["telling"][0]["feature"] == "x1"
    assert report["telling"][0]["test"] > report["telling"][0]["train"] + 2


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("name", ["ablation", "learning", "adversarial"])
def test_every_task_is_studied(tmp_path, task, name):
    report, _, _ = studied(tmp_path, name, None, task, by="feature", steps=1)
    assert report


def test_an_impossible_study_is_refused_with_a_message(tmp_path):
    layout = train_project(tmp_path, "binary", table=table().drop(TIME), rounds=2)

    def run(name, **options):
        study(name, GIVEN, layout, Options(**options), Silent())

    with pytest.raises(Usage, match="'ablatio'"):
        run("ablatio")
    with pytest.raises(Usage, match="'row'"):
        run("ablation", by="row")
    with pytest.raises(DataRefused, match="no time"):
        run("staleness")


@pytest.mark.parametrize(
    ("step", "error"), [("1y", DataRefused), ("soon", Usage)], ids=["too far", "no span"]
)
def test_a_step_back_that_cannot_be_is_refused(tmp_path, step, error):
    with pytest.raises(error):
        studied(tmp_path, "staleness", table(), step=step)
