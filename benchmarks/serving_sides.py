"""The servers that `serving.py` compares: how each is started, asked and watched.

The others' packages live in virtual environments of their own, under `.mlops/benchmarks`, made
once from PyPI.
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

from measure import ROOT, environment

__all__ = ["Rows", "Running", "Side", "running", "sides"]

PEERS = Path(__file__).resolve().parent / "serving_peers"
CACHE = ROOT / ".mlops" / "benchmarks"
PACKAGES = {
    "fastapi": ["fastapi", "uvicorn[standard]", "scikit-learn", "pandas"],
    "mlflow": ["mlflow", "scikit-learn", "pandas"],
}
# With more, scikit-learn's threads wait for each other at full speed: few rows take longer.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Side:
    """A server.

    Attributes
    ----------
    rows
        Under which name a body has its rows.
    connections
        With how many it is asked: where it is slow, more would only wait.
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
        """Where it takes predictions."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def body(self, rows: Rows) -> bytes:
        """A request's."""
        return json.dumps({self.rows: rows}).encode()


@dataclass
class Running:
    """A server that answers."""

    side: Side
    process: subprocess.Popen[bytes]
    start: float

    def ask(self, rows: Rows) -> float:
        """Seconds that a request took."""
        request = urllib.request.Request(  # noqa: S310 - our own
            self.side.url, self.side.body(rows), {"content-type": "application/json"}
        )
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own
            answer.read()
        return time.perf_counter() - started

    @property
    def cpu(self) -> float:
        """Seconds of processor time, its own and its system calls', with its children."""
        tick = os.sysconf("SC_CLK_TCK")
        return sum(float(s[11]) + float(s[12]) for s in map(_stat, _tree(self.process.pid))) / tick

    @property
    def megabytes(self) -> float:
        """Resident memory of its largest process."""
        page = os.sysconf("SC_PAGE_SIZE")
        return max(int(_stat(pid)[21]) for pid in _tree(self.process.pid)) * page / 1e6


def sides(folder: Path, rows: Path, wanted: Sequence[str]) -> list[Side]:
    """The servers, with what they need made; ours first."""
    events = {"MLOPS_EVENTS_URL": str(folder / "events.sqlite")}
    beside = Path(sys.executable).parent
    words = [str(beside / "mlops"), "serve", "--workspace", "--port", "3811"]
    many = (64, 256, 512)
    made = [Side("ours", 3811, words, ROOT, connections=many, environment=events)]
    if {"starlette", "fastapi"} & {*wanted}:
        python = _venv("fastapi")
        home = _trained(python, rows, folder / "fastapi")
        bare = [str(python), str(PEERS / "bare.py"), "3812"]
        made.append(Side("starlette", 3812, bare, home, connections=many))
        words = [str(python), str(PEERS / "fastapi_app.py"), "3813"]
        made.append(Side("fastapi", 3813, words, home, environment=ONE_THREAD))
    if "bentoml" in wanted:
        home = _trained(Path(sys.executable), rows, folder / "bentoml")
        shutil.copy(PEERS / "bento_app.py", home)
        words = [str(beside / "bentoml"), "serve", "bento_app:Plain", "--port", "3814"]
        quiet = {"BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(home / "home"), **ONE_THREAD}
        made.append(Side("bentoml", 3814, words, home, environment=quiet))
    if "mlflow" in wanted:
        python = _venv("mlflow")
        home = _trained(python, rows, folder / "mlflow")
        words = [str(python.parent / "mlflow"), "models", "serve", "-m", str(home / "mlflow")]
        words += ["-p", "3815", "-w", "1", "--env-manager", "local"]
        path = {"PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]), **ONE_THREAD}
        made.append(Side("mlflow", 3815, words, home, "/invocations", "dataframe_records",
                         environment=path))  # fmt: skip
    return [side for side in made if side.name in {"ours", *wanted}]


@contextlib.contextmanager
def running(side: Side, rows: Rows) -> Iterator[Running]:
    """A server from its start on; its first answer ends the start."""
    log = side.cwd / f"{side.name}.log" if side.cwd != ROOT else Path(os.devnull)
    started = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            side.command, cwd=side.cwd, env={**environment(), **side.environment},
            stdout=out, stderr=out,
        )  # fmt: skip
    found = Running(side, process, 0.0)
    try:
        while not found.start:
            if process.poll() is not None:
                sys.exit(f"{side.name} ended: {log.read_text()[-2000:]}")
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                found.ask(rows[:1])
                found.start = time.perf_counter() - started
            time.sleep(0.01)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _venv(name: str) -> Path:
    """The Python of an environment with a peer's packages."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    if not python.is_file():
        print(f"installing {', '.join(PACKAGES[name])} into {folder}", file=sys.stderr)
        try:
            venv.create(folder, with_pip=True)
            words = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
            subprocess.run(words, check=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return python


def _trained(python: Path, rows: Path, folder: Path) -> Path:
    folder.mkdir()
    words = [str(python), str(PEERS / "train.py"), str(rows), str(folder)]
    subprocess.run(words, check=True, env={**os.environ, **ONE_THREAD})
    return folder


def _tree(pid: int) -> list[int]:
    """A process and all that came of it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` from the state on, which is the third."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
