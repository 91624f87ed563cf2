"""Simulation of a shop's year: false alarms of monitoring, and detection of one broken month.

    python benchmarks/year_of_orders.py [--seeds 10] [--first 0] [--short] [--keep DIR]

Each seed makes 4,000 orders of 2025 by 300 similar customers, whose return is known three days
later, and as many of 2024 for training. In October 2025, amounts are 1.8 times as large, one
channel has another one's name, and an effect has the opposite sign; the other months have one
distribution. Then the script runs `mlops init`, `run` and `register` with the data clock at 1
January, sends each order of 2025 to a service, imports the labels, and runs `mlops monitor` for
each month. With `--short` there are no orders of 2024, and the data clock is at 1 July.

The script prints JSON: the findings of each month, the share of unchanged months with an alarm
(target: at most 5%), and how often October was detected (target: always).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

BIN = Path(sys.executable).parent
ORDERS, CUSTOMERS, YEAR, BROKEN_MONTH = 4_000, 300, 2025, 10
CHANNELS = {"web": 0.5, "app": 0.3, "shop": 0.2}
BATCH_ROWS = 500
TRIALS = 4
EXTRA_ENVIRONMENT: dict[str, str] = {}
"""Additional environment variables of all commands."""


def make_orders(year: int, seed: int) -> pl.DataFrame:
    """Make the orders of a year, sorted by time."""
    rng = np.random.default_rng([year, seed])
    start = dt.datetime(year, 1, 1)  # noqa: DTZ001 - written to CSV without a zone
    seconds = np.sort(rng.integers(0, 365 * 86_400, ORDERS))
    amount = rng.lognormal(3.5, 0.5, ORDERS)
    items = rng.integers(1, 6, ORDERS)
    channel = rng.choice(list(CHANNELS), ORDERS, p=list(CHANNELS.values()))
    effect = 2.0 * (np.log(amount) - 3.5) + 1.0 * (channel == "shop")
    frame = pl.DataFrame(
        {
            "order_id": [f"o{year}-{i:05}" for i in range(ORDERS)],
            "ordered": [start + dt.timedelta(seconds=int(s)) for s in seconds],
            "customer": [f"c{i:03}" for i in rng.integers(0, CUSTOMERS, ORDERS)],
            "amount": amount.round(2),
            "items": items,
            "channel": channel,
        }
    )
    broken = (frame["ordered"].dt.month() == BROKEN_MONTH) & (year == YEAR)
    logit = -0.5 + 0.3 * (items - 3) + np.where(broken.to_numpy(), -effect, effect)
    return frame.with_columns(
        amount=pl.when(broken).then((pl.col("amount") * 1.8).round(2)).otherwise("amount"),
        channel=pl.when(broken).then(pl.col("channel").replace("app", "web")).otherwise("channel"),
        returned=pl.Series(rng.random(ORDERS) < 1 / (1 + np.exp(-logit))),
        closed=pl.col("ordered") + dt.timedelta(days=3),
    )


def simulate_year(seed: int, folder: Path, *, short: bool) -> dict[int, Any]:
    """Simulate one year; return the findings by month."""
    table = make_orders(YEAR, seed)
    clock = dt.date(YEAR, 7 if short else 1, 1)
    before = table[:0] if short else make_orders(YEAR - 1, seed)
    pl.concat([before, table]).write_csv(folder / "orders.csv")
    options = ("shop", "--data", "orders.csv", "--target", "returned", "--time", "ordered")
    run(folder, "mlops", "init", *options)
    shop = folder / "shop"
    write_settings(shop / "params.yaml")
    for name, value in (("user.name", "Seed"), ("user.email", "seed@example.org")):
        run(shop, "git", "config", name, value)
    run(shop, "mlops", "clock", str(clock))
    run(shop, "mlops", "run")
    run(shop, "git", "commit", "--quiet", "--all", "--message", "The shop until now")
    registration = json.loads(run(shop, "mlops", "register", "--local", "--json"))
    version = registration["version"].partition("@")[2]
    run(shop, "mlops", "promote", version, "--to", "production", "--local", "-m", "The first")
    table = table.filter(pl.col("ordered") >= clock)
    with run_service(shop) as port:
        labels = pl.DataFrame({"id": predict_orders(table, port), "returned": table["returned"]})
    labels.write_csv(folder / "labels.csv")
    run(shop, "mlops", "feedback", "import", str(folder / "labels.csv"), "--label", "returned")
    return {month: monitor_month(shop, month) for month in range(clock.month, 13)}


def write_settings(path: Path) -> None:
    """Set what `mlops init` can't infer (when a return is known), and a short search."""
    from ruamel.yaml import YAML

    yaml = YAML()
    tree = yaml.load(path)
    tree["ingest"]["sources"]["orders"]["known_at"] = {"returned": "closed"}
    features = tree["featurize"]["features"]
    for name in [name for name in features if name.startswith("closed")]:
        del features[name]
    columns = tree["validate"]["sources"]["orders"]["columns"]
    for name in ("returned", "closed"):
        columns.pop(name, None)
    tree["tune"] |= {"trials": TRIALS, "families": ["linear", "lightgbm"]}
    tree["register"]["gates"] = {}
    tree.setdefault("monitor", {}).update(time="moment", min_rows=100, min_labels=100)
    yaml.dump(tree, path)


