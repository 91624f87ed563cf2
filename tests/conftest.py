"""Configuration of pytest: the path, the shared fixtures, and slow tests first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest_plugins = ["shared_fixtures"]

# As in an activated venv: the `mlops`, `dvc` and `gto` that tests call are this environment's.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that run pipelines, so that no worker ends long after the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
