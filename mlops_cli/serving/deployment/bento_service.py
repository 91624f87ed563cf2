"""BentoML service that runs the application of `mlops serve` without BentoML's own web layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlops_cli.data.atomic_files import read_json
from mlops_cli.serving.deployment.build_context import SETTINGS, environment
from mlops_cli.serving.service.run import settle_threads

__all__ = ["service_of"]


def service_of(source: Path) -> Any:
    """Create the BentoML service of a Bento's source folder.

    By default BentoML wraps every request in a Starlette application with tracing, metrics and an
    access log. That costs several times as much as the response itself (docs/benchmarks.md has
    figures). BentoML's worker calls ``to_asgi`` for the application that uvicorn runs. This service
    returns its own application there, which has metrics and a log already. `bentoml serve` is still
    slower than `mlops serve`: uvicorn starts a task for each request, while the server of
    `mlops serve` combines many requests into a batch.
    """
    import bentoml

    settings = read_json(source / SETTINGS)
    name, _, _ = settings["model"].partition(":")
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    settle_threads()
    model = type("Model", (), {"place": bentoml.on_deployment(_set_root)})
    base = bentoml.service(name=name, workers=1)(model)

    class Direct(type(base)):  # type: ignore[misc]
        """A service that runs its own ASGI application."""

        def to_asgi(self, is_main: bool = True) -> Any:  # noqa: ARG002 - BentoML's signature
            from mlops_cli.serving.service.app import create_app
            from mlops_cli.serving.service.settings import Settings

            stored = bentoml.models.get(settings["model"])
            bundle = Path(stored.path) / "bundle"
            return create_app(
                Settings.from_environment({**environment(source, bundle), **os.environ})
            )

    return Direct(name=name, config=base.config, inner=base.inner)


def _set_root() -> None:
    """Keep events in the folder where `bentoml serve` was called.

    BentoML calls this hook in that folder, before it starts the worker. The worker runs in the
    Bento's own folder, and inherits the environment.
    """
    os.environ.setdefault("MLOPS_ROOT", str(Path.cwd()))
