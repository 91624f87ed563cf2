"""What BentoML's ways to run a service cost: one row a request, the flights' model, logging on.

Needs wrk, and a project whose pipeline has run (`make run`). The same application by `mlops serve`,
by its image's start command, by `bentoml serve` of its Bento, and mounted in a BentoML service, as
BentoML would have it, with and without what of that can be turned off. All are asked in turn.

    python benchmarks/bento.py [--seconds 5] [--connections 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
from under_test import BIN, ROOT, bodies
from wrk import Load, needed

MOUNTED = """
import bentoml
from mlops_cli.serving.service.app import create_app
made = []
async def app(scope, receive, send):
    if not made:
        made.append(create_app())
        made[0].start()
    await made[0](scope, receive, send)
@bentoml.service(workers=1, %s)
class Mounted:
    pass
Mounted.mount_asgi_app(app, path="/")
"""
OFF = """
    metrics={"enabled": False}, logging={"access": {"enabled": False}}, tracing={"sample_rate": 0.0}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    needed()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        bodies(folder)
        sides = {"mlops serve": 3841, "image": 3842, "bentoml serve": 3843}
        sides |= {"mounted": 3844, "mounted, all off": 3845}
        started = {s: stack.enter_context(running(folder, s, port)) for s, port in sides.items()}
        rates: dict[str, list[float]] = {side: [] for side in sides}
        costs: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(given.rounds + 1):
            for side, port in sides.items():
                url = f"http://127.0.0.1:{port}/predict"
                load = Load(url, folder / "bodies", given.connections, given.seconds)
                before = processor_seconds(started[side])
                found = load.run(folder)
                # The first round warms up.
                if number:
                    spent = processor_seconds(started[side]) - before
                    rates[side].append(found.rate)
                    costs[side].append(1e6 * spent / (found.rate * given.seconds))
        ours = statistics.median(rates["mlops serve"])
        for side in sides:
            rate, cost = statistics.median(rates[side]), statistics.median(costs[side])
            print(
                f"{side:<18} {rate:7,.0f} requests/s, {rate / ours:.2f} of ours; "
                f"{cost:5,.0f} us of a processor each"
            )


def processor_seconds(found: subprocess.Popen[bytes]) -> float:
    """What a service and its workers have used so far: less in doubt on a machine with others."""
    process = psutil.Process(found.pid)
    times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def bento() -> tuple[Path, str]:
    """The store, and the tag of the Bento of the last run's model, built if it isn't there."""
    words = [str(BIN / "mlops"), "serve", "build", "--version", "workspace"]
    text = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return ROOT / ".mlops" / "bentoml", text.split()[-1]


@contextlib.contextmanager
def running(folder: Path, side: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A service with a log of its own, from its first answer on."""
    store, tag = bento()
    name, _, version = tag.partition(":")
    source, bundle = store / "bentos" / name / version / "src", store / "models" / name / version
    work = folder / side.replace(" ", "-").replace(",", "")
    work.mkdir()
    environment = {
        **os.environ,
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(store),
        "MLOPS_EVENTS_URL": str(work / "events.sqlite"),
    }
    told = {
        "MLOPS_BUNDLE": str(bundle / "bundle"),
        "MLOPS_VERSION": "flights@workspace",
        "MLOPS_ONLINE_URL": str(source / "online.sqlite"),
        "MLOPS_ROOT": str(work),
        "POLARS_MAX_THREADS": "1",
    }
    where = work
    if side == "mlops serve":
        words, where = [str(BIN / "mlops"), "serve", "--workspace"], ROOT
    elif side == "image":
        words = [sys.executable, "-m", "mlops_cli.serving.service"]
        environment |= {**told, "PYTHONPATH": str(source)}
    elif side == "bentoml serve":
        words = [str(BIN / "bentoml"), "serve", tag]
    else:
        (work / "mounted.py").write_text(MOUNTED % (OFF if "off" in side else ""))
        words = [str(BIN / "bentoml"), "serve", "mounted:Mounted"]
        environment |= told
    words += ["--port", str(port)]
    with (work / "log").open("wb") as log:
        found = subprocess.Popen(words, cwd=where, env=environment, stdout=log, stderr=log)
    try:
        wait(found, port, work / "log")
        yield found
    finally:
        found.send_signal(signal.SIGTERM)
        found.wait(30)


def wait(found: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until it answers."""
    for _ in range(900):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/docs.json", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            if found.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        else:
            return
    sys.exit(f"no answer from port {port}")


if __name__ == "__main__":
    main()
