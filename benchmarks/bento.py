"""Cost of the ways to run the service with BentoML, with one row a request and logging on.

The benchmark needs wrk, and a project whose pipeline has run (`make run`). It runs the same
application with `mlops serve`, with the image's start command, with `bentoml serve` of its Bento,
and mounted in a BentoML service, with and without BentoML's metrics, access log and tracing. The
sides take turns.

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
from service_process import BIN, ROOT, write_request_bodies
from wrk import Load, require_wrk

MOUNTED_SERVICE = """
import bentoml
from mlops_cli.serving.service.app import create_app
applications = []
async def app(scope, receive, send):
    if not applications:
        applications.append(create_app())
        applications[0].start()
    await applications[0](scope, receive, send)
@bentoml.service(workers=1, %s)
class Mounted:
    pass
Mounted.mount_asgi_app(app, path="/")
"""
ALL_OFF = """
    metrics={"enabled": False}, logging={"access": {"enabled": False}}, tracing={"sample_rate": 0.0}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        write_request_bodies(folder)
        ports = {"mlops serve": 3841, "image": 3842, "bentoml serve": 3843}
        ports |= {"mounted": 3844, "mounted, all off": 3845}
        processes = {
            s: stack.enter_context(run_service(folder, s, port)) for s, port in ports.items()
        }
        rates: dict[str, list[float]] = {side: [] for side in ports}
        costs: dict[str, list[float]] = {side: [] for side in ports}
        for number in range(args.rounds + 1):
            for side, port in ports.items():
                url = f"http://127.0.0.1:{port}/predict"
                load = Load(url, folder / "bodies", args.connections, args.seconds)
                before = processor_seconds(processes[side])
                result = load.run(folder)
                # The first round is a warm-up.
                if number:
                    spent = processor_seconds(processes[side]) - before
                    rates[side].append(result.rate)
                    costs[side].append(1e6 * spent / (result.rate * args.seconds))
        ours = statistics.median(rates["mlops serve"])
        for side in ports:
            rate, cost = statistics.median(rates[side]), statistics.median(costs[side])
            print(
                f"{side:<18} {rate:7,.0f} requests/s, {rate / ours:.2f} of ours; "
                f"{cost:5,.0f} us of a processor each"
            )


def processor_seconds(service: subprocess.Popen[bytes]) -> float:
    """Processor time of a service and its workers, which depends less on other processes."""
    process = psutil.Process(service.pid)
    times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def build_bento() -> tuple[Path, str]:
    """Build the Bento of the last run's model if needed; return BentoML's store and its tag."""
    command = [str(BIN / "mlops"), "serve", "build", "--version", "workspace"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return ROOT / ".mlops" / "bentoml", text.split()[-1]


@contextlib.contextmanager
def run_service(folder: Path, side: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run one side with its own event log, from its first response on."""
    store, tag = build_bento()
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
    settings = {
        "MLOPS_BUNDLE": str(bundle / "bundle"),
        "MLOPS_VERSION": "flights@workspace",
        "MLOPS_ONLINE_URL": str(source / "online.sqlite"),
        "MLOPS_ROOT": str(work),
        "POLARS_MAX_THREADS": "1",
    }
    cwd = work
    if side == "mlops serve":
        command, cwd = [str(BIN / "mlops"), "serve", "--workspace"], ROOT
    elif side == "image":
        command = [sys.executable, "-m", "mlops_cli.serving.service"]
        environment |= {**settings, "PYTHONPATH": str(source)}
    elif side == "bentoml serve":
        command = [str(BIN / "bentoml"), "serve", tag]
    else:
        (work / "mounted.py").write_text(MOUNTED_SERVICE % (ALL_OFF if "off" in side else ""))
        command = [str(BIN / "bentoml"), "serve", "mounted:Mounted"]
        environment |= settings
    command += ["--port", str(port)]
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(process, port, work / "log")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the service responds."""
    for _ in range(900):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/docs.json", timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.1)
        else:
            return
    sys.exit(f"no response from port {port}")


if __name__ == "__main__":
    main()
