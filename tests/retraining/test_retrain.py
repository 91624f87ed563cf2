"""`mlops retrain`: newer data become a version or nothing changes."""

import json
import shutil
import subprocess

import pytest
from retraining_projects import (
    commit_new_data,
    create_project,
    make_orders,
    repository_state,
    run_retrain,
)
from small_projects import mlops, run_command

from mlops_cli.layout import Layout
from mlops_cli.project.attempts import Attempt, Attempts
from mlops_cli.registry.git_tags import read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return create_project(tmp_path_factory.mktemp("retrain") / "shop")


@pytest.fixture
def shop(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "shop", symlinks=True)


def last(root):
    return Attempts(Layout(root)).history()[-1]


def test_newer_data_become_a_version_in_production_with_the_reason_in_its_tags(shop):
    code, told, said = run_retrain(shop, "--until", "2024-03-01", "-m", "It is March")
    assert (code, told["outcome"], told["version"]) == (0, "promoted", "v0.2.0"), said
    registry = read(shop, "shop")
    assert registry.in_stage("production").number == "v0.2.0"
    assert registry.latest.tag.body == "Retrained up to 2024-03-01: It is March"
    assert registry.assignments[-1].tag.body == "Retrained up to 2024-03-01: It is March"
    assert run_command(shop, "git", "status", "--porcelain") == ""
    shown = json.loads(run_command(shop, "mlops", "status", "--json"))["retraining"]
    assert (shown["unfinished"], shown["last"]["outcome"]) == (None, "promoted")
    # And as far as labels are complete: the last midnight that orders.csv knows of.
    code, told, said = run_retrain(shop)
    assert (code, told["until"], told["version"]) == (0, "2024-03-28", "v0.3.0"), said
    code, told, said = run_retrain(shop)
    assert (code, told["outcome"]) == (0, "nothing new"), said


def test_a_model_that_would_be_worse_never_reaches_production(shop):
    # February's prices mean nothing, so what learns from them is worse on March's.
    commit_new_data(shop, make_orders(84, strange=lambda day: 28 <= day < 62))
    before = repository_state(shop)
    code, _, said = run_retrain(shop, "--until", "2024-03-28")
    assert code == 5
    assert "may be worse than shop@v0.1.0" in said
    assert repository_state(shop) == before
    assert last(shop).outcome == "refused"
    assert "may be worse" in run_command(shop, "mlops", "status")


def test_data_that_cannot_be_read_change_nothing_and_the_next_retraining_succeeds(shop):
    whole = make_orders(84)
    commit_new_data(shop, whole[:-400] + "\n2024-03-20,0.5")
    before = repository_state(shop)
    code, _, said = run_retrain(shop, "--until", "2024-03-28")
    assert code == 1, said
    assert repository_state(shop) == before
    assert (last(shop).outcome, last(shop).version) == ("failed", None)
    commit_new_data(shop, whole)
    code, told, said = run_retrain(shop, "--until", "2024-03-28")
    assert (code, told["outcome"]) == (0, "promoted"), said


def test_too_few_new_rows_are_not_worth_it(shop):
    params = shop / "params.yaml"
    params.write_text(params.read_text().replace("promote: true", "min_rows: 5000"))
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "Wait for more")
    before = repository_state(shop)
    code, told, said = run_retrain(shop, "--until", "2024-03-01")
    assert (code, told["outcome"]) == (0, "too few rows"), said
    assert "new labelled rows" in told["detail"]
    assert repository_state(shop) == before


def test_only_if_needed_it_goes_by_age(shop):
    params = shop / "params.yaml"
    params.write_text(params.read_text().replace("promote: true", "every: 90d, when: []"))
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "Quarterly")
    code, told, said = run_retrain(shop, "--if-needed")
    assert (code, told["outcome"]) == (0, "not needed"), said
    params.write_text(params.read_text().replace("90d", "30d"))
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "Monthly")
    code, told, said = run_retrain(shop, "--if-needed")
    assert (code, told["outcome"]) == (0, "registered"), said
    assert "over 30d before" in told["reason"]


def test_edits_that_no_version_has_are_not_swept_along(shop):
    params = shop / "params.yaml"
    params.write_text(params.read_text().replace("seed: 1", "seed: 2"))
    code, _, said = run_retrain(shop, "--until", "2024-03-01")
    assert code == 3
    assert "params.yaml: project.seed" in said


def test_a_rollback_in_the_meantime_is_not_overruled(shop):
    assert run_retrain(shop, "--until", "2024-02-15")[1]["version"] == "v0.2.0"
    # A pipeline that rolls production back while it runs.
    make = (shop / "make.py").read_text()
    (shop / "make.py").write_text(
        f"{make}import subprocess\n"
        "subprocess.run(['mlops', 'rollback'], check=True, capture_output=True)\n"
    )
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "Somebody rolls back")
    code, told, said = run_retrain(shop, "--until", "2024-03-01")
    assert (code, told["outcome"]) == (0, "registered"), said
    assert "meanwhile v0.1.0 has come into production" in told["detail"]
    assert read(shop, "shop").in_stage("production").number == "v0.1.0"


def test_an_interrupted_retraining_is_shown_gone_on_with_or_dropped(shop):
    before = repository_state(shop)
    make = (shop / "make.py").read_text()
    (shop / "make.py").write_text("import os, signal\nos.kill(os.getppid(), 9)\n" + make)
    run_command(shop, "git", "commit", "--quiet", "--all", "--message", "Dies")
    dying = repository_state(shop)
    process = subprocess.run(
        ["mlops", "retrain", "--until", "2024-03-01"],
        cwd=shop, capture_output=True, check=False, start_new_session=True,
    )  # fmt: skip
    assert process.returncode != 0
    if Attempts(Layout(shop)).unfinished() is None:
        pytest.skip("the shell between was killed, not mlops")
    assert "continues it" in run_command(shop, "mlops", "status")
    assert "--abandon" in mlops(shop, "retrain", "--until", "2024-03-15").stderr
    run_command(shop, "mlops", "retrain", "--abandon")
    assert repository_state(shop) == dying
    assert before[1] == dying[1]


def test_killed_between_the_tag_and_its_note_it_is_completed(shop):
    head = run_command(shop, "git", "rev-parse", "HEAD").strip()
    assert run_retrain(shop, "--until", "2024-03-01")[0] == 0
    whole = last(shop)
    begun = Attempt(whole.at, whole.reason, whole.was, whole.until, head, whole.held)
    Attempts(Layout(shop)).update(begun)
    code, told, said = run_retrain(shop)
    assert (code, told["outcome"], told["version"]) == (0, "promoted", "v0.2.0"), said
    assert len(read(shop, "shop").versions) == 2
