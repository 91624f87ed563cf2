"""Comparison of the event log with bare sqlite3: durable predictions of 1.5 KB in batches of 64.

The other side writes the same rows to one table whose only index is its key, with ``executemany``
and one commit for each batch. Each side runs in its own process.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mlops_cli.events import Prediction, open_log
from mlops_cli.layout import Layout

EVENTS, BATCH, MAX_PENDING = 200_000, 64, 4
ROW = "?,?,?,?,?,?,?,?,?,?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--side", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side = {"ours": ours, "bare": bare}[options.side]
        print(json.dumps(side(options.folder, make_batches(options.events))))
        return
    for side in ("ours", "bare"):
        # Not in /tmp, which may be a RAM disk, where a sync costs nothing.
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            command = [sys.executable, __file__, "--side", side, "--folder", folder]
            command += ["--events", str(options.events)]
            measured = json.loads(subprocess.check_output(command))
        seconds, cpu, caller = (measured[k] / options.events for k in ("seconds", "cpu", "caller"))
        print(
            f"{side}: {1 / seconds:,.0f} events/s, {cpu * 1e6:.1f} us of CPU an event, "
            f"{caller * 1e6:.2f} us of it in the caller's thread"
        )


def make_batches(count: int) -> list[list[Prediction]]:
    """Predictions of 2,000 entities in turn, in batches."""
    inputs = json.dumps({"text": "x" * 640})
    features = json.dumps([1.2345] * 85)
    output = json.dumps({"prediction": True, "probabilities": {"false": 0.25, "true": 0.75}})
    predictions = [
        Prediction(
            f"019a-{number:016x}", 1e9 + number, 1e9 + number % 2_000, "v0.1.0", "answered",
            f'["N{number % 2_000}"]', inputs, features, output, 1.5,
        )
        for number in range(count)
    ]  # fmt: skip
    return [predictions[start : start + BATCH] for start in range(0, count, BATCH)]


def ours(folder: Path, batches: list[list[Prediction]]) -> dict[str, float]:
    log = open_log(None, Layout(folder))
    slots = threading.Semaphore(MAX_PENDING)
    start, cpu, caller = time.perf_counter(), time.process_time(), time.thread_time()
    for batch in batches:
        slots.acquire()
        log.append_predictions(batch).add_done_callback(lambda _: slots.release())
    for _ in range(MAX_PENDING):
        slots.acquire()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "caller": time.thread_time() - caller,
    }


def bare(folder: Path, batches: list[list[Prediction]]) -> dict[str, float]:
    db = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    names = ", ".join(["id TEXT PRIMARY KEY", *Prediction._fields[1:]])
    db.execute(f"CREATE TABLE predictions ({names})")
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        db.execute("BEGIN")
        db.executemany(f"INSERT INTO predictions VALUES ({ROW})", batch)  # noqa: S608
        db.execute("COMMIT")
    cpu_seconds = time.process_time() - cpu
    return {"seconds": time.perf_counter() - start, "cpu": cpu_seconds, "caller": cpu_seconds}


if __name__ == "__main__":
    main()
