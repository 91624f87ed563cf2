"""Fixtures of several packages: a small project with a version, and a service for each task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import registry_projects
from model_services import RunningService, ServedModel, fit_model, run_service


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose version isn't pushed; tests must not change it."""
    return registry_projects.create_project(tmp_path_factory.mktemp("delivered"))


@pytest.fixture
def project(delivered: Path, tmp_path: Path) -> Path:
    """A copy of the project with its own remotes."""
    return registry_projects.copy_project(delivered, tmp_path)


@pytest.fixture(scope="session", params=["binary", "multiclass", "regression"])
def task(request: pytest.FixtureRequest) -> str:
    """The task of the model."""
    return str(request.param)


@pytest.fixture(scope="session")
def served_model(task: str, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A model of the task."""
    return fit_model(tmp_path_factory.mktemp(task), task)


@pytest.fixture(scope="session")
def service(served_model: ServedModel) -> Iterator[RunningService]:
    """A service of the model, which logs."""
    formats = json.dumps({"formats": ["json", "csv", "arrow", "parquet"]})
    with run_service(served_model.environment(MLOPS_SERVE=formats)) as service:
        yield service


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A binary model."""
    return fit_model(tmp_path_factory.mktemp("one"), "binary")
