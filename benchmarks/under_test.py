"""A service that is put to the test: real rows, `mlops serve` as a process, and its memory."""

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

__all__ = ["BIN", "ROOT", "bodies", "last_rows", "memory", "serving", "with_tools"]

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def last_rows(most: int) -> list[dict[str, Any]]:
    """The last rows before the data clock, as a caller has them."""
    program = json.loads((ROOT / "models/model/program.json").read_text())
    base = pl.read_parquet(ROOT / f"data/validated/{program['rules']['base']}.parquet")
    rows = base.tail(most).select(list(program["example"]))
    return rows.with_columns(pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%SZ")).to_dicts()


def bodies(folder: Path) -> list[dict[str, Any]]:
    """2,000 of the last rows; and in a file, as bodies of one row each."""
    rows = last_rows(2_000)
    (folder / "bodies").write_text("\n".join(json.dumps({"rows": [row]}) for row in rows))
    return rows


@contextlib.contextmanager
def serving(
    folder: Path, project: Path, port: int, log: Path | str, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """`mlops serve` in a project, from its first answer on; what it says goes into the folder."""
    words = [str(BIN / "mlops"), "serve", *options, "--port", str(port)]
    environment = {**with_tools(), "MLOPS_EVENTS_URL": str(log)}
    with (folder / "serve.log").open("ab") as lines:
        found = subprocess.Popen(words, cwd=project, env=environment, stdout=lines, stderr=lines)
    try:
        for _ in range(1_200):
            if found.poll() is not None:
                sys.exit((folder / "serve.log").read_text()[-2000:])
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1)
                break
            time.sleep(0.05)
        yield found
    finally:
        found.terminate()
        found.wait(60)


def memory(found: subprocess.Popen[bytes]) -> float:
    """Resident megabytes of a process."""
    text = Path(f"/proc/{found.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1e3  # type: ignore[index]


def with_tools() -> dict[str, str]:
    """The environment in which the venv's commands are found."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
