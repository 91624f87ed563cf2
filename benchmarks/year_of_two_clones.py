"""The shop's year again, by a team of two: every way that a retraining can end, month by month.

    python benchmarks/year_of_two_clones.py [--seeds 3] [--first 100] [--keep DIR]

The orders are those of year_of_orders.py. Ann and Bo have a clone each, a bare Git remote, a folder
as DVC remote, and one event log. Ann's service follows production, and is asked for each order.
After each month its labels are imported and monitoring judges it; then one of the two retrains, and
the retraining ends in the month's own way (`WAYS`): it is accepted, refused by a gate, refused by
the remote, raced by a colleague, killed and resumed, killed and dropped; a memorising model is
offered; both roll back at once; October's findings ask for it.

After each, both clones must be clean and free of an unfinished retraining; each promoted version
must pass the steps of the delivery workflow in a fresh clone, and be taken up by the service.
Anything else ends the script with what was seen. Printed as JSON: what each month brought, the
quiet months with an alarm (bar: at most 5%), and how often October was found (bar: each time).
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
import year_of_orders as one
from year_of_orders import BIN, YEAR, run

NAME = "shop"
MEMORISING = {
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
    """Two clones of one shop, and what they share."""

    def __init__(self, folder: Path, table: pl.DataFrame, clock: dt.date) -> None:
        self.folder, self.table = folder, table
        self.remote, self.log = folder / "shop.git", folder / "events.sqlite"
        one.SETTINGS["MLOPS_EVENTS_URL"] = str(self.log)
        self.ann, self.bo = folder / "ann" / NAME, folder / "bo" / NAME
        self._founded(clock)

    def _founded(self, clock: dt.date) -> None:
        """Ann's first version in production, pushed, and Bo's clone of it."""
        for place in (self.ann.parent, self.bo.parent, self.folder / "store"):
            place.mkdir()
        words = ("--data", str(self.folder / "orders.csv"), "--target", "returned")
        run(self.ann.parent, "mlops", "init", NAME, *words, "--time", "ordered")
        one.settle(self.ann / "params.yaml")
        change(self.ann, agreed)
        identify(self.ann, "ann")
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
        identify(self.bo, "bo")
        run(self.bo, "mlops", "pull")

    def clean(self) -> None:
        """Both clones have nothing open, and pull what the other one did."""
        for clone in (self.ann, self.bo):
            left = run(clone, "git", "status", "--porcelain")
            retraining = shown(clone, "status")["retraining"]
            if left or retraining["unfinished"]:
                sys.exit(f"{clone} isn't clean: {left}{retraining}")
            run(clone, "mlops", "pull")

    def production(self) -> str:
        """The version in production, for whoever has fetched all tags."""
        run(self.ann, "git", "fetch", "-q", "--tags")
        return number(shown(self.ann, "models", "show", "production"))

    def delivered(self) -> None:
        """The steps of the delivery workflow, in a clone that has nothing."""
        place = self.folder / "delivery"
        shutil.rmtree(place, ignore_errors=True)
        run(self.folder, "git", "clone", "-q", str(self.remote), "delivery")
        run(place, "git", "remote", "set-head", "origin", "main")
        version = self.production()
        run(place, "mlops", "verify", "production")
        run(place, "mlops", "models", "pull", version, "-o", "model")
        run(place, "dvc", "pull", "--allow-missing", "data/validated", "data/ingested")
        run(place, "mlops", "serve", "build", "--version", version)

    def followed(self, port: int) -> None:
        """Wait until the service answers with what is in production."""
        wanted = self.production()
        for _ in range(300):
            ready = json.loads(one.ask(port, "GET", "/readyz")[1])
            if ready["version"] == wanted:
                return
            time.sleep(0.2)
        sys.exit(f"the service has {ready['version']}, and {wanted} is in production")

    def lived(self, month: int, port: int) -> dict[str, Any]:
        """Ask the service for a month's orders, import its labels, and let monitoring judge."""
        rows = self.table.filter(pl.col("ordered").dt.month() == month)
        ids = one.asked(rows, port)
        path = self.folder / "labels.csv"
        pl.DataFrame({"id": ids, "returned": rows["returned"]}).write_csv(path)
        run(self.ann, "mlops", "feedback", "import", str(path), "--label", "returned")
        return one.judged(self.ann, month)


def shown(clone: Path, *words: str, codes: set[int] | frozenset[int] = frozenset({0})) -> Any:
    """What a command gives as JSON."""
    return json.loads(run(clone, "mlops", *words, "--json", codes=codes))


def number(facts: dict[str, Any]) -> str:
    """A version without its model's name, such as v0.3.0."""
    return str(facts["version"]).partition("@")[2]


