"""A shop's year, month by month: does monitoring keep quiet, and find the month that isn't quiet.

    python benchmarks/year_of_orders.py [--seeds 10] [--first 0] [--short] [--keep DIR]

For each seed: 4,000 orders of 2025 by 300 customers who are alike, whose return is known three
days later, and as many of 2024 to learn from. In October 2025 amounts are 1.8 times as large, one
channel is called by another's name, and an effect has the opposite sign; all other months are the
same by construction. The product's own commands do the rest: `mlops init`, `run` and `register`
with the data clock at 1 January, a real service that is asked for each order of 2025, `mlops
feedback import` with each label, and `mlops monitor` of each month. `--short`: no 2024, and
the clock is at 1 July.

Printed as JSON: what was found in each month, the share of quiet months with an alarm (bar: at
most 5%), and how often October was found (bar: each time).
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
ORDERS, CUSTOMERS, YEAR, BROKEN = 4_000, 300, 2025, 10
CHANNELS = {"web": 0.5, "app": 0.3, "shop": 0.2}
TOGETHER = 500
TRIALS = 4
SETTINGS: dict[str, str] = {}
"""Of the product's environment, for all commands."""


def orders(year: int, seed: int) -> pl.DataFrame:
    """A year's table, in the order of time."""
    rng = np.random.default_rng([year, seed])
    start = dt.datetime(year, 1, 1)  # noqa: DTZ001 - as CSV files have them
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
    broken = (frame["ordered"].dt.month() == BROKEN) & (year == YEAR)
    logit = -0.5 + 0.3 * (items - 3) + np.where(broken.to_numpy(), -effect, effect)
    return frame.with_columns(
        amount=pl.when(broken).then((pl.col("amount") * 1.8).round(2)).otherwise("amount"),
        channel=pl.when(broken).then(pl.col("channel").replace("app", "web")).otherwise("channel"),
        returned=pl.Series(rng.random(ORDERS) < 1 / (1 + np.exp(-logit))),
        closed=pl.col("ordered") + dt.timedelta(days=3),
    )


def played(seed: int, folder: Path, *, short: bool) -> dict[int, Any]:
    """Play one year; by month what was found."""
    table = orders(YEAR, seed)
    clock = dt.date(YEAR, 7 if short else 1, 1)
    before = table[:0] if short else orders(YEAR - 1, seed)
    pl.concat([before, table]).write_csv(folder / "orders.csv")
    words = ("shop", "--data", "orders.csv", "--target", "returned", "--time", "ordered")
    run(folder, "mlops", "init", *words)
    shop = folder / "shop"
    settle(shop / "params.yaml")
    for name, value in (("user.name", "Seed"), ("user.email", "seed@example.org")):
        run(shop, "git", "config", name, value)
    run(shop, "mlops", "clock", str(clock))
    run(shop, "mlops", "run")
    run(shop, "git", "commit", "--quiet", "--all", "--message", "The shop until now")
    registered = json.loads(run(shop, "mlops", "register", "--local", "--json"))
    version = registered["version"].partition("@")[2]
    run(shop, "mlops", "promote", version, "--to", "production", "--local", "-m", "The first")
    table = table.filter(pl.col("ordered") >= clock)
    with service(shop) as port:
        labels = pl.DataFrame({"id": asked(table, port), "returned": table["returned"]})
    labels.write_csv(folder / "labels.csv")
    run(shop, "mlops", "feedback", "import", str(folder / "labels.csv"), "--label", "returned")
    return {month: judged(shop, month) for month in range(clock.month, 13)}


def settle(path: Path) -> None:
    """What the shop's people know and `init` can't: when a return is known, and a quick search."""
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


