"""Concurrent and killed registry commands leave the state before or after, never between."""

import json
import os
import random
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_projects import (
    MLOPS,
    change_seed,
    clone_project,
    create_project,
    mlops,
    run_command,
    shell,
)

from mlops_cli.registry.git_tags import read

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MLOPS_KILLS", "2"))
"""Kills per command; `MLOPS_KILLS=25 pytest tests/registry/test_registry_faults.py` does more."""


@pytest.fixture
def registered(tmp_path):
    root = create_project(tmp_path / "shop")
    for seed in (1, 2):
        run_command(change_seed(root, seed), "mlops", "register")
    return root


def remote_tags(root):
    listed = run_command(root, "git", "ls-remote", "--tags", "origin")
    return {
        line.split("refs/tags/")[1]: line.split()[0]
        for line in listed.splitlines()
        if not line.endswith("^{}")
    }


def test_of_forty_calls_from_four_clones_none_is_lost_doubled_or_half_made(registered):
    clones = [registered]
    for n, who in enumerate(("bo", "cy", "di"), start=3):
        other = clone_project(registered, registered.with_name(who), who)
        run_command(change_seed(other, n), "mlops", "run")
        clones.append(other)
    calls = [
        (root, ["register"] if call % 5 == 0 else ["promote", version, "--to", stage])
        for call in range(10)
        for root in clones
        for version, stage in [(f"v0.{1 + call % 2}.0", "production" if call % 3 else "staging")]
    ]
    random.Random(0).shuffle(calls)  # noqa: S311
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda c: (c, mlops(c[0], *c[1], "--json")), calls))

    tags = remote_tags(registered)
    new = [json.loads(r.stdout) for _, r in results if r.returncode == 0 and _new(r)]
    said = [" ".join(r.stderr.split()) for _, r in results if r.returncode]
    # Each success is a tag of its own, and each tag is somebody's success.
    promoted = [m["tag"] for m in new if "tag" in m]
    versions = [m["version"] for m in new if "new" in m and "tag" not in m]
    assert sorted({*promoted, *versions, "shop@v0.1.0", "shop@v0.2.0"}) == sorted(tags)
    assert len(promoted) == len(set(promoted))
    assert len(versions) == len(set(versions)) == 1
    # Every loser has read what happened.
    sentence = re.compile(r"error: .*(same moment|not here|held by|changed it)")
    assert all(sentence.search(text) for text in said), said
    assert all(r.returncode in {0, 8} for _, r in results), said
    # The numbers of assignments have no gap and no double.
    counters = sorted(int(t.rpartition("#")[2]) for t in promoted)
    assert len(counters) >= 1
    for root in clones:
        run_command(root, "git", "fetch", "--quiet", "--tags")
        run_command(root, "git", "fsck", "--no-dangling")
        assert set(run_command(root, "git", "tag").split()) == set(tags)
    # And the branch has exactly the commits of the versions.
    log = run_command(registered, "git", "log", "--format=%s", "origin/main")
    assert len(re.findall(r"^Register shop v", log, re.MULTILINE)) == 3


def _new(result):
    return json.loads(result.stdout).get("new")


def test_a_killed_registrations_own_push_is_no_conflict(registered):
    run_command(change_seed(registered, 100), "mlops", "run")
    run_command(registered, "mlops", "register", "-m", "sent")
    commit = run_command(registered, "git", "rev-parse", "HEAD")
    run_command(
        registered, "git", "reset", "--quiet", "HEAD^"
    )  # as it is before the branch follows
    run_command(registered, "mlops", "register", "-m", "sent")
    assert run_command(registered, "git", "rev-parse", "HEAD") == commit
    assert run_command(registered, "git", "status", "--porcelain") == ""


@pytest.mark.parametrize("command", ["register", "promote"])
def test_a_killed_command_has_done_all_or_nothing_and_the_next_run_completes(registered, command):
    rng = random.Random(command)  # noqa: S311 - when to kill is no secret
    arguments = {
        "register": ["register", "-m", "again"],
        "promote": ["promote", "latest", "--to", "production"],
    }[command]
    if command == "register":
        run_command(change_seed(registered, 100), "mlops", "run")
    started = time.monotonic()
    assert mlops(registered, *arguments).returncode == 0
    lasts = time.monotonic() - started
    for kill in range(KILLS):
        if command == "register":
            run_command(change_seed(registered, 200 + kill), "mlops", "run")
        else:
            version = f"v0.{1 + kill % 2}.0"
            arguments = ["promote", version, "--to", "production"]
        before = facts(registered)
        killed = subprocess.Popen(
            [MLOPS, *arguments],
            cwd=registered,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(rng.uniform(0.3, 1.05) * lasts)
        whole_group = rng.random() < 0.5
        (os.killpg if whole_group else os.kill)(killed.pid, signal.SIGKILL)
        killed.wait()
        time.sleep(0.3)  # a Git of its own may still be at work
        run_command(registered, "git", "fsck", "--no-dangling")
        after = facts(registered)
        assert before["remote"] <= after["remote"]
        assert len(after["remote"] - before["remote"]) <= 1
        assert after["local"] <= after["remote"]  # what is seen here is seen by all
        again = shell(registered, MLOPS, *arguments)
        assert again.returncode == 0, again.stderr
        finished = facts(registered)
        assert finished["local"] == finished["remote"]
        assert len(finished["local"]) == len(before["local"]) + 1
        status = run_command(registered, "git", "status", "--porcelain")
        assert status == ""
        if command == "promote":
            assert read(registered, "shop").in_stage("production").number == version


def facts(root):
    """The registry here and on the remote."""
    return {"local": set(run_command(root, "git", "tag").split()), "remote": set(remote_tags(root))}
