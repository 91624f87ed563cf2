"""Builds the service's settings from a project: versions, online store, stage to follow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlops_cli.data.atomic_files import read_json
from mlops_cli.data.untrusted import refuse_malformed
from mlops_cli.features.program import FeatureProgram
from mlops_cli.online.materialize import is_current, materialize
from mlops_cli.registry.select_version import WORKSPACE, select_model
from mlops_cli.serving.row_files import TextOptions
from mlops_cli.serving.service.settings import Model, Secrets, Settings, parse_list

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.registry.select_version import SelectedModel
    from mlops_cli.registry.versions import Registry
    from mlops_cli.reporting import Progress

__all__ = ["model_in_stage", "model_of", "prepare_models"]


def prepare_models(
    params: Params,
    layout: Layout,
    version: str,
    *,
    shadow: str | None,
    canary: tuple[str, float] | None,
    follow: str | None,
    log_events: bool,
    progress: Progress,
) -> Settings:
    """Fetch and verify the versions to serve, and fill the online store where it isn't current."""
    selected = select_model(params, layout, version, progress)
    secrets = Secrets.from_environment(os.environ)
    model = model_of(selected, layout, secrets, progress)
    others = {
        name: model_of(select_model(params, layout, other, progress), layout, secrets, progress)
        for name, other in (("shadow", shadow), ("canary", canary[0] if canary else None))
        if other is not None
    }
    return Settings(
        model,
        layout.root,
        params.serve,
        secrets,
        others.get("shadow"),
        (others["canary"], canary[1]) if canary else None,
        follow,
        log_events,
        parse_list(os.environ, "MLOPS_HOSTS"),
        TextOptions.from_source(params.ingest.sources.get(params.featurize.base)),
    )


def model_of(
    selected: SelectedModel, layout: Layout, secrets: Secrets, progress: Progress
) -> Model:
    """A bundle to serve; fills the online store for its feature program if it isn't current."""
    from mlops_cli.online.store import open_store

    with refuse_malformed(f"the feature program of {selected.label}", "Serve another version."):
        program = FeatureProgram.from_json(read_json(selected.folder / "program.json"))
    if program.plans:
        store = open_store(secrets.online_url, layout.online, create=True)
        try:
            if not is_current(program, layout, store):
                materialize(program, layout, store, progress=progress)
        finally:
            store.close()
    return Model(selected.name, selected.number, _stable_folder(selected, layout, progress))


def model_in_stage(
    params: Params,
    layout: Layout,
    registry: Registry,
    stage: str,
    label: str | None,
    progress: Progress,
) -> Model | None:
    """The model in a registry stage, fetched and ready to serve; None if it is ``label``."""
    version = registry.find(stage)
    if version.label == label:
        return None
    selected = select_model(params, layout, version.number, progress)
    return model_of(selected, layout, Secrets.from_environment(os.environ), progress)


def _stable_folder(selected: SelectedModel, layout: Layout, progress: Progress) -> Path:
    """The bundle's folder; the workspace's bundle is copied, because the next run replaces it.

    The copy is named by its content, so a running service keeps its own.
    """
    if selected.number != WORKSPACE:
        return selected.folder
    import shutil

    from mlops_cli.data.atomic_files import atomic_write
    from mlops_cli.project.locks import wait_for_lock

    digest = read_json(selected.folder / "manifest.json")["bundle_sha256"]
    target = layout.work / "models" / f"{selected.label}-{digest[:12]}"
    with wait_for_lock(target.with_name("workspace.lock"), progress.note):
        if not target.is_dir():
            with atomic_write(target) as folder:
                shutil.copytree(selected.folder, folder)
    return target
