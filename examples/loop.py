"""Play October to December 2013 through a running service, and let the loop close.

    python examples/loop.py [--steps 6] [--periods 6] [--retrainings 1]

(`make loop` does the same.) The service is real and asked over HTTP, its event log is real, and so
are monitoring and retraining. Only time is played: each half month's flights are asked for one
after the other, their labels arrive a day after the flights have landed, monitoring looks, and
where it finds a reason the model is retrained on what is known by then and compared with the one in
use. A better one is taken up by the service while it runs. A worse one is a result as well: it is
refused, all stays as it was, and the next period's retraining has more data.

All of it happens in a clone, .mlops/loop/flights, which is made anew each time: your branch, tags,
data and reports stay as they are. The clone has what is committed, and shares the DVC cache.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PLACE = ROOT / ".mlops" / "loop" / "flights"
BEGIN, END = dt.date(2013, 10, 1), dt.date(2014, 1, 1)
TOGETHER = 500
"""Flights of one request."""
SETTINGS = {
    # So that a better model gets into use by itself.
    "retrain": {"promote": True},
    # Labels of a flight come a day after it has landed.
    "feedback": {"delay": "1d"},
    # Time is played, so windows go by when flights leave, not by when they were asked for.
    "monitor": {"time": "moment"},
}


def main() -> None:
    """Play it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="how many periods it is played in")
    parser.add_argument("--periods", type=int, help="play only the first so many of them")
    parser.add_argument("--retrainings", type=int, default=1, help="at most so many")

    asked = parser.parse_args()
    started = time.monotonic()
    say("The model of the last run, in a clone of its own", PLACE.relative_to(ROOT))
    flights = prepared()
    story = []
    with service() as port:
        say("Serving", f"http://127.0.0.1:{port}/ follows the stage production")
        left = asked.retrainings
        for since, until in list(periods(asked.steps))[: asked.periods]:
            told = played(flights, since, until, port)
            report = PLACE / "reports" / f"monitor-{since}.html"
            found = watched(since, until, report)
            told |= found
            if found["found"] and left:
                told["retrained"] = retrained(until)
                filled()
                left -= told["retrained"].get("outcome") in {"promoted", "registered"}
                served(port, told["retrained"])
            story.append(told)
    whole = PLACE / "reports" / "monitor.html"
    watched(BEGIN, END, whole)
    ending(story, whole, time.monotonic() - started)


def prepared() -> pl.DataFrame:
    """Clone, register and promote the model, and let the store know what became known when."""
    mlops("run", folder=ROOT)
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    run("git", "clone", "--quiet", "--no-tags", str(ROOT), str(PLACE), folder=ROOT)
    run("git", "config", "user.name", "Loop")
    run("git", "config", "user.email", "loop@example.org")
    run("git", "remote", "remove", "origin")
    cache = run("dvc", "cache", "dir", folder=ROOT).strip()
    run("dvc", "config", "--local", "cache.dir", cache)
    run("dvc", "checkout", "--quiet")
    settle()
    version = json.loads(mlops("register", "--local", "--json"))["version"].partition("@")[2]
    mlops("promote", version, "--to", "production", "--local", "-m", "The first")
    step(f"{version} is in production; its data end on {BEGIN}")
    filled()
    table = pl.read_parquet(PLACE / "data" / "validated" / "flights.parquet")
    return table.sort("scheduled", "carrier", "flight", maintain_order=True)


def settle() -> None:
    """State what the play needs in the clone's params.yaml, as a user would, and commit it."""
    from ruamel.yaml import YAML

    yaml, path = YAML(), PLACE / "params.yaml"
    tree = yaml.load(path)
    for section, values in SETTINGS.items():
        tree.setdefault(section, {}).update(values)
    yaml.dump(tree, path)
    run("git", "commit", "--quiet", "--all", "--message", "Settings of the play")


def periods(steps: int) -> Iterator[tuple[dt.date, dt.date]]:
    """The time from BEGIN to END, in even steps."""
    days = (END - BEGIN).days
    edges = [BEGIN + dt.timedelta(days=round(days * i / steps)) for i in range(steps + 1)]
    yield from pairwise(edges)


@contextlib.contextmanager
def service() -> Iterator[int]:
    """`mlops serve` of the clone, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = (PLACE / ".mlops" / "serve.log").open("w")
    words = [str(BIN / "mlops"), "serve", "--stage", "production", "--follow", "--port", str(port)]
    process = subprocess.Popen(words, cwd=PLACE, stdout=log, stderr=log, env=environment())
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(f"the service ended: see {log.name}")
            with contextlib.suppress(OSError):
                if ask(port, "GET", "/readyz")[0] == http.client.OK:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        log.close()


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request; status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = None if body is None else json.dumps(body).encode()
    connection.request(method, path, content, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, None


def played(flights: pl.DataFrame, since: dt.date, until: dt.date, port: int) -> dict[str, Any]:
    """Ask for every flight of a period, then let labels arrive up to its last day."""
    moments = [dt.datetime.combine(d, dt.time(), dt.UTC) for d in (since, until)]
    rows = flights.filter(
        pl.col("scheduled").is_between(moments[0], moments[1], closed="left")
    ).select(needed())
    told = rows.with_columns(pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")).to_dicts()
    start, late = time.monotonic(), 0
    for i in range(0, len(told), TOGETHER):
        status, answer = ask(port, "POST", "/predict", {"rows": told[i : i + TOGETHER]})
        if status != http.client.OK:
            sys.exit(f"the service answered {status}: {answer}")
        late += sum(bool(p["decision"]) for p in answer["predictions"])
    rate = len(told) / (time.monotonic() - start)
    say(f"{since} to {until}", f"{len(told):,} flights asked for, {late:,} warned of")
    labels = json.loads(
        mlops("feedback", "import", "--from-project", "--until", str(until), "--json")
    )["counts"]
    step(f"{rate:,.0f} predictions a second; {labels.get('new', 0):,} labels have come since")
    return {"from": str(since), "asked": len(told)}


def needed() -> list[str]:
    """The columns of a request, as the version's own example has them."""
    registered = sorted((PLACE / ".mlops" / "models").glob("*/program.json"))
    return list(json.loads(registered[-1].read_text())["example"])