def identify(clone: Path, name: str) -> None:
    """A Git identity."""
    for key, value in (("user.name", name), ("user.email", f"{name}@example.org")):
        run(clone, "git", "config", key, value)


def commit(clone: Path, message: str) -> None:
    """Everything that has changed."""
    run(clone, "git", "add", "--all")
    run(clone, "git", "commit", "-q", "--message", message)


def change(clone: Path, edit: Callable[[Any], None]) -> None:
    """Edit params.yaml."""
    from ruamel.yaml import YAML

    yaml, path = YAML(), clone / "params.yaml"
    tree = yaml.load(path)
    edit(tree)
    yaml.dump(tree, path)


def agreed(tree: Any) -> None:
    """What the team has agreed on: automatic promotion behind a comparison and a replay."""
    gate = {"metric": "roc_auc", "margin": 0.08, "rows": 50}
    tree["register"]["champion"] = {"metric": "roc_auc", "margin": 0.1}
    strict = {**gate, "margin": 0.01, "rows": 500}
    stages = {"staging": {"replay": strict}, "production": {"replay": gate}}
    tree["register"]["stages"] = stages
    tree["retrain"] = {"promote": True}


def retrain(clone: Path, until: dt.date, *words: str) -> tuple[int, dict[str, Any]]:
    """`mlops retrain`; its exit code, and what the history says of it."""
    return ended(clone, started(clone, "retrain", "--until", str(until), *words))


