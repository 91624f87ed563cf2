"""`mlops models`: the versions of a model, one of them in depth, and two side by side."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Fetch, Json, Remote, VersionArgument, runs_subcommand
from mlops_cli.cli.output import console
from mlops_cli.data.untrusted import refuse_malformed

if TYPE_CHECKING:
    from rich.tree import Tree

    from mlops_cli.layout import Layout
    from mlops_cli.registry.versions import Registry, Version

__all__ = ["models"]

models = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

_HASH = 12
_WHY = 60
"""Characters of a reason in the table."""


@models.callback()
def listing(context: typer.Context, as_json: Json = False) -> None:
    """List, show, compare and download registered versions.

    The list has stage, metric, data, age, author and reason of each version.

    Example: mlops models
    """
    if runs_subcommand(context):
        return
    _, registry = _registry()
    entries = [_entry(registry, v) for v in reversed(registry.versions)]
    if as_json:
        console.draw_json({"model": registry.name, "versions": entries})
    elif not entries:
        console.console().print(
            f"{registry.name} has no version yet: `mlops register`", markup=False
        )
    else:
        _draw_versions(registry.name, entries)


@models.command("show")
def show(
    version: VersionArgument,
    short: Annotated[
        bool, typer.Option("--short", help="Leave out pipeline, inputs and parameters.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where a version comes from, down to its sources.

    It shows registration, stages, test metrics, gates, commit, pipeline, inputs with their hashes,
    and parameters.

    Example: mlops models show production
    """
    from mlops_cli.registry.provenance import provenance

    layout, registry = _registry()
    found = provenance(layout.root, registry, registry.find(version))
    if as_json:
        console.draw_json(found)
    else:
        console.console().print(_tree(found, short=short), soft_wrap=False)  # else it is cut off


@models.command("diff")
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version or stage.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Another version or stage.")],
    *,
    fetch: Fetch = False,
    as_json: Json = False,
) -> None:
    """Compare two versions.

    It shows the differences in parameters, data, features and metrics.

    Example: mlops models diff v0.1.0 v0.2.0
    """
    from mlops_cli.cli.output import compare_views
    from mlops_cli.registry.paired_models import compare_models

    layout, registry = _registry()
    tags = [registry.find(version).tag.name for version in (old, new)]
    difference = compare_models(layout.root, *tags, fetch=fetch)
    if as_json:
        console.draw_json(compare_views.as_json(difference))
    else:
        compare_views.draw_difference(difference)


@models.command("pull")
def pull(
    version: VersionArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The folder to write; by default .mlops/models/NAME@VERSION.",
        ),
    ] = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Download a version's model bundle.

    The workspace stays as it is. VERSION may also be the tag of a promotion, such as
    shop#production#3.

    Example: mlops models pull production -o model
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.approvals.stage_rules import find_trusted
    from mlops_cli.registry.fetch_bundle import pull_bundle

    into = None if output is None else output.resolve()
    layout, params = open_project()
    found = find_trusted(layout.root, params.register_.name, version, console.draw_note)
    with live_progress("pull", quiet=as_json) as progress:
        folder = pull_bundle(layout.root, found, into, remote, progress)
    if as_json:
        console.draw_json({"version": found.label, "folder": str(folder), "bundle": found.bundle})
    else:
        console.console().print(f"{found.label} is in {folder}", markup=False)


def _registry() -> tuple[Layout, Registry]:
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.approvals.stage_rules import read_trusted

    layout, params = open_project()
    return layout, read_trusted(layout.root, params.register_.name, console.draw_note)


def _entry(registry: Registry, version: Version) -> dict[str, Any]:
    trailers = version.tag.trailers
    return {
        "version": version.number,
        "stages": [stage for stage, v in registry.stages().items() if v == version],
        "metric": trailers.get("Metric"),
        "data_until": trailers.get("Data-until"),
        "at": version.tag.at.isoformat(),
        "by": version.tag.who,
        "why": version.tag.why,
        "commit": version.commit,
        "bundle_sha256": version.bundle,
    }


def _draw_versions(name: str, entries: list[dict[str, Any]]) -> None:
    from mlops_cli.reporting import Table

    columns = ("version", "stage", "metric", "data until", "age", "by", "why", "commit")
    rows = tuple(
        (
            e["version"],
            ", ".join(e["stages"]),
            e["metric"] or "",
            (e["data_until"] or "")[:10],
            _age(datetime.fromisoformat(e["at"])),
            e["by"].partition(" <")[0],
            _first_words(e["why"]),
            e["commit"][:9],
        )
        for e in entries
    )
    console.draw_table(Table(name, columns, rows))


def _first_words(text: str) -> str:
    """As much of a reason as a line of the table has room for; `models show` has it all."""
    line = " ".join(text.split())
    if len(line) <= _WHY:
        return line
    return f"{line[:_WHY].rpartition(' ')[0] or line[:_WHY]} ..."


def _age(at: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - at).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@refuse_malformed(
    "models/registration.json, or dvc.lock, of the version", "Look at another version."
)
def _tree(found: dict[str, Any], *, short: bool) -> Tree:
    from rich.tree import Tree

    from mlops_cli.reporting import figure_text

    def add(branch: Tree, title: str, lines: dict[str, Any] | list[str]) -> None:
        part = branch.add(f"[bold]{console.line(title)}[/bold]")
        for each in lines if isinstance(lines, list) else (f"{k}: {v}" for k, v in lines.items()):
            part.add(console.line(each))

    tree = Tree(f"[bold]{console.line(found['version'])}[/bold] {', '.join(found['in'])}")
    add(tree, "registered", {k: v for k, v in found["registered"].items() if v})
    if found["stages"]:
        add(tree, "stages", [f"{s['tag']}, {s['at'][:19]}, {s['by']}" for s in found["stages"]])
    metrics = {name: figure_text(m) for name, m in found["metrics"].items()}
    add(tree, "test metrics", metrics)
    add(
        tree,
        "gates",
        [g["name"] + (" passed" if g["passed"] else " refused") for g in found["gates"]],
    )
    if found["champion"]:
        add(tree, "champion", [found["champion"]])
    add(tree, "bundle", {"sha256": found["bundle_sha256"]})
    add(tree, "commit", found["commit"])
    if short:
        return tree
    pipeline = tree.add("[bold]pipeline[/bold]")
    for name, stage in reversed(found["pipeline"].items()):
        makes = [f"{path} {md5[:_HASH]}" for path, md5 in stage["makes"].items()]
        add(pipeline, name, [f"makes {m}" for m in makes] + [f"reads {r}" for r in stage["reads"]])
    add(tree, "inputs", [f"{path} {md5[:_HASH]}" for path, md5 in found["inputs"].items()])
    _add_params(tree, found["params"])
    return tree


def _add_params(tree: Tree, params: dict[str, Any]) -> None:
    """Parameters as a tree; long lists and tables by their number."""
    branch = tree.add("[bold]parameters[/bold]")
    for name, value in params.items():
        if isinstance(value, dict):
            part = branch.add(console.line(name))
            for key, inner in value.items():
                many = isinstance(inner, dict | list) and len(str(inner)) > 100  # noqa: PLR2004
                part.add(console.line(f"{key}: {f'{len(inner)} entries' if many else inner}"))
        else:
            branch.add(console.line(f"{name}: {value}"))
