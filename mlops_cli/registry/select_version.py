"""Select the model for a command: a registered version, or the workspace's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.registry.approvals.stage_rules import find_trusted
from mlops_cli.registry.fetch_bundle import pull_bundle
from mlops_cli.reporting import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.registry.versions import Version
    from mlops_cli.reporting import Progress

__all__ = ["WORKSPACE", "SelectedModel", "select_model"]

WORKSPACE = "workspace"
"""Selects the bundle of the last run, registered or not."""


@dataclass(frozen=True)
class SelectedModel:
    """A bundle in a folder, with its name and version.

    Attributes
    ----------
    version
        The registered version; None for the workspace's bundle.
    """

    name: str
    folder: Path
    version: Version | None

    @property
    def number(self) -> str:
        """Such as v0.2.0, or workspace."""
        return WORKSPACE if self.version is None else self.version.number

    @property
    def label(self) -> str:
        """Such as flight-delays@v0.2.0."""
        return f"{self.name}@{self.number}"


def select_model(
    params: Params, layout: Layout, version_or_stage: str, progress: Progress | None = None
) -> SelectedModel:
    """Find a version by its number, by ``latest`` or by its stage, and fetch its bundle.

    Raises
    ------
    NotFound
        If there is no such version or stage, or neither cache nor remote has its bundle.
    DataRefused
        If the bundle doesn't match its hash.
    """
    name = params.register_.name
    if version_or_stage == WORKSPACE:
        from mlops_cli.models.bundle import verify

        verify(layout.model)
        return SelectedModel(name, layout.model, None)
    progress = progress or Silent()
    version = find_trusted(layout.root, name, version_or_stage, progress.note)
    folder = pull_bundle(layout.root, version, progress=progress)
    return SelectedModel(name, folder, version)
