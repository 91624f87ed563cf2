"""`mlops serve`: serve a registered model over HTTP; its subcommands package the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.deploy import build, containerize, manifests
from mlops_cli.cli.options import runs_subcommand
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.serving.service.app import Service
    from mlops_cli.serving.service.settings import Settings

__all__ = ["serve"]

serve = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
serve.command("build")(build)
serve.command("containerize")(containerize)
serve.command("manifests")(manifests)

_Version = Annotated[
    str | None,
    typer.Option(
        "--version", "-v", metavar="VERSION", help="v0.2.0 or latest; by default production."
    ),
]
_Follow = Annotated[
    bool,
    typer.Option("--follow", help="Switch to a version that enters the stage, without a restart."),
]
_Fetch = Annotated[
    str | None,
    typer.Option(
        metavar="30s|off",
        help="With --follow: how often to fetch from the Git remote; off: only this clone's "
        "tags count. By default serve.fetch (30s).",
    ),
]
_Canary = Annotated[
    str | None,
    typer.Option(metavar="VERSION=5%", help="Responds for this share of the entities."),
]


@serve.callback()
def run_service(
    context: typer.Context,
    version: _Version = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", "-s", metavar="STAGE", help="The version in this stage."),
    ] = None,
    workspace: Annotated[
        bool, typer.Option("--workspace", help="The last run's model, registered or not.")
    ] = False,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen at.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65535, metavar="PORT", help="The port to listen at.")
    ] = 3000,
    follow: _Follow = False,
    fetch: _Fetch = None,
    shadow: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Scores and logs the same rows, but doesn't respond."),
    ] = None,
    canary: _Canary = None,
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Log no predictions, and accept no labels.")
    ] = False,
) -> None:
    """Serve a registered model over HTTP, or package its service.

    The service runs in the foreground, at http://127.0.0.1:3000. Predictions and labels go to
    .mlops/events.sqlite, or to MLOPS_EVENTS_URL. With MLOPS_API_KEYS in the environment, requests
    need one of these keys.

    Example: mlops serve --stage production --follow
    """
    if runs_subcommand(context):
        return
    from mlops_cli.errors import Usage

    if sum((version is not None, stage is not None, workspace)) > 1:
        raise Usage("--version, --stage and --workspace exclude each other", "Give one of them.")
    if follow and (version is not None or workspace):
        raise Usage("--follow follows a stage, not a version", "Use it with --stage, or alone.")
    if fetch is not None and not follow:
        raise Usage("--fetch is of use with --follow only", "Add --follow, or leave it out.")
    _serve(
        None if workspace else version or stage or "production",
        (stage or "production") if follow else None,
        fetch,
        (host, port),
        shadow=shadow,
        canary=canary,
        log_events=not no_log,
    )


def _serve(
    version: str | None,
    stage: str | None,
    fetch: str | None,
    address: tuple[str, int],
    *,
    shadow: str | None,
    canary: str | None,
    log_events: bool,
) -> None:
    """Serve a version, or the last run's model; if a stage is given, also what enters it."""
    from mlops_cli.serving.service.run import run, settle_threads

    settle_threads()  # before the import of Polars, which reads these settings
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.select_version import WORKSPACE
    from mlops_cli.serving.prepare import prepare_models
    from mlops_cli.serving.service.settings import parse_share

    layout, params = open_project()
    with live_progress("serve", quiet=False) as progress:
        settings = prepare_models(
            params,
            layout,
            WORKSPACE if version is None else version,
            shadow=shadow,
            canary=None if canary is None else parse_share(canary),
            follow=stage,
            log_events=log_events,
            progress=progress,
        )
    host, port = address

    def print_banner(service: Service) -> None:
        _print_banner(settings, service, host, port)

    if settings.follow is None:
        run(settings, host, port, print_banner)
        return
    from mlops_cli.serving import follow as following

    with following.follow(params, layout, settings, fetch) as attach:

        def attach_and_print(service: Service) -> None:
            attach(service)
            print_banner(service)

        run(settings, host, port, attach_and_print)


def _print_banner(settings: Settings, service: Service, host: str, port: int) -> None:
    """Print version, addresses and an example request."""
    import json
    import shlex

    served = service.versions.main
    out = console.console()
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{port}"
    out.print(f"{served.model.label}{_first_metric(settings)}", markup=False)
    for other, role in ((service.versions.canary, "canary"), (service.versions.shadow, "shadow")):
        if other is not None:
            out.print(f"{role}: {other.model.label}", markup=False)
    if following := service.follow_status():
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
        key = ' -H "x-api-key: $KEY"' if service.authenticator.key_required else ""
        # In one line, so that it can be pasted.
        out.print("try it:", markup=False)
        line = f"curl -s {url}/predict -H 'content-type: application/json'{key} -d {body}"
        out.print(line, markup=False, soft_wrap=True, highlight=False)
    out.print("Press Ctrl-C to stop.", markup=False)


def _first_metric(settings: Settings) -> str:
    """Format the first metric of the test rows, with its interval."""
    from mlops_cli.data.atomic_files import read_json
    from mlops_cli.data.untrusted import refuse_malformed
    from mlops_cli.reporting import figure_text

    path = settings.model.folder / "metrics.json"
    if not path.is_file():
        return ""
    with refuse_malformed(str(path), "Serve another version."):
        name, figure = next(iter(read_json(path)["model"].items()))
        return f", {name} {figure_text(figure)}"
