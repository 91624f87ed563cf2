"""One small project with a version, made once; each test that breaks things gets a copy."""

from __future__ import annotations

from pathlib import Path

import delivered_projects
import pytest


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose version is only in its own clone: nothing was pushed. Don't change it."""
    return delivered_projects.make(tmp_path_factory.mktemp("delivered"))


@pytest.fixture
def project(delivered: Path, tmp_path: Path) -> Path:
    """A copy of it, with remotes of its own."""
    return delivered_projects.copied(delivered, tmp_path)
