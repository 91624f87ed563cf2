"""The service against bare servers: one row a request, the flights' model, logging on.

Needs wrk, and a project whose pipeline has run (`make run`). Each side is one worker; both are
asked in turn, so that a noisy machine is noisy for both.

    python benchmarks/serving.py [--seconds 5] [--connections 64 256]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LUA = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local at = 0
request = function()
  at = at %% #bodies + 1
  return wrk.format("POST", "/predict", {["content-type"] = "application/json"}, bodies[at])
end
"""
BARE = """
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
async def predict(request):
    return PlainTextResponse("ok")
app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
uvicorn.run(app, port=%d, log_level="warning", access_log=False, loop="uvloop", http="httptools")
"""
PLAIN = """
import bentoml, numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
rows = pd.read_json("%s", lines=True)
text = [c for c in rows if rows[c].dtype.kind not in "if"]
encode = make_column_transformer(
    (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), text),
    remainder="passthrough")
model = make_pipeline(encode, HistGradientBoostingClassifier(max_iter=100))
model.fit(rows, np.arange(len(rows)) %% 2)
@bentoml.service(workers=1)
class Plain:
    @bentoml.api
    def predict(self, rows: list[dict]) -> list[float]:
        return model.predict_proba(pd.DataFrame(rows))[:, 1].tolist()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = requests(folder)
        with contextlib.ExitStack() as stack:
            started = time.perf_counter()
            ours = stack.enter_context(serving(folder, "ours", 3811))
            ready = time.perf_counter() - started
            bare = stack.enter_context(python(folder, "bare", BARE % 3812, 3812))
            print(f"ready after {ready:.2f} s; memory then {memory(ours):.0f} MB")
            for count in given.connections:
                one, other = [], []
                for _ in range(3):
                    other.append(load(folder, 3812, count, given.seconds))
                    one.append(load(folder, 3811, count, given.seconds))
                mine, theirs = middle(one), middle(other)
                print(
                    f"{count} connections: ours {mine['rate']:,.0f} requests/s "
                    f"(p50 {mine['p50']:.1f} ms, p99 {mine['p99']:.1f} ms), bare Starlette "
                    f"{theirs['rate']:,.0f}: ratio {mine['rate'] / theirs['rate']:.2f}"
                )
            print(f"memory of the worker: {memory(ours):.0f} MB")
            print(f"a body of 1,000 rows: median {large(rows, 3811):.1f} ms")
            os.kill(bare.pid, signal.SIGTERM)
        with plain(folder) as port:
            found = load(folder, port, 16, given.seconds)
            print(f"plain BentoML service, 16 connections: {found['rate']:,.0f} requests/s")


def requests(folder: Path) -> list[dict[str, object]]:
    """The last flights before the data clock, as bodies of one row each."""
    program = json.loads((ROOT / "models/model/program.json").read_text())
    base = pl.read_parquet(ROOT / f"data/validated/{program['rules']['base']}.parquet")
    rows = base.tail(2_000).select(list(program["example"]))
    rows = rows.with_columns(pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
    listed = rows.to_dicts()
    (folder / "bodies").write_text("\n".join(json.dumps({"rows": [row]}) for row in listed))
    (folder / "rows").write_text("\n".join(map(json.dumps, listed)))
    (folder / "post.lua").write_text(LUA % (folder / "bodies"))
    return listed


@contextlib.contextmanager
def serving(folder: Path, name: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlops serve` of the last run's model, with a log of its own."""
    words = [str(BIN / "mlops"), "serve", "--workspace", "--port", str(port)]
    environment = {**os.environ, "MLOPS_EVENTS_URL": str(folder / "events.sqlite")}
    with process(folder, name, words, f"http://127.0.0.1:{port}/readyz", environment) as found:
        yield found


@contextlib.contextmanager
def python(folder: Path, name: str, text: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server in Python."""
    (folder / f"{name}.py").write_text(text)
    words = [sys.executable, str(folder / f"{name}.py")]
    with process(folder, name, words, f"http://127.0.0.1:{port}/predict") as found:
        yield found


@contextlib.contextmanager
def plain(folder: Path) -> Iterator[int]:
    """A plain BentoML service around a scikit-learn pipeline over a pandas frame."""
    (folder / "plain.py").write_text(PLAIN % (folder / "rows"))
    words = [str(BIN / "bentoml"), "serve", "plain:Plain", "--port", "3813"]
    environment = {
        **os.environ,
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": str(folder / "home"),
    }
    with process(folder, "plain", words, "http://127.0.0.1:3813/readyz", environment):
        yield 3813


@contextlib.contextmanager
def process(
    folder: Path, name: str, words: list[str], url: str, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, from its first answer on."""
    where = ROOT if name == "ours" else folder
    with (folder / f"{name}.log").open("wb") as log:
        found = subprocess.Popen(words, cwd=where, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url, timeout=1)  # noqa: S310 - our own
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if found.poll() is not None:
                    sys.exit((folder / f"{name}.log").read_text())
                time.sleep(0.05)
        yield found
    finally:
        found.terminate()
        found.wait(30)


def load(folder: Path, port: int, connections: int, seconds: int) -> dict[str, float]:
    """What wrk measures: requests/s, and percentiles in milliseconds."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    words += ["-s", str(folder / "post.lua"), f"http://127.0.0.1:{port}/predict"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        sys.exit(f"some requests failed:\n{text}")
    found = {"rate": float(re.search(r"Requests/sec:\s+([0-9.]+)", text)[1])}  # type: ignore[index]
    for name in ("50", "99"):
        number, unit = re.search(rf"{name}%\s+([0-9.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
        found[f"p{name}"] = float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
    return found


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """The run with the median rate."""
    return sorted(runs, key=lambda run: run["rate"])[len(runs) // 2]


def large(rows: list[dict[str, object]], port: int) -> float:
    """Median milliseconds of 30 requests of 1,000 rows."""
    body, times = json.dumps({"rows": rows[:1000]}).encode(), []
    for _ in range(30):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", body, {"content-type": "application/json"}
        )
        start = time.perf_counter()
        urllib.request.urlopen(request).read()  # noqa: S310 - our own
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def memory(found: subprocess.Popen[bytes]) -> float:
    """Resident megabytes of a process."""
    text = Path(f"/proc/{found.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1e3  # type: ignore[index]


if __name__ == "__main__":
    main()
