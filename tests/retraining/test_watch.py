"""`mlops watch`: rounds of monitoring and retraining, one at a time, also after a restart."""

import json
import shutil
import signal
import subprocess
import time

import pytest
from retraining_projects import create_project
from small_projects import MLOPS, mlops, run_command

from mlops_cli.data.atomic_files import write_json
from mlops_cli.layout import Layout
from mlops_cli.project.attempts import Attempts
from mlops_cli.registry.git_tags import read
from mlops_cli.retraining import watch


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = create_project(tmp_path_factory.mktemp("watched") / "shop")
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("{promote: true}", "{promote: true, every: 7d}"))
    run_command(root, "git", "commit", "--quiet", "--all", "--message", "Every week")
    return root


@pytest.fixture
def shop(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "shop", symlinks=True)


def test_a_round_monitors_and_retrains_if_there_is_a_reason(shop):
    told = mlops(shop, "watch", "--once", "--json", "--local")
    found = json.loads(told.stdout)
    assert found["codes"]["retrain"] == 0, found
    assert found["said"]["retrain"]["outcome"] == "promoted"
    assert read(shop, "shop").in_stage("production").number == "v0.2.0"
    assert watch.last_round(Layout(shop)).codes == found["codes"]
    # There is no event log: monitoring says so, and the round's exit code is its.
    assert (found["codes"]["monitor"], told.returncode) == (7, 7)


def test_it_ends_between_steps_and_two_exclude_each_other(shop):
    process = subprocess.Popen(
        [MLOPS, "watch", "--every", "1d", "--local", "--json"],
        cwd=shop,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lock = shop / ".mlops" / "watch" / "watch.pid"
    for _ in range(400):
        if lock.is_file():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    second = mlops(shop, "watch", "--once")
    assert second.returncode == 8, second.stderr
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    # The present step has been let end, whichever it was.
    assert Attempts(Layout(shop)).unfinished() is None
    if out:
        assert json.loads(out)["codes"].get("retrain", 0) == 0


def test_after_sigterm_no_further_step_starts(tmp_path, monkeypatch):
    steps = {"first": ("--version",), "second": ("--version",)}
    monkeypatch.setattr(watch, "STEPS", steps)
    stop, rounds = watch.StopSignal(), []
    watch.watch(Layout(tmp_path), "1h", stop, lambda _: stop.request(), rounds.append)
    assert [r.codes for r in rounds] == [{"first": 0}]
    assert watch.last_round(Layout(tmp_path)) == rounds[0]


def test_a_round_that_was_due_meanwhile_is_done_at_once_and_others_are_waited_for(tmp_path):
    layout = Layout(tmp_path)
    hour = 3600
    assert watch._seconds_until_due(layout, "1h") == 0
    for began, least, most in (
        ("2020-01-01T00:00:00+00:00", 0, 0),
        (watch._now(), hour - 5, hour),
        ("2999-01-01T00:00:00+00:00", hour - 5, hour),  # the clock was set back
    ):
        last = watch.WatchRound(began, began, {}, {})
        write_json(tmp_path / ".mlops" / "watch" / "last.json", vars(last))
        assert least <= watch._seconds_until_due(layout, "1h") <= most + 1


def test_the_code_of_a_round_is_that_of_the_step_that_went_wrong():
    def code(**codes):
        return watch.exit_code_of(watch.WatchRound("", "", codes, {}))

    assert code(monitor=0, retrain=0) == 0
    assert code(monitor=11, retrain=0) == 0
    assert code(monitor=10, retrain=5) == 5
    assert code(monitor=7, retrain=0) == 7
