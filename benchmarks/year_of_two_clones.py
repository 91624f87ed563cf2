"""Simulation of a shop's year with a team of two: each month a retraining ends in another way.

    python benchmarks/year_of_two_clones.py [--seeds 3] [--first 100] [--keep DIR]

The orders are those of year_of_orders.py. Ann and Bo have a clone each, a bare Git remote, a folder
as DVC remote, and one event log. Ann's service follows production and scores each order. After each
month its labels are imported, and `mlops monitor` checks it. Then one of the two retrains, in the
scenario of the month (`SCENARIOS`): the model is accepted, a gate or the remote refuses it, a
colleague pushes meanwhile, the retraining is killed and resumed or dropped, a replay refuses an
overfitted model, both roll back at once, or October's findings are the reason.

After each scenario, both clones must be clean, without an unfinished retraining. Each promoted
version must pass the steps of the delivery workflow in a fresh clone, and the service must switch
to it. Otherwise the script ends with an error. It prints JSON: the results of each month, the share
of unchanged months with an alarm (target: at most 5%), and how often October was detected (target:
always).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import year_of_orders as orders
from year_of_orders import BIN, YEAR, run

NAME = "shop"
OVERFITTED_SEARCH = {
    "families": ["extra_trees"],
    "spaces": {
        "extra_trees": {
            "max_leaves": {"choices": [4096]},
            "min_leaf": {"choices": [1]},
            "features": {"choices": [1.0]},
        }
    },
    "trials": 1,
}


class Team:
    """Two clones of one shop with their remotes and event log."""

    def __init__(self, folder: Path, table: pl.DataFrame, clock: dt.date) -> None:
        self.folder, self.table = folder, table
        self.remote, self.log = folder / "shop.git", folder / "events.sqlite"
        orders.EXTRA_ENVIRONMENT["MLOPS_EVENTS_URL"] = str(self.log)
        self.ann, self.bo = folder / "ann" / NAME, folder / "bo" / NAME
        self._set_up(clock)

    def _set_up(self, clock: dt.date) -> None:
        """Create Ann's project with a version in production, and Bo's clone."""
        for clone in (self.ann.parent, self.bo.parent, self.folder / "store"):
            clone.mkdir()
        options = ("--data", str(self.folder / "orders.csv"), "--target", "returned")
        run(self.ann.parent, "mlops", "init", NAME, *options, "--time", "ordered")
        orders.write_settings(self.ann / "params.yaml")
        edit_params(self.ann, set_team_rules)
        set_git_identity(self.ann, "ann")
        run(self.ann, "mlops", "clock", str(clock))
        run(self.ann, "git", "branch", "-M", "main")
        run(self.folder, "git", "init", "-q", "--bare", "--initial-branch", "main", "shop.git")
        run(self.ann, "git", "remote", "add", "origin", str(self.remote))
        run(self.ann, "dvc", "remote", "add", "--default", "store", str(self.folder / "store"))
        run(self.ann, "mlops", "run")
        commit(self.ann, "The shop until now")
        run(self.ann, "git", "push", "-q", "--set-upstream", "origin", "main")
        run(self.ann, "mlops", "register", "-m", "The first")
        run(self.ann, "mlops", "promote", "v0.1.0", "--to", "production", "-m", "The first")
        run(self.ann, "mlops", "push")
        run(self.bo.parent, "git", "clone", "-q", str(self.remote), NAME)
        set_git_identity(self.bo, "bo")
        run(self.bo, "mlops", "pull")

    def check_and_pull(self) -> None:
        """Check that both clones are clean, and pull in both."""
        for clone in (self.ann, self.bo):
            changes = run(clone, "git", "status", "--porcelain")
            retraining = show_json(clone, "status")["retraining"]
            if changes or retraining["unfinished"]:
                sys.exit(f"{clone} isn't clean: {changes}{retraining}")
            run(clone, "mlops", "pull")

    def production_version(self) -> str:
        """Return the version in production, after a fetch of all tags."""
        run(self.ann, "git", "fetch", "-q", "--tags")
        return version_number(show_json(self.ann, "models", "show", "production"))

    def run_delivery(self) -> None:
        """Run the steps of the delivery workflow in a fresh clone."""
        clone = self.folder / "delivery"
        shutil.rmtree(clone, ignore_errors=True)
        run(self.folder, "git", "clone", "-q", str(self.remote), "delivery")
        run(clone, "git", "remote", "set-head", "origin", "main")
        version = self.production_version()
        run(clone, "mlops", "verify", "production")
        run(clone, "mlops", "models", "pull", version, "-o", "model")
        run(clone, "dvc", "pull", "--allow-missing", "data/validated", "data/ingested")
        run(clone, "mlops", "serve", "build", "--version", version)

    def wait_for_service(self, port: int) -> None:
        """Wait until the service uses the version in production."""
        version = self.production_version()
        for _ in range(300):
            ready = json.loads(orders.send(port, "GET", "/readyz")[1])
            if ready["version"] == version:
                return
            time.sleep(0.2)
        sys.exit(f"the service has {ready['version']}, and {version} is in production")

    def simulate_month(self, month: int, port: int) -> dict[str, Any]:
        """Send a month's orders to the service, import their labels, and monitor the month."""
        rows = self.table.filter(pl.col("ordered").dt.month() == month)
        ids = orders.predict_orders(rows, port)
        path = self.folder / "labels.csv"
        pl.DataFrame({"id": ids, "returned": rows["returned"]}).write_csv(path)
        run(self.ann, "mlops", "feedback", "import", str(path), "--label", "returned")
        return orders.monitor_month(self.ann, month)