def asked(table: pl.DataFrame, port: int) -> list[str]:
    """Ask the service for every order, at its time; the predictions' ids."""
    rows = table.drop("returned", "closed").with_columns(
        pl.col("ordered").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    )
    needed = json.loads(ask(port, "GET", "/model")[1])
    wanted = [c for c in rows.columns if c in json.dumps(needed)]
    found: list[str] = []
    for part in rows.select(wanted).iter_slices(TOGETHER):
        status, text = ask(port, "POST", "/predict", {"rows": part.to_dicts()})
        if status != http.client.OK:
            sys.exit(f"the service answered {status}: {text[:500]!r}")
        found += [p["id"] for p in json.loads(text)["predictions"]]
    return found


def judged(shop: Path, month: int) -> dict[str, Any]:
    """`mlops monitor` of a month."""
    since = dt.date(YEAR, month, 1)
    until = dt.date(YEAR + month // 12, month % 12 + 1, 1)
    words = ("--since", str(since), "--until", str(until), "--json", "--no-alert")
    told = json.loads(run(shop, "mlops", "monitor", *words, codes={0, 10, 11}))
    grave = [f["sentence"] for f in told["findings"] if f["means"] in ("drift", "degraded")]
    return {"found": told["found"], "findings": grave, "estimate": told.get("estimate")}


@contextlib.contextmanager
def service(shop: Path, *options: str) -> Iterator[int]:
    """`mlops serve`, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = [str(BIN / "mlops"), "serve", "--stage", "production", "--port", str(port), *options]
    with (shop.parent / "serve.log").open("w") as log:
        process = subprocess.Popen(words, cwd=shop, stdout=log, stderr=log, env=environment())
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


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """One request; status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = None if body is None else json.dumps(body).encode()
    connection.request(method, path, content, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


def run(folder: Path, *words: str, codes: set[int] | frozenset[int] = frozenset({0})) -> str:
    """Run a command in a folder; its stdout."""
    command = [str(BIN / words[0]) if words[0] == "mlops" else words[0], *words[1:]]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def environment() -> dict[str, str]:
    """Ours, without what would lead elsewhere than to the shop."""
    kept = {k: v for k, v in os.environ.items() if not re.match(r"MLOPS_|GIT_", k)}
    return {**kept, **SETTINGS, "PATH": f"{BIN}{os.pathsep}{kept['PATH']}"}


def summary(years: dict[int, dict[int, Any]]) -> dict[str, Any]:
    """Quiet months with an alarm, and Octobers that were found."""
    months = [(month, bool(of["found"])) for year in years.values() for month, of in year.items()]

    def share(which: list[bool]) -> str:
        return f"{sum(which)} of {len(which)} ({sum(which) / max(len(which), 1):.1%})"

    return {
        "quiet months with an alarm": share([alarm for month, alarm in months if month != BROKEN]),
        "October found": share([alarm for month, alarm in months if month == BROKEN]),
    }


def options(text: str, *, seeds: int, first: int) -> argparse.ArgumentParser:
    """The options of a script that plays years."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--first", type=int, default=first)
    parser.add_argument("--keep", type=Path, help="make the projects there, and leave them")
    return parser


def play(given: argparse.Namespace, year: Callable[[int, Path], dict[int, Any]]) -> None:
    """Play a year of each seed in a folder of its own; print what was found."""
    years: dict[int, dict[int, Any]] = {}
    for seed in range(given.first, given.first + given.seeds):
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            if given.keep is None:
                place = stack.enter_context(tempfile.TemporaryDirectory(prefix="orders-"))
                folder = Path(place)
            else:
                folder = given.keep.resolve() / str(seed)
                folder.mkdir(parents=True)
            years[seed] = year(seed, folder)
        found = {m: of["findings"] for m, of in years[seed].items() if of["found"]}
        sys.stderr.write(f"seed {seed} ({time.monotonic() - began:.0f} s): {found}\n")
    print(json.dumps({"summary": summary(years), "years": years}, indent=1))


def main() -> None:
    parser = options(__doc__, seeds=10, first=0)
    parser.add_argument("--short", action="store_true", help="without a year to learn from")
    given = parser.parse_args()
    play(given, functools.partial(played, short=given.short))


if __name__ == "__main__":
    main()
