"""Python code in a process of its own, which can import the modules of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment() -> dict[str, str]:
    """The environment of the process itself, with this folder on Python's path."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}


def output(code: str, *arguments: str) -> str:
    """What the code prints; it must end with exit code 0."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
