"""A killed retraining leaves production before or after, and the next run completes it."""

import os
import random
import signal
import subprocess
import time

import pytest
from retraining_projects import create_project, run_retrain
from small_projects import MLOPS, run_command

from mlops_cli.layout import Layout
from mlops_cli.models.bundle import verify
from mlops_cli.project.attempts import Attempts
from mlops_cli.registry.fetch_bundle import pull_bundle
from mlops_cli.registry.git_tags import read

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MLOPS_KILLS", "2"))
"""`MLOPS_KILLS=20 pytest -n 0 tests/retraining/test_retrain_faults.py` does more."""


def test_a_killed_retraining_leaves_production_and_the_next_run_completes_it(tmp_path):
    root = create_project(tmp_path / "shop")
    rng = random.Random(20)  # noqa: S311 - when to kill is no secret
    started = time.monotonic()
    assert run_retrain(root, "--until", "2024-02-02")[0] == 0
    lasts = time.monotonic() - started
    for kill in range(KILLS):
        until = f"2024-{2 + (kill + 3) // 28:02d}-{1 + (kill + 3) % 28:02d}"
        before = read(root, "shop")
        present = before.in_stage("production")
        process = subprocess.Popen(
            [MLOPS, "retrain", "--until", until],
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(rng.uniform(0.1, 1.0) * lasts)
        whole_group = rng.random() < 0.7
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0.3)  # a Git of its own may still be at work
        run_command(root, "git", "fsck", "--no-dangling")
        now = read(root, "shop")
        assert now.in_stage("production") in {present, now.latest}
        assert len(now.versions) - len(before.versions) in {0, 1}
        # What is in production can be served, whatever lies in the workspace.
        verify(pull_bundle(root, now.in_stage("production")))
        if Attempts(Layout(root)).unfinished() is not None:
            code, _, said = run_retrain(root)
        else:
            code, _, said = run_retrain(root, "--until", until)
        # 2: it had ended before it was killed, so the data go up to there already.
        assert code == 0 or (code == 2 and now.in_stage("production") == now.latest), said
        after = read(root, "shop")
        assert len(after.versions) == len(before.versions) + 1
        assert after.in_stage("production") == after.latest
        assert run_command(root, "git", "status", "--porcelain") == ""
