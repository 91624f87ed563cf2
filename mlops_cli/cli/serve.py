"""`mlops serve`: the registered model as a REST service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.live.service.app import Service
    from mlops_cli.live.service.settings import Settings

__all__ = ["serve"]


def serve(
    context: typer.Context,
    version: Annotated[
        str | None,
        typer.Option("--version", "-v", help="Such as v0.2.0 or latest; by default production."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", "-s", help="The version in this stage.")
    ] = None,
    workspace: Annotated[
        bool, typer.Option("--workspace", help="The last run's model, registered or not.")
    ] = False,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = 3000,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Change to what enters the stage, without a restart."),
    ] = False,
    fetch: Annotated[
        str | None,
        typer.Option(
            metavar="30s|off",
            help="With --follow: how often the Git remote is asked; off: only this clone's own "
            "tags count. By default serve.fetch (30s).",
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Scores and logs the same rows, without answering."),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(metavar="VERSION=5%", help="Answers for that share of the entities."),
    ] = None,
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Keep no predictions, and take no labels.")
    ] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Serve nothing: make the Bento, in .mlops/bentoml.")
    ] = False,
    containerize: Annotated[
        bool, typer.Option("--containerize", help="Serve nothing: make the Bento and its image.")
    ] = False,
    manifests: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Serve nothing: write what runs the image (Compose, Kubernetes) into DIR.",
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the image is called; by default as the Bento."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="With --manifests: replace files that differ.")
    ] = False,
) -> None:
    """Serve a registered model at http://127.0.0.1:3000, in the foreground; or pack it.

    Predictions and labels go to .mlops/events.sqlite, or to MLOPS_EVENTS_URL. With MLOPS_API_KEYS
    in the environment, requests need one of these keys.

    Example: mlops serve --stage production --follow

    Example: mlops serve --containerize --manifests deploy
    """
    from mlops_cli.live.service.running import run, settle_threads

    settle_threads()  # which Polars looks at when it is imported
    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.errors import Usage
    from mlops_cli.live.selecting import WORKSPACE
    from mlops_cli.live.service.settings import parse_share
    from mlops_cli.live.serving import prepared

    if sum((version is not None, stage is not None, workspace)) > 1:
        raise Usage("--version, --stage and --workspace exclude each other", "Give one of them.")
    if follow and (version is not None or workspace):
        raise Usage("--follow follows a stage, not a version", "Use it with --stage, or alone.")
    if fetch is not None and not follow:
        raise Usage("--fetch is of use with --follow only", "Add --follow, or leave it out.")
    packing = build or containerize or manifests is not None
    _refuse_mixture(context, packing=packing)
    layout = find()
    params = parameters.load(layout.params)
    wanted = WORKSPACE if workspace else version or stage or "production"
    if packing:
        from mlops_cli.cli.packing import packed

        packed(
            params,
            layout,
            wanted,
            build=build,
            image=image,
            containerize=containerize,
            manifests=manifests,
            force=force,
        )
        return
    with shown("serve", quiet=False) as progress:
        settings = prepared(
            params,
            layout,
            wanted,
            shadow=shadow,
            canary=None if canary is None else parse_share(canary),
            follow=(stage or "production") if follow else None,
            log=not no_log,
            progress=progress,
        )

    def ready(service: Service) -> None:
        _banner(settings, service, host, port)

    if settings.follow is None:
        run(settings, host, port, ready)
        return
    from mlops_cli.live.following import followed

    with followed(params, layout, settings, fetch) as attach:

        def attached(service: Service) -> None:
            attach(service)
            ready(service)

        run(settings, host, port, attached)


def _refuse_mixture(context: typer.Context, *, packing: bool) -> None:
    """Refuse options of serving where nothing is served, and the other way round."""
    from mlops_cli.errors import Usage

    def given(*names: str) -> str:
        sources = {name: context.get_parameter_source(name) for name in names}
        stated = [n for n, source in sources.items() if source and source.name == "COMMANDLINE"]
        return ", ".join(f"--{name.replace('_', '-')}" for name in stated)

    if packing and (idle := given("host", "port", "follow", "fetch", "shadow", "canary", "no_log")):
        raise Usage(
            f"{idle} would do nothing, as --build, --containerize and --manifests don't serve",
            "Leave it out; a container is told by its environment (docs/deployment.md).",
        )
    if not packing and (idle := given("image", "force")):
        raise Usage(f"{idle} is of use with --containerize or --manifests only", "Add one of them.")


def _banner(settings: Settings, service: Service, host: str, port: int) -> None:
    import json
    import shlex

    served = service.versions.main
    out = drawing.console()
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    out.print(f"{served.model.label}{_figure(settings)}", markup=False)
    for other, role in ((service.versions.canary, "canary"), (service.versions.shadow, "shadow")):
        if other is not None:
            out.print(f"{role}: {other.model.label}", markup=False)
    if following := service.following():
        fetch = following["fetch"]
        source = (
            f"fetched from {fetch['remote']} every {fetch['every_seconds']:g} s"
            if fetch
            else "by this clone's own tags"
        )
        out.print(f"following the stage {following['stage']}, {source}", markup=False)
    out.print(f"page      {url}/\nAPI       {url}/docs.json\nmetrics   {url}/metrics", markup=False)
    if served.example is not None:
        body = shlex.quote(json.dumps({"rows": [served.example]}, default=str))
        key = ' -H "x-api-key: $KEY"' if service.guard.closed else ""
        # In one piece, so that it can be pasted.
        out.print("try it:", markup=False)
        line = f"curl -s {url}/predict -H 'content-type: application/json'{key} -d {body}"
        out.print(line, markup=False, soft_wrap=True, highlight=False)
    out.print("Ctrl-C ends it.", markup=False)


def _figure(settings: Settings) -> str:
    """The first metric of the test split, with its interval."""
    from mlops_cli.reporting import figure_text
    from mlops_cli.store.files import read_json
    from mlops_cli.store.untrusted import well_formed

    path = settings.model.folder / "metrics.json"
    if not path.is_file():
        return ""
    with well_formed(str(path), "Serve another version."):
        name, figure = next(iter(read_json(path)["model"].items()))
        return f", {name} {figure_text(figure)}"