def show_json(clone: Path, *options: str, codes: set[int] | frozenset[int] = frozenset({0})) -> Any:
    """Return the JSON of a command."""
    return json.loads(run(clone, "mlops", *options, "--json", codes=codes))


def version_number(facts: dict[str, Any]) -> str:
    """Version without the model's name, such as v0.3.0."""
    return str(facts["version"]).partition("@")[2]


def set_git_identity(clone: Path, name: str) -> None:
    """Set name and address in Git."""
    for key, value in (("user.name", name), ("user.email", f"{name}@example.org")):
        run(clone, "git", "config", key, value)


def commit(clone: Path, message: str) -> None:
    """Commit all changes."""
    run(clone, "git", "add", "--all")
    run(clone, "git", "commit", "-q", "--message", message)


def edit_params(clone: Path, edit: Callable[[Any], None]) -> None:
    """Edit params.yaml."""
    from ruamel.yaml import YAML

    yaml, path = YAML(), clone / "params.yaml"
    tree = yaml.load(path)
    edit(tree)
    yaml.dump(tree, path)


def set_team_rules(tree: Any) -> None:
    """Require a champion comparison and a replay, and promote automatically."""
    gate = {"metric": "roc_auc", "margin": 0.08, "rows": 50}
    tree["register"]["champion"] = {"metric": "roc_auc", "margin": 0.1}
    strict_gate = {**gate, "margin": 0.01, "rows": 500}
    stages = {"staging": {"replay": strict_gate}, "production": {"replay": gate}}
    tree["register"]["stages"] = stages
    tree["retrain"] = {"promote": True}


def retrain(clone: Path, until: dt.date, *options: str) -> tuple[int, dict[str, Any]]:
    """Run `mlops retrain`; return its exit code and its entry in the history."""
    return wait_for_retraining(
        clone, start_command(clone, "retrain", "--until", str(until), *options)
    )


