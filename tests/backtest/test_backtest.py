"""Retraining policies, simulated on histories with and without a change."""

import datetime as dt
import json
import signal
import subprocess
import time

import polars as pl
import pytest
from backtest_projects import create_project
from small_projects import MLOPS, mlops

from mlops_cli.backtest import BacktestRequest, backtest
from mlops_cli.backtest.policies import policy_of
from mlops_cli.backtest.report import make_report, write_report
from mlops_cli.data.atomic_files import write_json
from mlops_cli.errors import BadParams, DataRefused, NotFound, Usage
from mlops_cli.params import parse
from mlops_cli.reporting import Silent

pytestmark = pytest.mark.slow

POLICIES = ("never", "monthly", "drift", "performance")
SINCE, UNTIL = "2024-03-01", "2024-07-01"


def moment(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def walked(made, policies=POLICIES, since=SINCE, **more):
    params, layout = made
    asked = BacktestRequest(
        moment(since), moment(UNTIL), "1mo", tuple(map(policy_of, policies)), **more
    )
    return make_report(params, backtest(params, layout, asked, Silent()), "1mo")


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """What is learnt is turned round in the first days of March, and two months later learnt."""
    made = create_project(tmp_path_factory.mktemp("changed"), change=60)
    report = walked(made)
    write_report(made[1], report)
    return made, report


def by_name(report):
    return {policy["name"]: policy for policy in report["policies"]}


def test_a_policy_that_retrains_wins_where_something_changes(changed):
    _, report = changed
    found = by_name(report)
    assert report["best"] in {"monthly", "performance"}
    assert found["never"]["over_best"]["low"] > 0
    assert found["never"]["trained"] == 0
    assert found["monthly"]["trained"] == found["monthly"]["deployed"] == 3
    assert found["monthly"]["rounds"][-1]["metric"]["low"] > 0.7
    assert found["never"]["rounds"][-1]["metric"]["high"] < 0.3
    # The inputs are what they were, so drift has nothing to tell.
    assert found["drift"]["alarms"] == {"true": 0, "false": 0, "missed": 4}
    assert found["performance"]["alarms"]["true"] > 0
    assert found["performance"]["rounds"][1]["trained_because"] == "degraded"
    assert [p["policy"] for p in report["best_by_retrain_cost"]][-1] == "never"


def test_never_is_best_where_nothing_changes_and_training_costs(tmp_path):
    report = walked(create_project(tmp_path, change=999), ("monthly", "never", "performance"))
    found = by_name(report)
    assert report["best"] == "never"
    assert found["performance"]["alarms"] == {"true": 0, "false": 0, "missed": 0}
    assert found["monthly"]["cost"]["training"] == 180


def test_files_are_for_people_dvc_and_programs(changed):
    (_, layout), report = changed
    assert json.loads(layout.backtest.read_text()) == report
    plot = layout.output_root / "reports" / "backtest-plot.json"
    points = json.loads(plot.read_text())["backtest"]
    assert len(points) == 16
    assert points[-1].keys() == {"policy", "period", "roc_auc", "cost"}
    last = {point["policy"]: point["cost"] for point in points}
    assert last == {p["name"]: p["cost"]["total"] for p in report["policies"]}
    page = layout.backtest.with_suffix(".html").read_text()
    assert page.count("<svg") == 2
    assert page.count('class="key ') == page.count("<polyline") == 2 * len(POLICIES)
    assert "http" not in page


def test_new_prices_need_no_new_computation(changed):
    made, report = changed
    params, layout = made
    dear = params.model_copy(
        update={"backtest": params.backtest.model_copy(update={"retrain_cost": 1e6})}
    )
    models = sorted(layout.work.glob("backtest/*/models/*/facts.json"))
    before = [path.stat().st_mtime_ns for path in models]
    again = walked((dear, layout))
    assert again["best"] == "never"
    assert [path.stat().st_mtime_ns for path in models] == before
    assert by_name(again)["monthly"]["rounds"] == by_name(report)["monthly"]["rounds"]
    free = params.model_copy(
        update={"backtest": params.backtest.model_copy(update={"retrain_cost": 0.0})}
    )
    (note,) = walked((free, layout))["notes"]
    assert "retrain_cost is 0, so a training costs nothing" in note
    assert not [n for n in (*again["notes"], *report["notes"]) if "retrain_cost" in n]


def test_a_label_delay_reduces_the_labels_in_time(changed):
    made, report = changed
    late = walked(made, ("performance",), label_delay="20d")
    rounds = by_name(late)["performance"]["rounds"]
    early = by_name(report)["performance"]["rounds"]
    assert rounds[0]["labels_in_time"] < early[0]["labels_in_time"] <= early[0]["labelled"]
    assert rounds[0]["labelled"] == early[0]["labelled"]


def test_a_killed_backtest_resumes_to_the_same_bytes(changed, tmp_path):
    made, report = changed
    _, layout = create_project(tmp_path / "again", change=60)
    words = ["backtest", "--from", SINCE, "--to", UNTIL, "--json", "--jobs", "2"]
    process = subprocess.Popen([MLOPS, *words], cwd=layout.root, stdout=subprocess.DEVNULL)
    for _ in range(1200):
        if list(layout.work.glob("backtest/*/models/*/facts.json")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = mlops(layout.root, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == report
    assert layout.backtest.read_bytes() == made[1].backtest.read_bytes()


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_have_their_costs_too(task, tmp_path):
    report = walked(create_project(tmp_path, task, per_day=10), ("never",), "2024-05-01")
    (never,) = report["policies"]
    assert never["cost"]["errors"] == pytest.approx(sum(r["error"] for r in never["rounds"]))
    assert never["rounds"][0]["error"] > 0
    assert never["rounds"][0]["metric"] is not None


def test_without_a_search_each_model_has_the_settings_of_the_last_one(tmp_path):
    _, layout = create_project(tmp_path, per_day=10)
    text = layout.params.read_text().replace("trials: 1", "trials: 0")
    layout.params.write_text(text)
    settings = {"penalty": 0.37, "scale": "standard", "categories": "one_hot"}
    write_json(layout.tuning / "best.json", {"family": "linear", "settings": settings})
    walked((parse(text), layout), ("never",), "2024-05-01")
    (path,) = layout.work.glob("backtest/*/models/*/model/bundle.json")
    (member,) = json.loads(path.read_text())["members"]
    assert (member["family"], member["settings"]) == ("linear", settings)


def test_a_backtest_trains_on_data_known_at_the_time(changed):
    layout = changed[0][1]
    (folder,) = layout.work.glob("backtest/*/periods")
    period = pl.read_parquet(min(folder.glob("*-0.parquet")))
    assert period["_asked"].min() >= moment(SINCE)
    assert period["_asked"].max() < moment("2024-04-01")
    assert (period["_arrives"] - period["_asked"]).unique().to_list() == [dt.timedelta(days=1)]
    (path,) = layout.work.glob("backtest/*/models/20240301T000000Z/facts.json")
    assert json.loads(path.read_text())["rows"] == (28 + 28) * 24  # of January and February


def test_an_impossible_backtest_is_refused_with_a_message(changed, tmp_path):
    made, _ = changed
    layout = made[1]
    with pytest.raises(Usage, match="there is one period"):
        walked(made, since="2024-06-15")
    with pytest.raises(Usage, match="history ends"):
        walked(made, since="2025-01-01")
    with pytest.raises(
        DataRefused, match="no model can be trained on what was known on 2024-01-04"
    ):
        walked(made, ("never",), since="2024-01-04")
    text = layout.params.read_text().replace("trials: 1", "trials: 0")
    with pytest.raises(NotFound, match="no settings to train with"):
        walked((parse(text), layout))
    timeless = """\
project: {name: shop}
task: {type: binary}
ingest: {sources: {orders: {uri: orders.csv}}}
featurize: {base: orders, target: y}
register: {name: shop}
"""
    with pytest.raises(BadParams, match="have no time, so there is no history"):
        walked((parse(timeless), layout))
