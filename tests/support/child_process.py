"""Run Python code in its own process, which can import the modules of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment() -> dict[str, str]:
    """Environment with this folder on Python's path."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}


def output(code: str, *arguments: str) -> str:
    """Run code and return its stdout; the exit code must be 0."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
