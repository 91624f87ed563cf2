"""A retraining that makes no version restores all files."""

import json
import os
import signal
import subprocess
import time

import pytest
from retraining_projects import (
    commit_new_data,
    create_project,
    make_orders,
    repository_state,
    run_retrain,
)
from small_projects import MLOPS, mlops, run_command, set_git_identity

from mlops_cli.layout import Layout
from mlops_cli.project.attempts import Attempts

UNTIL = "2024-03-01"
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return create_project(tmp_path_factory.mktemp("restored") / "shop")


@pytest.fixture
def shop(made, tmp_path):
    """A copy that a test may change, with a bare remote that has all of it."""
    root = tmp_path / "shop"
    run_command(tmp_path, "cp", "-a", str(made), str(root))
    run_command(
        tmp_path, "git", "init", "--quiet", "--bare", "--initial-branch", "main", "shop.git"
    )
    run_command(root, "git", "remote", "add", "origin", str(tmp_path / "shop.git"))
    run_command(root, "git", "push", "--quiet", "--set-upstream", "origin", "main", "--tags")
    return root


def last(root):
    return Attempts(Layout(root)).history()[-1]


def edited(root, old, new):
    path = root / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def committed(root, message="Mine"):
    run_command(root, "git", "commit", "--quiet", "--all", "--message", message)


def stuck(root):
    return Attempts(Layout(root)).unfinished() is not None