def ended(clone: Path, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """The same of a retraining that runs."""
    text, error = process.communicate()
    last = shown(clone, "status")["retraining"]["last"] or {}
    return process.returncode, {**last, "text": text, "error": error}


def started(clone: Path, *words: str) -> subprocess.Popen[str]:
    """A command that runs on, in a process group of its own."""
    command = [str(BIN / "mlops"), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=clone, env=one.environment(), stdout=pipe, stderr=pipe, text=True,
        start_new_session=True,
    )  # fmt: skip


def expect(told: tuple[int, dict[str, Any]], *ends: tuple[int, str]) -> str:
    """The outcome, which must be one of these ends."""
    code, last = told
    if (code, last.get("outcome")) not in ends:
        sys.exit(f"a retraining ended with {code}, {json.dumps(last, indent=1)}: not in {ends}")
    return f"{last['outcome']}: {last.get('version') or last.get('detail')}"


class Turn(NamedTuple):
    """Whose turn it is after a month."""

    team: Team
    clone: Path
    until: dt.date


PROMOTED, REGISTERED, REFUSED = (0, "promoted"), (0, "registered"), (5, "refused")
"""Registered only: the replay of logged requests doesn't let it into production."""


def accepted(turn: Turn) -> str:
    """It may be refused by the data, and is usually accepted."""
    return expect(retrain(turn.clone, turn.until), PROMOTED, REGISTERED, REFUSED)


def refused_by_a_gate(turn: Turn) -> str:
    """A limit that no model reaches, committed and taken back."""
    change(turn.clone, lambda tree: tree["register"].update(gates={"limits": {"roc_auc": 0.999}}))
    run(turn.clone, "mlops", "run")
    commit(turn.clone, "A limit that nothing reaches")
    ends = [expect(retrain(turn.clone, turn.until, "--local"), REFUSED) for _ in range(2)]
    change(turn.clone, lambda tree: tree["register"].update(gates={}))
    run(turn.clone, "mlops", "run")
    commit(turn.clone, "The limit goes")
    run(turn.clone, "mlops", "push")
    return ends[-1]


def refused_by_the_remote(turn: Turn) -> str:
    """A protected branch."""
    hook = turn.team.remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    told = retrain(turn.clone, turn.until)
    hook.unlink()
    return expect(told, (6, "failed"), REFUSED)


def raced(turn: Turn) -> str:
    """The other one pushes a commit while it runs."""
    other = turn.team.bo if turn.clone == turn.team.ann else turn.team.ann
    process = started(turn.clone, "retrain", "--until", str(turn.until))
    time.sleep(4)
    (other / "NOTES.md").write_text(f"Faster than {turn.until}\n")
    commit(other, "Notes")
    run(other, "git", "push", "-q")
    return expect(ended(turn.clone, process), (8, "failed"), REFUSED)


def killed(clone: Path, until: dt.date, seconds: float) -> None:
    process = started(clone, "retrain", "--until", str(until))
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if process.returncode == 0:
        sys.exit("the retraining ended before it was killed: choose a shorter time")


def killed_and_resumed(turn: Turn) -> str:
    """Twice, at different moments."""
    for seconds in (3, 6):
        killed(turn.clone, turn.until, seconds)
    return expect(retrain(turn.clone, turn.until), PROMOTED, REGISTERED, REFUSED)


def killed_and_dropped(turn: Turn) -> str:
    """`--abandon` puts all back."""
    killed(turn.clone, turn.until, 5)
    run(turn.clone, "mlops", "retrain", "--abandon")
    last = shown(turn.clone, "status")["retraining"]["last"]
    return expect((0, last), (0, "abandoned"))


def memorising(turn: Turn) -> str:
    """A model that knows its rows by heart, on data that hold the logged requests."""
    clone, production = turn.clone, turn.team.production()
    # The first version of a stage is exempt from its rule.
    run(clone, "mlops", "promote", production, "--to", "staging", "-m", "Before the next one")
    before = run(clone, "git", "rev-parse", "HEAD").strip()
    change(clone, by_heart)
    commit(clone, "A model that learns by heart, and no comparison with the champion")
    run(clone, "mlops", "clock", str(turn.until))
    registered = shown(clone, "register", "--local")
    version = number(registered)
    report = shown(clone, "replay", version, "--gate", "--for", "staging", codes={5})["report"]
    run(clone, "mlops", "promote", version, "--to", "staging", "--local", codes={5})
    run(clone, "git", "tag", "-d", registered["version"])
    run(clone, "git", "reset", "-q", "--hard", before)
    run(clone, "dvc", "checkout", "-q")
    gain = (report.get("metrics") or {}).get("roc_auc", {}).get("gain")
    return f"refused; {report['rows']} rows, {report['learnt']} left out, gain {gain}"


def by_heart(tree: Any) -> None:
    """Trees as deep as there are rows, and nothing that would notice before the replay."""
    tree["tune"].update(MEMORISING)
    tree.setdefault("train", {}).update(ensemble=False, calibrate=False)
    del tree["register"]["champion"]
    tree["retrain"]["promote"] = False


def rolled_back_by_both(turn: Turn) -> str:
    """Production goes back by one version, whoever is first."""
    team = turn.team
    if len(shown(team.ann, "models")["versions"]) < 2:
        return "there is one version only"
    before = team.production()
    both = [started(clone, "rollback", "--from", before) for clone in (team.ann, team.bo)]
    ends = [(*process.communicate(), process.returncode) for process in both]
    after = team.production()
    codes = sorted(end[-1] for end in ends)
    if codes not in ([0, 8], [0, 3]) or after == before:
        sys.exit(f"two rollbacks from {before} ended at {after}: {ends}")
    run(team.ann, "mlops", "promote", before, "--to", "production", "-m", "Back")
    return f"from {before} to {after}, once, and back; exit codes {codes}"


def asked_for_by_findings(turn: Turn) -> str:
    """`--if-needed` finds the reason."""
    return expect(retrain(turn.clone, turn.until, "--if-needed"), PROMOTED, REGISTERED, REFUSED)


WAYS: dict[int, tuple[str, Callable[[Turn], str]]] = {
    1: ("bo", accepted),
    2: ("ann", refused_by_a_gate),
    3: ("bo", refused_by_the_remote),
    4: ("ann", killed_and_resumed),
    5: ("bo", killed_and_dropped),
    6: ("ann", raced),
    7: ("ann", memorising),
    8: ("bo", accepted),
    9: ("ann", rolled_back_by_both),
    10: ("ann", asked_for_by_findings),
    11: ("bo", accepted),
}


def played(seed: int, folder: Path) -> dict[int, dict[str, Any]]:
    """Play one year; by month what was found and what came of it."""
    table, clock = one.orders(YEAR, seed), dt.date(YEAR, 1, 1)
    pl.concat([one.orders(YEAR - 1, seed), table]).write_csv(folder / "orders.csv")
    team = Team(folder, table, clock)
    year: dict[int, dict[str, Any]] = {}
    with one.service(team.ann, "--follow", "--fetch", "1s") as port:
        for month in range(1, 13):
            year[month] = team.lived(month, port)
            if month not in WAYS:
                continue
            who, way = WAYS[month]
            before = team.production()
            until = dt.date(YEAR, month + 1, 1)
            year[month]["way"] = way.__name__
            year[month]["outcome"] = way(Turn(team, getattr(team, who), until))
            team.clean()
            if team.production() != before:
                team.delivered()
                team.followed(port)
                year[month]["delivered"] = team.production()
            sys.stderr.write(f"  {month}: {json.dumps(year[month])[:600]}\n")
    return year


def main() -> None:
    one.play(one.options(__doc__, seeds=3, first=100).parse_args(), played)


if __name__ == "__main__":
    main()
