"""`mlops serve --follow`: versions change under load without a failed request."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from model_services import RunningService, run_service

MLOPS = str(Path(sys.executable).with_name("mlops"))
pytestmark = pytest.mark.slow


def done(folder: Path, *command: str) -> str:
    """Run a command that has to succeed."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A new project with two registered versions, the first in production."""
    folder = tmp_path_factory.mktemp("follow")
    rng = np.random.default_rng(1)
    size, kind = rng.normal(size=500), rng.choice(["a", "b"], 500)
    late = size + (kind == "b") + rng.normal(0, 0.5, 500) > 0.5
    pl.DataFrame({"size": size, "kind": kind, "late": late}).write_csv(folder / "rows.csv")
    done(folder, MLOPS, "init", "shop", "--data", "rows.csv", "--target", "late")
    root = folder / "shop"
    done(root, "git", "config", "user.name", "Ann")
    done(root, "git", "config", "user.email", "ann@example.org")
    params = root / "params.yaml"
    text = re.sub(r"trials: \d+", "trials: 1", params.read_text())
    text = re.sub(r"families: \[[^]]*\]", "families: [lightgbm]", text)
    text = text.replace("train:\n", "train:\n  ensemble: false\n", 1)
    params.write_text(re.sub(r" *beats_baselines.*\n", "", text))
    done(root, "git", "add", "--all")
    done(root, "git", "commit", "-qm", "Start")
    done(root, MLOPS, "register", "-m", "First")
    done(root, MLOPS, "promote", "v0.1.0", "--to", "production")
    params.write_text(re.sub(r"seed: \d+", "seed: 77", params.read_text()))
    done(root, MLOPS, "register", "-m", "Second")
    return root


def test_promotion_and_rollback_take_effect_without_a_failed_request(
    project: Path, monkeypatch
) -> None:
    monkeypatch.chdir(project)
    command = (MLOPS, "serve", "--follow", "--shadow", "v0.2.0")
    with run_service(os.environ, *command) as service:
        seen: list[tuple[int, str]] = []
        ended = threading.Event()
        row = {"size": 0.3, "kind": "b"}

        def ask() -> None:
            while not ended.is_set():
                status, content, _ = service.request("POST", "/predict", [row])
                seen.append((status, content.get("version", "")))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        for command, version in (
            (("promote", "v0.2.0", "--to", "production"), "v0.2.0"),
            (("rollback", "-m", "back"), "v0.1.0"),
        ):
            done(project, MLOPS, *command)
            wait_for(service, version)
        ended.set()
        for client in clients:
            client.join()
        (p,) = service.predict([row])
    assert {status for status, _ in seen} == {200}
    versions = [version for _, version in seen]
    assert set(versions) == {"v0.1.0", "v0.2.0"}
    assert versions[0] == versions[-1] == "v0.1.0"
    db = sqlite3.connect(project / ".mlops" / "events.sqlite")
    assert db.execute("SELECT COUNT(*) FROM predictions WHERE role = 'answered'").fetchone() == (
        len(seen) + 1,
    )
    shadowed = "SELECT version, role FROM predictions WHERE id = ?"
    assert db.execute(shadowed, (f"{p['id']}-shadow",)).fetchone() == ("v0.2.0", "shadow")
    db.close()


def test_a_colleagues_promotion_and_rollback_reach_a_service_that_fetches(
    project: Path, tmp_path: Path, monkeypatch
) -> None:
    mine, theirs, remote = tmp_path / "mine", tmp_path / "theirs", tmp_path / "shop.git"
    shutil.copytree(project, mine, symlinks=True)
    done(tmp_path, "git", "init", "-q", "--bare", "-b", "main", str(remote))
    done(mine, "git", "remote", "add", "origin", str(remote))
    done(mine, "git", "push", "-q", "origin", "HEAD:main", "--tags")
    done(tmp_path, "git", "clone", "-q", "-b", "main", str(remote), str(theirs))
    done(theirs, "git", "config", "user.name", "Bo")
    done(theirs, "git", "config", "user.email", "bo@example.org")
    monkeypatch.chdir(mine)
    with run_service(
        os.environ, MLOPS, "serve", "--follow", "--fetch", "1s", "--no-log"
    ) as service:
        wait_for(service, "v0.1.0")
        done(theirs, MLOPS, "promote", "v0.2.0", "--to", "production")
        wait_for(service, "v0.2.0")
        following = service.request("GET", "/readyz")[1]["following"]
        assert following["stage"] == "production"
        assert following["problem"] is None
        assert following["fetch"]["remote"] == "origin"
        assert following["fetch"]["age_seconds"] < 60
        remote.rename(tmp_path / "away")
        done(mine, MLOPS, "rollback", "--local")
        wait_for(service, "v0.1.0")
        for _ in range(200):
            problem = service.request("GET", "/readyz")[1]["following"]["fetch"]["problem"]
            if problem:
                break
            time.sleep(0.05)
        assert "fetching from origin failed" in problem


def wait_for(service: RunningService, version: str) -> None:
    """Until the service answers from a version."""
    for _ in range(200):
        if service.request("GET", "/readyz")[1]["version"] == version:
            return
        time.sleep(0.05)
    raise AssertionError(json.dumps(service.request("GET", "/readyz")[1]))


def test_the_banners_curl_works_when_pasted(project: Path, monkeypatch) -> None:
    monkeypatch.chdir(project)
    with run_service(os.environ, MLOPS, "serve", "--version", "v0.2.0", "--no-log") as service:
        assert service.process.stdout is not None
        lines = iter(service.process.stdout.readline, "")
        curl = next(line for line in lines if line.startswith("curl "))
        answer = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
        assert json.loads(answer.stdout)["version"] == "v0.2.0"
        taken = subprocess.run(
            [MLOPS, "serve", "--workspace", "--port", str(service.port)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert taken.returncode == 8
        assert f"port {service.port} of 127.0.0.1 can't be taken" in taken.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--version", "v9.9.9"), 7, "v9.9.9"),
        (("--stage", "prodution"), 7, "production"),
        (("--canary", "v0.2.0"), 2, "Write VERSION=SHARE"),
        (("--canary", "v0.2.0=200%"), 2, "Write VERSION=SHARE"),
        (("--workspace", "--follow"), 2, "--follow follows a stage"),
        (("--version", "v0.1.0", "--workspace"), 2, "exclude each other"),
        (("--host", "no such host"), 2, "is not an address"),
    ],
)
def test_what_cannot_be_served_is_told(project: Path, words, code: int, said: str) -> None:
    result = subprocess.run(
        [MLOPS, "serve", *words], cwd=project, capture_output=True, text=True, check=False
    )
    assert result.returncode == code, result.stderr
    assert said in result.stderr


def test_a_version_of_a_new_project_is_rebuilt_to_the_byte(project: Path) -> None:
    told = json.loads(done(project, MLOPS, "verify", "latest", "--rebuild", "--json"))
    assert told["passed"]
    assert told["rebuild"]["verdict"] == "reproduced to the byte"
    assert told["rebuild"]["outputs"] == []
