"""What tests of several packages share: a small project with a version, a service for each task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import delivered_projects
import pytest
from served_models import Made, Running, make, running


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose version is only in its own clone: nothing was pushed. Don't change it."""
    return delivered_projects.make(tmp_path_factory.mktemp("delivered"))


@pytest.fixture
def project(delivered: Path, tmp_path: Path) -> Path:
    """A copy of it, with remotes of its own."""
    return delivered_projects.copied(delivered, tmp_path)


@pytest.fixture(scope="session", params=["binary", "multiclass", "regression"])
def task(request: pytest.FixtureRequest) -> str:
    """Each task."""
    return str(request.param)


@pytest.fixture(scope="session")
def made(task: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model of the task."""
    return make(tmp_path_factory.mktemp(task), task)


@pytest.fixture(scope="session")
def service(made: Made) -> Iterator[Running]:
    """A service of it, which logs."""
    formats = json.dumps({"formats": ["json", "csv", "arrow", "parquet"]})
    with running(made.environment(MLOPS_SERVE=formats)) as service:
        yield service


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A binary model."""
    return make(tmp_path_factory.mktemp("one"), "binary")