def watched(since: dt.date, until: dt.date, report: Path) -> dict[str, Any]:
    """`mlops monitor` on a period; what it found, and its sentences."""
    window = ["--since", str(since), "--until", str(until)]
    text = mlops("monitor", *window, "--html", str(report), "--json", codes={0, 10, 11})
    told = json.loads(text)
    findings = [f for f in told["findings"] if f["means"] in {"drift", "degraded"}]
    step(f"monitoring finds {' and '.join(told['found']) or 'nothing'}")
    for finding in findings[:3]:
        print(f"      {finding['sentence']}")
    if len(findings) > 3:
        print(f"      ... and {len(findings) - 3} more, in {report.relative_to(ROOT)}")
    return {"found": told["found"], "findings": [f["sentence"] for f in findings]}


def retrained(until: dt.date) -> dict[str, Any]:
    """`mlops retrain --if-needed`, with what is known by then; what came of it, and why."""
    before = run("git", "status", "--porcelain")
    text = mlops("retrain", "--if-needed", "--until", str(until), "--local", "--json", codes={0, 5})
    # Exit code 5 is a refusal: its reason stands in the history, as `mlops status` shows it.
    last = json.loads(mlops("status", "--json"))["retraining"]["last"]
    told: dict[str, Any] = json.loads(text) if text.strip() else last
    version = told.get("version") or ""
    step(f"a retraining up to {until}: {told['outcome']} {version}".rstrip())
    print(f"      why: {told['reason']}")
    if told.get("detail"):
        print(f"      {told['detail']}")
    if told["outcome"] == "refused":
        step(f"{in_production()} stays in production, and all files are as they were")
        if run("git", "status", "--porcelain") != before:
            sys.exit("files are not as they were: see `git status` in the clone")
    return told


def filled() -> None:
    """Let the store know what became known when, for the version that is in production now.

    Requests see only what was known before them, so the whole rest of the year may be there.
    """
    mlops("clock", str(END))
    mlops("validate")
    mlops("materialize", "production", "--history", "120d")


def in_production() -> str:
    """The version that the stage has."""
    versions = json.loads(mlops("models", "--json"))["versions"]
    return next(str(v["version"]) for v in versions if "production" in v["stages"])


def served(port: int, told: dict[str, Any]) -> None:
    """Wait until the service has taken the new version up."""
    if told.get("outcome") != "promoted":
        return
    for _ in range(300):
        _, ready = ask(port, "GET", "/readyz")
        if ready["version"] == told["version"]:
            step(f"the service answers with {told['version']} now, without a restart")
            return
        time.sleep(0.2)
    sys.exit(f"the service did not take up {told['version']}: {ready}")


def ending(story: list[dict[str, Any]], report: Path, seconds: float) -> None:
    """What happened, in a table."""
    say("The quarter", f"played in {seconds:.0f} s")
    for told in story:
        done = told.get("retrained", {})
        new = f"{done.get('outcome', '')} {done.get('version') or ''}".strip()
        print(f"  {told['from']}  {told['asked']:>7,} flights  "
              f"{', '.join(told['found']) or 'nothing found':<18}  {new}")  # fmt: skip
    print(f"\nThe clone is {PLACE.relative_to(ROOT)}: `mlops models` there shows its versions.")
    print("In earnest, `mlops watch` does this. The report, to open in a browser:")
    print(f"  {report}")


def mlops(
    *words: str, folder: Path | None = None, codes: frozenset[int] | set[int] = frozenset()
) -> str:
    """Run a command of the tool."""
    return run(str(BIN / "mlops"), *words, folder=folder, codes=codes)


def run(
    *words: str, folder: Path | None = None, codes: frozenset[int] | set[int] = frozenset()
) -> str:
    """Run a command in the clone; give its stdout."""
    done = subprocess.run(
        words,
        cwd=folder or PLACE,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and done.returncode not in codes:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment() -> dict[str, str]:
    """Ours, without what would lead elsewhere than to the clone."""
    kept = {k: v for k, v in os.environ.items() if not re.match(r"MLOPS_|GIT_", k)}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}"}


def say(head: str, text: Any) -> None:
    """A heading."""
    print(f"\n\033[1m{head}\033[0m  {text}" if sys.stdout.isatty() else f"\n{head}: {text}")
    sys.stdout.flush()


def step(text: str) -> None:
    """A line below it."""
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    main()
