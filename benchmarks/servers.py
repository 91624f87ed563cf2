"""The servers that `serving.py` compares: how to start them, send requests and measure them.

The other servers' packages are installed once from PyPI, into virtual environments in
`.mlops/benchmarks`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_timing import ROOT, environment

__all__ = ["Rows", "RunningServer", "Server", "create_servers", "run_server"]

PEERS = Path(__file__).resolve().parent / "serving_peers"
CACHE = ROOT / ".mlops" / "benchmarks"
PACKAGES = {
    "fastapi": ["fastapi", "uvicorn[standard]", "scikit-learn", "pandas"],
    "mlflow": ["mlflow", "scikit-learn", "pandas"],
}
# With more OpenMP threads, scikit-learn takes longer for few rows, as its threads busy-wait.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Server:
    """A server and how to call it.

    Attributes
    ----------
    rows
        Key of the rows in a body.
    connections
        Numbers of connections to test; a slow server needs few.
    """

    name: str
    port: int
    command: Sequence[str]
    cwd: Path
    path: str = "/predict"
    rows: str = "rows"
    connections: tuple[int, ...] = (16,)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """URL of predictions."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def body(self, rows: Rows) -> bytes:
        """Body of a request."""
        return json.dumps({self.rows: rows}).encode()


@dataclass
class RunningServer:
    """A server that responds."""

    server: Server
    process: subprocess.Popen[bytes]
    start: float

    def request(self, rows: Rows) -> float:
        """Send a request; return its seconds."""
        http_request = urllib.request.Request(  # noqa: S310 - our own
            self.server.url, self.server.body(rows), {"content-type": "application/json"}
        )
        started = time.perf_counter()
        with urllib.request.urlopen(http_request, timeout=60) as response:  # noqa: S310 - our own
            response.read()
        return time.perf_counter() - started

    @property
    def cpu(self) -> float:
        """Seconds of processor time (user and system) of the process and its children."""
        tick = os.sysconf("SC_CLK_TCK")
        return (
            sum(float(s[11]) + float(s[12]) for s in map(_stat, _process_tree(self.process.pid)))
            / tick
        )

    @property
    def megabytes(self) -> float:
        """Resident memory of its largest process, in megabytes."""
        page = os.sysconf("SC_PAGE_SIZE")
        return max(int(_stat(pid)[21]) for pid in _process_tree(self.process.pid)) * page / 1e6


def create_servers(folder: Path, rows: Path, names: Sequence[str]) -> list[Server]:
    """Prepare the servers, ours first."""
    events = {"MLOPS_EVENTS_URL": str(folder / "events.sqlite")}
    bin_folder = Path(sys.executable).parent
    command = [str(bin_folder / "mlops"), "serve", "--workspace", "--port", "3811"]
    many = (64, 256, 512)
    servers = [Server("ours", 3811, command, ROOT, connections=many, environment=events)]
    if {"starlette", "fastapi"} & {*names}:
        python = _venv("fastapi")
        model_folder = _train_pipeline(python, rows, folder / "fastapi")
        command = [str(python), str(PEERS / "bare.py"), "3812"]
        servers.append(Server("starlette", 3812, command, model_folder, connections=many))
        command = [str(python), str(PEERS / "fastapi_app.py"), "3813"]
        servers.append(Server("fastapi", 3813, command, model_folder, environment=ONE_THREAD))
    if "bentoml" in names:
        model_folder = _train_pipeline(Path(sys.executable), rows, folder / "bentoml")
        shutil.copy(PEERS / "bento_app.py", model_folder)
        command = [str(bin_folder / "bentoml"), "serve", "bento_app:Plain", "--port", "3814"]
        settings = {
            "BENTOML_DO_NOT_TRACK": "true",
            "BENTOML_HOME": str(model_folder / "home"),
            **ONE_THREAD,
        }
        servers.append(Server("bentoml", 3814, command, model_folder, environment=settings))
    if "mlflow" in names:
        python = _venv("mlflow")
        model_folder = _train_pipeline(python, rows, folder / "mlflow")
        command = [
            str(python.parent / "mlflow"),
            "models",
            "serve",
            "-m",
            str(model_folder / "mlflow"),
        ]
        command += ["-p", "3815", "-w", "1", "--env-manager", "local"]
        path = {"PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]), **ONE_THREAD}
        servers.append(
            Server("mlflow", 3815, command, model_folder, "/invocations", "dataframe_records",
                   environment=path)
        )  # fmt: skip
    return [server for server in servers if server.name in {"ours", *names}]


@contextlib.contextmanager
def run_server(server: Server, rows: Rows) -> Iterator[RunningServer]:
    """Run a server, from its first response on."""
    log = server.cwd / f"{server.name}.log" if server.cwd != ROOT else Path(os.devnull)
    started = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            server.command, cwd=server.cwd, env={**environment(), **server.environment},
            stdout=out, stderr=out,
        )  # fmt: skip
    running = RunningServer(server, process, 0.0)
    try:
        while not running.start:
            if process.poll() is not None:
                sys.exit(f"{server.name} ended: {log.read_text()[-2000:]}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                running.request(rows[:1])
                running.start = time.perf_counter() - started
            time.sleep(0.01)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def _venv(name: str) -> Path:
    """Return the Python of an environment with a server's packages; create it if needed."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    if not python.is_file():
        print(f"installing {', '.join(PACKAGES[name])} into {folder}", file=sys.stderr)
        try:
            venv.create(folder, with_pip=True)
            command = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
            subprocess.run(command, check=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return python


def _train_pipeline(python: Path, rows: Path, folder: Path) -> Path:
    folder.mkdir()
    command = [str(python), str(PEERS / "train.py"), str(rows), str(folder)]
    subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD})
    return folder


def _process_tree(pid: int) -> list[int]:
    """Ids of a process and its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    pids = [pid]
    for parent in pids:
        pids += children.get(parent, [])
    return pids


def _stat(pid: int) -> list[str]:
    """Fields of `/proc/PID/stat` from the third one, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
