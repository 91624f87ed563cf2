"""Simulate October to December 2013 with a running service, monitoring and retraining.

    python examples/loop.py [--steps 6] [--periods 6] [--retrainings 1]

`make loop` does the same. Service, HTTP requests, event log, monitoring and retraining are real;
only time is simulated. For each half month, the script sends the flights to the service and imports
their labels, which arrive a day after the flights have landed. Then it runs monitoring. If
monitoring finds a reason, the model is retrained on the data known by then, and compared with the
model in use. The running service switches to a better model. A worse model is refused and nothing
changes; the next retraining has more data.

Everything happens in a clone, .mlops/loop/flights, which each run replaces, so your branch, tags,
data and reports stay unchanged. The clone has the committed files, and shares the DVC cache.
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
CLONE = ROOT / ".mlops" / "loop" / "flights"
START, END = dt.date(2013, 10, 1), dt.date(2014, 1, 1)
BATCH_ROWS = 500
"""Flights in one request."""
SETTINGS = {
    # Promote a better model automatically.
    "retrain": {"promote": True},
    # The label of a flight arrives a day after it has landed.
    "feedback": {"delay": "1d"},
    # Windows are by departure time, because all requests are sent today.
    "monitor": {"time": "moment"},
}


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="number of periods of the simulation")
    parser.add_argument("--periods", type=int, help="simulate only the first periods")
    parser.add_argument("--retrainings", type=int, default=1, help="maximum number of retrainings")

    options = parser.parse_args()
    started = time.monotonic()
    print_heading("The model of the last run, in a clone of its own", CLONE.relative_to(ROOT))
    flights = prepare()
    results = []
    with run_service() as port:
        print_heading("Serving", f"http://127.0.0.1:{port}/ follows the stage production")
        retrainings_left = options.retrainings
        for since, until in list(periods(options.steps))[: options.periods]:
            report = simulate_period(flights, since, until, port)
            report_path = CLONE / "reports" / f"monitor-{since}.html"
            monitoring = monitor(since, until, report_path)
            report |= monitoring
            if monitoring["found"] and retrainings_left:
                report["retraining"] = retrain(until)
                fill_online_store()
                retrainings_left -= report["retraining"].get("outcome") in {
                    "promoted",
                    "registered",
                }
                wait_for_version(port, report["retraining"])
            results.append(report)
    report_path = CLONE / "reports" / "monitor.html"
    monitor(START, END, report_path)
    print_summary(results, report_path, time.monotonic() - started)


def prepare() -> pl.DataFrame:
    """Clone the repository, register and promote the model, and fill the online store."""
    mlops("run", folder=ROOT)
    shutil.rmtree(CLONE, ignore_errors=True)
    CLONE.parent.mkdir(parents=True, exist_ok=True)
    run("git", "clone", "--quiet", "--no-tags", str(ROOT), str(CLONE), folder=ROOT)
    run("git", "config", "user.name", "Loop")
    run("git", "config", "user.email", "loop@example.org")
    run("git", "remote", "remove", "origin")
    cache = run("dvc", "cache", "dir", folder=ROOT).strip()
    run("dvc", "config", "--local", "cache.dir", cache)
    run("dvc", "checkout", "--quiet")
    write_settings()
    version = json.loads(mlops("register", "--local", "--json"))["version"].partition("@")[2]
    mlops("promote", version, "--to", "production", "--local", "-m", "The first")
    print_step(f"{version} is in production; its data end on {START}")
    fill_online_store()
    table = pl.read_parquet(CLONE / "data" / "validated" / "flights.parquet")
    return table.sort("scheduled", "carrier", "flight", maintain_order=True)


def write_settings() -> None:
    """Write the settings of the simulation to the clone's params.yaml, and commit them."""
    from ruamel.yaml import YAML

    yaml, path = YAML(), CLONE / "params.yaml"
    tree = yaml.load(path)
    for section, values in SETTINGS.items():
        tree.setdefault(section, {}).update(values)
    yaml.dump(tree, path)
    run("git", "commit", "--quiet", "--all", "--message", "Settings of the simulation")


def periods(steps: int) -> Iterator[tuple[dt.date, dt.date]]:
    """Divide the time from START to END into equal periods."""
    days = (END - START).days
    edges = [START + dt.timedelta(days=round(days * i / steps)) for i in range(steps + 1)]
    yield from pairwise(edges)


@contextlib.contextmanager
def run_service() -> Iterator[int]:
    """Run `mlops serve` in the clone."""
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        port = int(free_socket.getsockname()[1])
    log = (CLONE / ".mlops" / "serve.log").open("w")
    command = [
        str(BIN / "mlops"),
        "serve",
        "--stage",
        "production",
        "--follow",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, cwd=CLONE, stdout=log, stderr=log, env=environment())
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(f"the service ended: see {log.name}")
            with contextlib.suppress(OSError):
                if send(port, "GET", "/readyz")[0] == http.client.OK:
                    break
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        log.close()