def killed(root, stage):
    """A retraining whose whole process group is killed in a stage."""
    process = subprocess.run(
        [MLOPS, "retrain", "--local", "--until", UNTIL],
        cwd=root, env={**os.environ, "KILL": stage}, check=False, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.returncode == KILLED
    assert stuck(root)


def clean(root, before):
    """All is as before: files of every kind, the index, branches, tags, and what DVC says."""
    assert not stuck(root)
    assert repository_state(root) == before
    assert run_command(root, "git", "status", "--porcelain") == ""
    assert "up to date" in run_command(root, "dvc", "status")
    assert "nothing to do" in run_command(root, "mlops", "retrain", "--abandon")


def limited(root):
    edited(root, "gates: {}", "gates: {limits: {rmse: 0.0001}}")
    committed(root)
    # With the former decision on record, as a team has it: production's model passed another gate.
    run_command(root, "mlops", "run")
    committed(root, "The gates' decision")
    return UNTIL


def compared(root):
    commit_new_data(root, make_orders(84, strange=lambda day: 28 <= day < 62))
    run_command(root, "mlops", "run")
    committed(root, "The run")
    return "2024-03-28"


@pytest.mark.parametrize("refusal", [limited, compared])
def test_a_gate_refuses_with_5_and_files_and_folders_are_put_back_each_time(shop, refusal):
    until = refusal(shop)
    before = repository_state(shop)
    for _ in range(2 if refusal is limited else 1):
        code, _, said = run_retrain(shop, "--local", "--until", until)
        assert code == 5, said
        assert last(shop).outcome == "refused"
        clean(shop, before)


def hook(root):
    path = root.with_name("shop.git") / "hooks" / "pre-receive"
    path.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    path.chmod(0o755)


def checked_out(root):
    bare = root.with_name("shop.git")
    run_command(root, "git", "clone", "--quiet", str(bare), str(root.with_name("other")))
    run_command(root, "git", "remote", "set-url", "origin", str(root.with_name("other")))


def raced(root):
    other = root.with_name("other")
    run_command(root, "git", "clone", "--quiet", str(root.with_name("shop.git")), str(other))
    set_git_identity(other, "bo")
    (other / "README.md").write_text("Bo was faster\n")
    run_command(other, "git", "add", "README.md")
    committed(other, "Bo was faster")
    run_command(other, "git", "push", "--quiet")


def gone(root):
    root.with_name("shop.git").rename(root.with_name("gone.git"))


@pytest.mark.parametrize(
    ("refusal", "exit_code", "word"),
    [
        (hook, 6, "main is protected"),
        (checked_out, 6, "checked out"),
    ],
)
def test_a_push_that_is_refused_leaves_all_as_it_was(shop, refusal, exit_code, word):
    refusal(shop)
    before = repository_state(shop)
    code, _, said = run_retrain(shop, "--until", UNTIL)
    assert (code, word in said) == (exit_code, True), said
    clean(shop, before)
    assert (last(shop).outcome, last(shop).version) == ("failed", None)


@pytest.mark.parametrize(
    ("refusal", "exit_code", "word"),
    [(raced, 8, "has commits that are not here"), (gone, 6, "cannot be reached")],
)
def test_a_remote_that_will_take_nothing_is_noticed_before_anything_runs(
    shop, refusal, exit_code, word
):
    refusal(shop)
    before = repository_state(shop)
    code, _, said = run_retrain(shop, "--until", UNTIL)
    assert (code, word in said) == (exit_code, True), said
    clean(shop, before)
    assert Attempts(Layout(shop)).history() == []


@pytest.mark.parametrize("stage", ["featurize", "register"])
def test_killed_twice_in_a_stage_it_is_dropped_or_gone_on_with(shop, stage):
    before = repository_state(shop)
    killed(shop, stage)
    assert run_command(shop, "git", "status", "--porcelain") != ""
    if stage == "register":
        killed(shop, stage)
    refused = mlops(shop, "register", "--local")
    assert (refused.returncode, "isn't finished" in refused.stderr) == (3, True), refused.stderr
    said = run_command(shop, "mlops", "retrain", "--abandon")
    assert "abandoned" in said
    clean(shop, before)
    killed(shop, stage)
    code, told, said = run_retrain(shop, "--local", "--until", UNTIL)
    assert (code, told["outcome"]) == (0, "promoted"), said
    assert run_command(shop, "git", "status", "--porcelain") == ""
    assert not stuck(shop)


def test_putting_back_that_is_killed_again_and_again_is_completed(shop):
    before = repository_state(shop)
    killed(shop, "register")
    for seconds in (0.4, 0.7, 1.0):
        process = subprocess.Popen(
            [MLOPS, "retrain", "--abandon"], cwd=shop, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(seconds)
        process.kill()
        process.wait()
    # One that was killed while it put back a refusal, rather than what was dropped.
    attempts = Attempts(Layout(shop))
    if (attempt := attempts.unfinished()) is not None:
        attempts.update(attempt, step="restoring", outcome="refused", detail="too bad")
        assert "refused" in run_command(shop, "mlops", "retrain", "--abandon")
    clean(shop, before)


def test_an_edit_after_a_kill_is_never_overwritten(shop):
    killed(shop, "register")
    edited(shop, "margin: 0.05", "margin: 0.04")
    mine = (shop / "params.yaml").read_text()
    for words in (["--abandon"], [], ["--abandon"]):
        result = mlops(shop, "retrain", "--local", *words)
        assert result.returncode == 3, result.stderr
        assert "params.yaml" in result.stderr
        assert (shop / "params.yaml").read_text() == mine
    # Committed, it stays; everything else is put back.
    run_command(shop, "git", "commit", "--quiet", "--message", "Mine", "params.yaml")
    assert "abandoned" in run_command(shop, "mlops", "retrain", "--abandon")
    assert (shop / "params.yaml").read_text() == mine
    assert run_command(shop, "git", "status", "--porcelain") == ""


def test_an_edit_that_was_undone_by_git_is_no_obstacle(shop):
    before = repository_state(shop)
    killed(shop, "featurize")
    edited(shop, "margin: 0.05", "margin: 0.04")
    assert mlops(shop, "retrain", "--abandon").returncode == 3
    run_command(shop, "git", "checkout", "--", "params.yaml")
    run_command(shop, "mlops", "retrain", "--abandon")
    clean(shop, before)


def test_after_a_commit_it_begins_anew_from_there(shop):
    killed(shop, "register")
    edited(shop, "margin: 0.05", "margin: 0.04")
    committed(shop)
    code, told, said = run_retrain(shop, "--local", "--until", "2024-03-01")
    # The commit holds the half-done data clock: there is nothing to move it to.
    assert code == 2, said
    code, told, said = run_retrain(shop, "--local", "--until", "2024-03-15")
    assert (code, told["outcome"]) == (0, "promoted"), said
    assert "margin: 0.04" in (shop / "params.yaml").read_text()
    assert run_command(shop, "git", "status", "--porcelain") == ""


def test_a_lock_that_a_kill_cut_off_is_put_back(shop):
    before = repository_state(shop)
    killed(shop, "register")
    attempts = Attempts(Layout(shop))
    with attempts.record_writes(["models/model"]):
        (shop / "dvc.lock").write_text("schema: '2.0'\nstages:\n  feat")
    code, told, said = run_retrain(shop, "--local", "--until", UNTIL)
    assert (code, told["outcome"]) == (0, "promoted"), said
    assert last(shop).reason == "by hand"
    assert before[0] != repository_state(shop)[0]


def test_outputs_that_no_cache_has_are_put_back_too(shop):
    limited(shop)
    before = repository_state(shop)
    run_command(shop, "rm", "-r", ".dvc/cache")
    code, _, said = run_retrain(shop, "--local", "--until", UNTIL)
    assert code == 5, said
    clean(shop, before)


def test_outputs_that_were_not_there_are_not_there_again(shop):
    limited(shop)
    run_command(shop, "rm", "-r", ".dvc/cache", "data/features", "data/splits", "models/model")
    before = repository_state(shop)
    code, _, said = run_retrain(shop, "--local", "--until", UNTIL)
    assert code == 5, said
    assert repository_state(shop) == before


def test_a_clock_that_was_moved_for_serving_stands_there_again(shop):
    limited(shop)
    edited(shop, 'until: "2024-02-01"', 'until: "2024-03-20"')
    before = repository_state(shop)
    code, _, said = run_retrain(shop, "--local", "--until", UNTIL)
    assert code == 5, said
    assert repository_state(shop) == before
    assert run_command(shop, "git", "status", "--porcelain") == " M params.yaml\n"


def test_status_says_that_a_run_or_a_retraining_is_at_work(shop, tmp_path):
    hold = tmp_path / "hold"
    for words in (["run", "--force"], ["retrain", "--local", "--until", UNTIL]):
        hold.touch()
        process = subprocess.Popen(
            [MLOPS, *words], cwd=shop, env={**os.environ, "HOLD": str(hold)},
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(600):
            facts = json.loads(run_command(shop, "mlops", "status", "--json"))
            if facts["at_work"] and facts["at_work"]["stage"]:
                break
        assert facts["at_work"] == {"process": process.pid, "stage": "featurize"}
        assert facts["stages"]["featurize"]["state"] == "at work"
        assert bool(facts["retraining"]["unfinished"]) == (words[0] == "retrain")
        if words[0] == "retrain":
            assert facts["retraining"]["process"] == process.pid
            said = run_command(shop, "mlops", "status")
            assert "at work retraining up to 2024-03-01" in said
            assert "interrupted" not in said
        hold.unlink()
        assert process.wait() == 0
    facts = json.loads(run_command(shop, "mlops", "status", "--json"))
    assert (facts["at_work"], facts["retraining"]["unfinished"]) == (None, None)


def test_what_is_pushed_can_be_verified_by_everybody(shop, tmp_path):
    """`retrain` and `push` send all data, and no stage names a version that wasn't sent."""
    run_command(shop, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "A store")
    run_command(shop, "git", "push", "--quiet")
    code, told, said = run_retrain(shop, "--until", UNTIL)
    assert (code, told["outcome"]) == (0, "promoted"), said
    edited(shop, 'until: "2024-03-01"', 'until: "2024-03-15"')
    run_command(shop, "mlops", "register", "--local")
    refused = mlops(shop, "promote", "v0.3.0", "--to", "production")
    assert (refused.returncode, "not on origin" in refused.stderr) == (3, True)
    run_command(shop, "mlops", "push")
    run_command(shop, "mlops", "promote", "v0.3.0", "--to", "production")
    other = tmp_path / "other"
    run_command(tmp_path, "git", "clone", "--quiet", str(tmp_path / "shop.git"), str(other))
    set_git_identity(other, "bo")
    for version in ("v0.2.0", "production"):
        run_command(other, "mlops", "models", "pull", version)
        said = json.loads(mlops(other, "verify", version, "--json").stdout)
        failed = {c["name"]: c["said"] for c in said["checks"] if not c["passed"]}
        assert not {"data", "bundle", "objects", "manifest"} & failed.keys(), failed


def test_what_no_cache_has_is_sent_from_the_workspace(shop, tmp_path):
    run_command(shop, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    edited(shop, 'until: "2024-02-01"', 'until: "2024-03-15"')
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "A store, and March")
    run_command(shop, "mlops", "push")
    run_command(shop, "mlops", "run")
    run_command(shop, "rm", "-r", ".dvc/cache")
    run_command(shop, "mlops", "register")
    checks = json.loads(mlops(shop, "verify", "latest", "--json").stdout)["checks"]
    assert next(check for check in checks if check["name"] == "data")["passed"]
    assert "Everything is up to date" in run_command(shop, "dvc", "push")
