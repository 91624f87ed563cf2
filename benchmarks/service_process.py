"""`mlops serve` in a process of its own, request rows from the project's data, and its memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

__all__ = [
    "BIN",
    "ROOT",
    "last_rows",
    "resident_megabytes",
    "run_service",
    "tool_environment",
    "write_request_bodies",
]

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def last_rows(max_rows: int) -> list[dict[str, Any]]:
    """The last ``max_rows`` rows before the data clock, with the columns of a request."""
    program = json.loads((ROOT / "models/model/program.json").read_text())
    base = pl.read_parquet(ROOT / f"data/validated/{program['rules']['base']}.parquet")
    rows = base.tail(max_rows).select(list(program["example"]))
    return rows.with_columns(pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%SZ")).to_dicts()


def write_request_bodies(folder: Path) -> list[dict[str, Any]]:
    """Return the last 2,000 rows, and write them to ``folder/bodies``, one JSON body a line."""
    rows = last_rows(2_000)
    (folder / "bodies").write_text("\n".join(json.dumps({"rows": [row]}) for row in rows))
    return rows


@contextlib.contextmanager
def run_service(
    folder: Path, project: Path, port: int, events_url: Path | str, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mlops serve` in a project, from its first response on; its log is in ``folder``."""
    command = [str(BIN / "mlops"), "serve", *options, "--port", str(port)]
    environment = {**tool_environment(), "MLOPS_EVENTS_URL": str(events_url)}
    with (folder / "serve.log").open("ab") as log_file:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=log_file, stderr=log_file
        )
    try:
        for _ in range(1_200):
            if process.poll() is not None:
                sys.exit((folder / "serve.log").read_text()[-2000:])
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1)
                break
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def resident_megabytes(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process, in megabytes."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1e3  # type: ignore[index]


def tool_environment() -> dict[str, str]:
    """Environment in which the venv's commands are on the path."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