def send(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send a request; return status and JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = None if body is None else json.dumps(body).encode()
    connection.request(method, path, content, {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, None


def simulate_period(
    flights: pl.DataFrame, since: dt.date, until: dt.date, port: int
) -> dict[str, Any]:
    """Send the flights of a period to the service, and import the labels that have arrived."""
    bounds = [dt.datetime.combine(d, dt.time(), dt.UTC) for d in (since, until)]
    rows = flights.filter(pl.col("scheduled").is_between(*bounds, closed="left")).select(
        request_columns()
    )
    requests = rows.with_columns(
        pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")
    ).to_dicts()
    start, late_count = time.monotonic(), 0
    for i in range(0, len(requests), BATCH_ROWS):
        status, response = send(port, "POST", "/predict", {"rows": requests[i : i + BATCH_ROWS]})
        if status != http.client.OK:
            sys.exit(f"the service responded with {status}: {response}")
        late_count += sum(bool(p["decision"]) for p in response["predictions"])
    rate = len(requests) / (time.monotonic() - start)
    print_heading(
        f"{since} to {until}", f"{len(requests):,} flights, {late_count:,} predicted to be late"
    )
    labels = json.loads(
        mlops("feedback", "import", "--from-project", "--until", str(until), "--json")
    )["counts"]
    print_step(
        f"{rate:,.0f} predictions a second; {labels.get('new', 0):,} labels have arrived since"
    )
    return {"from": str(since), "flights": len(requests)}


def request_columns() -> list[str]:
    """Columns of a request, from the example in the version's feature program."""
    programs = sorted((CLONE / ".mlops" / "models").glob("*/program.json"))
    return list(json.loads(programs[-1].read_text())["example"])


def monitor(since: dt.date, until: dt.date, report_path: Path) -> dict[str, Any]:
    """Run `mlops monitor` for a period; return its findings."""
    window = ["--since", str(since), "--until", str(until)]
    text = mlops("monitor", *window, "--html", str(report_path), "--json", codes={0, 10, 11})
    report = json.loads(text)
    findings = [f for f in report["findings"] if f["means"] in {"drift", "degraded"}]
    print_step(f"monitoring found {' and '.join(report['found']) or 'nothing'}")
    for finding in findings[:3]:
        print(f"      {finding['sentence']}")
    if len(findings) > 3:
        print(f"      ... and {len(findings) - 3} more, in {report_path.relative_to(ROOT)}")
    return {"found": report["found"], "findings": [f["sentence"] for f in findings]}


def retrain(until: dt.date) -> dict[str, Any]:
    """Run `mlops retrain --if-needed` up to a date; return its outcome and reason."""
    before = run("git", "status", "--porcelain")
    text = mlops("retrain", "--if-needed", "--until", str(until), "--local", "--json", codes={0, 5})
    # With exit code 5, a refusal, stdout is empty and `mlops status` has the reason.
    last_attempt = json.loads(mlops("status", "--json"))["retraining"]["last"]
    report: dict[str, Any] = json.loads(text) if text.strip() else last_attempt
    version = report.get("version") or ""
    print_step(f"retraining up to {until}: {report['outcome']} {version}".rstrip())
    print(f"      reason: {report['reason']}")
    if report.get("detail"):
        print(f"      {report['detail']}")
    if report["outcome"] == "refused":
        print_step(f"{production_version()} stays in production, and all files are unchanged")
        if run("git", "status", "--porcelain") != before:
            sys.exit("files have changed: see `git status` in the clone")
    return report


def fill_online_store() -> None:
    """Fill the online store for the version in production, up to the end of the simulation.

    A request uses only values known before its prediction time, so later ones do no harm.
    """
    mlops("clock", str(END))
    mlops("validate")
    mlops("materialize", "production", "--history", "120d")


def production_version() -> str:
    """Return the version in production."""
    versions = json.loads(mlops("models", "--json"))["versions"]
    return next(str(v["version"]) for v in versions if "production" in v["stages"])


def wait_for_version(port: int, report: dict[str, Any]) -> None:
    """Wait until the service uses the new version."""
    if report.get("outcome") != "promoted":
        return
    for _ in range(300):
        _, ready = send(port, "GET", "/readyz")
        if ready["version"] == report["version"]:
            print_step(f"the service uses {report['version']} now, without a restart")
            return
        time.sleep(0.2)
    sys.exit(f"the service did not switch to {report['version']}: {ready}")


def print_summary(results: list[dict[str, Any]], report_path: Path, seconds: float) -> None:
    """Print the results as a table."""
    print_heading("The quarter", f"simulated in {seconds:.0f} s")
    for report in results:
        retraining = report.get("retraining", {})
        new = f"{retraining.get('outcome', '')} {retraining.get('version') or ''}".strip()
        print(f"  {report['from']}  {report['flights']:>7,} flights  "
              f"{', '.join(report['found']) or 'no findings':<18}  {new}")  # fmt: skip
    print(f"\nThe clone is {CLONE.relative_to(ROOT)}: `mlops models` there shows its versions.")
    print("In a project, `mlops watch` does this. Open the report in a browser:")
    print(f"  {report_path}")


def mlops(
    *command: str, folder: Path | None = None, codes: frozenset[int] | set[int] = frozenset()
) -> str:
    """Run a command of the tool."""
    return run(str(BIN / "mlops"), *command, folder=folder, codes=codes)


def run(
    *command: str, folder: Path | None = None, codes: frozenset[int] | set[int] = frozenset()
) -> str:
    """Run a command in the clone; return its stdout."""
    completed = subprocess.run(
        command,
        cwd=folder or CLONE,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if completed.returncode and completed.returncode not in codes:
        sys.exit(
            f"{' '.join(command)} ended with {completed.returncode}:\n"
            f"{completed.stdout}\n{completed.stderr}"
        )
    return completed.stdout


def environment() -> dict[str, str]:
    """Environment without variables that point to another project."""
    inherited = {k: v for k, v in os.environ.items() if not re.match(r"MLOPS_|GIT_", k)}
    return {**inherited, "PATH": f"{BIN}{os.pathsep}{inherited['PATH']}"}


def print_heading(head: str, text: Any) -> None:
    """Print a heading."""
    print(f"\n\033[1m{head}\033[0m  {text}" if sys.stdout.isatty() else f"\n{head}: {text}")
    sys.stdout.flush()


def print_step(text: str) -> None:
    """Print a line below the heading."""
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    main()