def predict_orders(table: pl.DataFrame, port: int) -> list[str]:
    """Send every order to the service; return the ids of the predictions."""
    rows = table.drop("returned", "closed").with_columns(
        pl.col("ordered").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    )
    model = json.loads(send(port, "GET", "/model")[1])
    columns = [c for c in rows.columns if c in json.dumps(model)]
    prediction_ids: list[str] = []
    for part in rows.select(columns).iter_slices(BATCH_ROWS):
        status, text = send(port, "POST", "/predict", {"rows": part.to_dicts()})
        if status != http.client.OK:
            sys.exit(f"the service responded with {status}: {text[:500]!r}")
        prediction_ids += [p["id"] for p in json.loads(text)["predictions"]]
    return prediction_ids


def monitor_month(shop: Path, month: int) -> dict[str, Any]:
    """Run `mlops monitor` for a month."""
    since = dt.date(YEAR, month, 1)
    until = dt.date(YEAR + month // 12, month % 12 + 1, 1)
    options = ("--since", str(since), "--until", str(until), "--json", "--no-alert")
    report = json.loads(run(shop, "mlops", "monitor", *options, codes={0, 10, 11}))
    sentences = [f["sentence"] for f in report["findings"] if f["means"] in ("drift", "degraded")]
    return {"found": report["found"], "findings": sentences, "estimate": report.get("estimate")}


@contextlib.contextmanager
def run_service(shop: Path, *options: str) -> Iterator[int]:
    """Run `mlops serve` in its own process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(BIN / "mlops"), "serve", "--stage", "production", "--port", str(port), *options]
    with (shop.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(command, cwd=shop, stdout=log, stderr=log, env=environment())
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


def send(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Send a request; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = None if body is None else json.dumps(body).encode()
    connection.request(method, path, content, {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, text


def run(folder: Path, *options: str, codes: set[int] | frozenset[int] = frozenset({0})) -> str:
    """Run a command in a folder; return its stdout."""
    command = [str(BIN / options[0]) if options[0] == "mlops" else options[0], *options[1:]]
    completed = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if completed.returncode not in codes:
        sys.exit(
            f"{' '.join(options)} ended with {completed.returncode}:\n"
            f"{completed.stdout}\n{completed.stderr}"
        )
    return completed.stdout


def environment() -> dict[str, str]:
    """Environment without variables that point to another project."""
    inherited = {k: v for k, v in os.environ.items() if not re.match(r"MLOPS_|GIT_", k)}
    return {**inherited, **EXTRA_ENVIRONMENT, "PATH": f"{BIN}{os.pathsep}{inherited['PATH']}"}


def summary(years: dict[int, dict[int, Any]]) -> dict[str, Any]:
    """Shares of unchanged months with an alarm, and of Octobers that were detected."""
    months = [
        (month, bool(result["found"])) for year in years.values() for month, result in year.items()
    ]

    def share(alarms: list[bool]) -> str:
        return f"{sum(alarms)} of {len(alarms)} ({sum(alarms) / max(len(alarms), 1):.1%})"

    return {
        "unchanged months with an alarm": share(
            [alarm for month, alarm in months if month != BROKEN_MONTH]
        ),
        "October detected": share([alarm for month, alarm in months if month == BROKEN_MONTH]),
    }


def option_parser(text: str, *, seeds: int, first: int) -> argparse.ArgumentParser:
    """Parser with the options of the simulations."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first", type=int, default=first)
    parser.add_argument("--keep", type=Path, help="folder in which the projects are kept")
    return parser


def simulate(args: argparse.Namespace, year: Callable[[int, Path], dict[int, Any]]) -> None:
    """Simulate a year for each seed in its own folder, and print the findings."""
    years: dict[int, dict[int, Any]] = {}
    for seed in range(args.first, args.first + args.seeds):
        started = time.monotonic()
        with contextlib.ExitStack() as stack:
            if args.keep is None:
                name = stack.enter_context(tempfile.TemporaryDirectory(prefix="orders-"))
                folder = Path(name)
            else:
                folder = args.keep.resolve() / str(seed)
                folder.mkdir(parents=True)
            years[seed] = year(seed, folder)
        findings = {m: result["findings"] for m, result in years[seed].items() if result["found"]}
        sys.stderr.write(f"seed {seed} ({time.monotonic() - started:.0f} s): {findings}\n")
    print(json.dumps({"summary": summary(years), "years": years}, indent=1))


def main() -> None:
    parser = option_parser(__doc__, seeds=10, first=0)
    parser.add_argument("--short", action="store_true", help="without the orders of 2024")
    args = parser.parse_args()
    simulate(args, functools.partial(simulate_year, short=args.short))


if __name__ == "__main__":
    main()
