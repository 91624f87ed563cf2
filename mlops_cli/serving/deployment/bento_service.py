"""The service inside a Bento: the application that `mlops serve` runs, and nothing around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mlops_cli.data.atomic_files import read_json
from mlops_cli.serving.deployment.build_context import SETTINGS, environment
from mlops_cli.serving.service.run import settle_threads

__all__ = ["service_of"]


def service_of(source: Path) -> Any:
    """The BentoML service of a Bento's source folder.

    BentoML answers through a Starlette application with tracing, metrics and access log around
    every request, which costs several times what the answer does (docs/benchmarks.md has figures).
    ``to_asgi`` is where its worker asks for the application that uvicorn runs: this service gives
    its own, which has metrics and a log already. What is left to `bentoml serve` is uvicorn, which
    makes a task of each request, where the server of `mlops serve` makes a batch of many.
    """
    import bentoml

    told = read_json(source / SETTINGS)
    name, _, _ = told["model"].partition(":")
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    settle_threads()
    model = type("Model", (), {"place": bentoml.on_deployment(_place)})
    plain = bentoml.service(name=name, workers=1)(model)

    class Direct(type(plain)):  # type: ignore[misc]
        """A service that gives its own application to the server."""

        def to_asgi(self, is_main: bool = True) -> Any:  # noqa: ARG002 - BentoML's signature
            from mlops_cli.serving.service.app import create_app
            from mlops_cli.serving.service.settings import Settings

            stored = bentoml.models.get(told["model"])
            bundle = Path(stored.path) / "bundle"
            return create_app(Settings.of({**environment(source, bundle), **os.environ}))

    return Direct(name=name, config=plain.config, inner=plain.inner)


def _place() -> None:
    """Keep events where `bentoml serve` was called.

    BentoML calls this there, before it starts the worker, which works in the Bento's own folder and
    inherits the environment.
    """
    os.environ.setdefault("MLOPS_ROOT", str(Path.cwd()))