def wait_for_retraining(clone: Path, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Wait for a retraining; return its exit code and its entry in the history."""
    text, error = process.communicate()
    last = show_json(clone, "status")["retraining"]["last"] or {}
    return process.returncode, {**last, "text": text, "error": error}


def start_command(clone: Path, *options: str) -> subprocess.Popen[str]:
    """Start a command in its own process group."""
    command = [str(BIN / "mlops"), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=clone, env=orders.environment(), stdout=pipe, stderr=pipe, text=True,
        start_new_session=True,
    )  # fmt: skip


def expect_outcome(report: tuple[int, dict[str, Any]], *expected: tuple[int, str]) -> str:
    """Describe the outcome; exit with an error if it isn't an expected one."""
    code, last = report
    if (code, last.get("outcome")) not in expected:
        sys.exit(f"a retraining ended with {code}, {json.dumps(last, indent=1)}: not in {expected}")
    return f"{last['outcome']}: {last.get('version') or last.get('detail')}"


class Retraining(NamedTuple):
    """A retraining after a month: team, clone and data clock."""

    team: Team
    clone: Path
    until: dt.date


PROMOTED, REGISTERED, REFUSED = (0, "promoted"), (0, "registered"), (5, "refused")
"""Exit codes and outcomes; registered only means that the replay refused the promotion."""


def retrain_normally(retraining: Retraining) -> str:
    """Retrain without a disturbance; the comparison may refuse the model."""
    return expect_outcome(
        retrain(retraining.clone, retraining.until), PROMOTED, REGISTERED, REFUSED
    )


def fail_a_gate(retraining: Retraining) -> str:
    """Retrain with a limit that no model reaches, then revert it."""
    edit_params(
        retraining.clone, lambda tree: tree["register"].update(gates={"limits": {"roc_auc": 0.999}})
    )
    run(retraining.clone, "mlops", "run")
    commit(retraining.clone, "A limit that nothing reaches")
    outcomes = [
        expect_outcome(retrain(retraining.clone, retraining.until, "--local"), REFUSED)
        for _ in range(2)
    ]
    edit_params(retraining.clone, lambda tree: tree["register"].update(gates={}))
    run(retraining.clone, "mlops", "run")
    commit(retraining.clone, "The limit goes")
    run(retraining.clone, "mlops", "push")
    return outcomes[-1]


def fail_the_push(retraining: Retraining) -> str:
    """Retrain while the branch is protected."""
    hook = retraining.team.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    report = retrain(retraining.clone, retraining.until)
    hook.unlink()
    return expect_outcome(report, (6, "failed"), REFUSED)


def retrain_during_a_push(retraining: Retraining) -> str:
    """Retrain while the other person pushes a commit."""
    other = retraining.team.bo if retraining.clone == retraining.team.ann else retraining.team.ann
    process = start_command(retraining.clone, "retrain", "--until", str(retraining.until))
    time.sleep(4)
    (other / "NOTES.md").write_text(f"Faster than {retraining.until}\n")
    commit(other, "Notes")
    run(other, "git", "push", "-q")
    return expect_outcome(wait_for_retraining(retraining.clone, process), (8, "failed"), REFUSED)


def kill_retraining(clone: Path, until: dt.date, seconds: float) -> None:
    process = start_command(clone, "retrain", "--until", str(until))
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if process.returncode == 0:
        sys.exit("the retraining ended before it was killed: choose a shorter time")


def kill_and_resume(retraining: Retraining) -> str:
    """Kill a retraining twice, at different times, then resume it."""
    for seconds in (3, 6):
        kill_retraining(retraining.clone, retraining.until, seconds)
    return expect_outcome(
        retrain(retraining.clone, retraining.until), PROMOTED, REGISTERED, REFUSED
    )


def kill_and_abandon(retraining: Retraining) -> str:
    """Kill a retraining, and restore everything with `--abandon`."""
    kill_retraining(retraining.clone, retraining.until, 5)
    run(retraining.clone, "mlops", "retrain", "--abandon")
    last = show_json(retraining.clone, "status")["retraining"]["last"]
    return expect_outcome((0, last), (0, "abandoned"))


def replay_overfitted_model(retraining: Retraining) -> str:
    """Replay a model that overfits data with the logged requests in them."""
    clone, production_version = retraining.clone, retraining.team.production_version()
    # The first version of a stage is exempt from its rule.
    run(
        clone,
        "mlops",
        "promote",
        production_version,
        "--to",
        "staging",
        "-m",
        "Before the next one",
    )
    before = run(clone, "git", "rev-parse", "HEAD").strip()
    edit_params(clone, set_overfitted_model)
    commit(clone, "An overfitted model without a comparison with the champion")
    run(clone, "mlops", "clock", str(retraining.until))
    registered = show_json(clone, "register", "--local")
    version = version_number(registered)
    report = show_json(clone, "replay", version, "--gate", "--for", "staging", codes={5})["report"]
    run(clone, "mlops", "promote", version, "--to", "staging", "--local", codes={5})
    run(clone, "git", "tag", "-d", registered["version"])
    run(clone, "git", "reset", "-q", "--hard", before)
    run(clone, "dvc", "checkout", "-q")
    gain = (report.get("metrics") or {}).get("roc_auc", {}).get("gain")
    return f"refused; {report['rows']} rows, {report['learnt']} left out, gain {gain}"


def set_overfitted_model(tree: Any) -> None:
    """Set deep trees, and turn off the checks before the replay."""
    tree["tune"].update(OVERFITTED_SEARCH)
    tree.setdefault("train", {}).update(ensemble=False, calibrate=False)
    del tree["register"]["champion"]
    tree["retrain"]["promote"] = False


def roll_back_twice(retraining: Retraining) -> str:
    """Roll back in both clones at once; production must go back by one version."""
    team = retraining.team
    if len(show_json(team.ann, "models")["versions"]) < 2:
        return "there is one version only"
    before = team.production_version()
    processes = [
        start_command(clone, "rollback", "--from", before) for clone in (team.ann, team.bo)
    ]
    results = [(*process.communicate(), process.returncode) for process in processes]
    after = team.production_version()
    codes = sorted(result[-1] for result in results)
    if codes not in ([0, 8], [0, 3]) or after == before:
        sys.exit(f"two rollbacks from {before} ended at {after}: {results}")
    run(team.ann, "mlops", "promote", before, "--to", "production", "-m", "Back")
    return f"from {before} to {after}, once, and back; exit codes {codes}"


def retrain_if_needed(retraining: Retraining) -> str:
    """Retrain with `--if-needed`."""
    return expect_outcome(
        retrain(retraining.clone, retraining.until, "--if-needed"), PROMOTED, REGISTERED, REFUSED
    )


SCENARIOS: dict[int, tuple[str, Callable[[Retraining], str]]] = {
    1: ("bo", retrain_normally),
    2: ("ann", fail_a_gate),
    3: ("bo", fail_the_push),
    4: ("ann", kill_and_resume),
    5: ("bo", kill_and_abandon),
    6: ("ann", retrain_during_a_push),
    7: ("ann", replay_overfitted_model),
    8: ("bo", retrain_normally),
    9: ("ann", roll_back_twice),
    10: ("ann", retrain_if_needed),
    11: ("bo", retrain_normally),
}


def simulate_year(seed: int, folder: Path) -> dict[int, dict[str, Any]]:
    """Simulate one year; return findings and outcome by month."""
    table, clock = orders.make_orders(YEAR, seed), dt.date(YEAR, 1, 1)
    pl.concat([orders.make_orders(YEAR - 1, seed), table]).write_csv(folder / "orders.csv")
    team = Team(folder, table, clock)
    year: dict[int, dict[str, Any]] = {}
    with orders.run_service(team.ann, "--follow", "--fetch", "1s") as port:
        for month in range(1, 13):
            year[month] = team.simulate_month(month, port)
            if month not in SCENARIOS:
                continue
            person, scenario = SCENARIOS[month]
            before = team.production_version()
            until = dt.date(YEAR, month + 1, 1)
            year[month]["scenario"] = scenario.__name__
            year[month]["outcome"] = scenario(Retraining(team, getattr(team, person), until))
            team.check_and_pull()
            if team.production_version() != before:
                team.run_delivery()
                team.wait_for_service(port)
                year[month]["delivered"] = team.production_version()
            sys.stderr.write(f"  {month}: {json.dumps(year[month])[:600]}\n")
    return year


def main() -> None:
    orders.simulate(orders.option_parser(__doc__, seeds=3, first=100).parse_args(), simulate_year)


if __name__ == "__main__":
    main()
