"""`mlops models`: list, show, compare and download the versions of a model."""

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

_HASH_DIGITS = 12
_MAX_REASON = 60
"""Maximum number of characters of a reason in the table."""


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
    facts = provenance(layout.root, registry, registry.find(version))
    if as_json:
        console.draw_json(facts)
    else:
        # Long lines are wrapped, because they would be cut off.
        console.console().print(_tree(facts, short=short), soft_wrap=False)


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

    target = None if output is None else output.resolve()
    layout, params = open_project()
    tagged = find_trusted(layout.root, params.register_.name, version, console.draw_note)
    with live_progress("pull", quiet=as_json) as progress:
        folder = pull_bundle(layout.root, tagged, target, remote, progress)
    if as_json:
        console.draw_json({"version": tagged.label, "folder": str(folder), "bundle": tagged.bundle})
    else:
        console.console().print(f"{tagged.label} is in {folder}", markup=False)


def _registry() -> tuple[Layout, Registry]:
    """Open the project and read its registry; assignments that break the rules are left out."""
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.approvals.stage_rules import read_trusted

    layout, params = open_project()
    return layout, read_trusted(layout.root, params.register_.name, console.draw_note)


def _entry(registry: Registry, version: Version) -> dict[str, Any]:
    """Facts of a version, for the table and as JSON."""
    trailers = version.tag.trailers
    return {
        "version": version.number,
        "stages": [stage for stage, v in registry.stages().items() if v == version],
        "metric": trailers.get("Metric"),
        "data_until": trailers.get("Data-until"),
        "at": version.tag.date.isoformat(),
        "by": version.tag.tagger,
        "why": version.tag.body,
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
            _format_age(datetime.fromisoformat(e["at"])),
            e["by"].partition(" <")[0],
            _shorten(e["why"]),
            e["commit"][:9],
        )
        for e in entries
    )
    console.draw_table(Table(name, columns, rows))


def _shorten(text: str) -> str:
    """Shorten a reason to fit into the table, at a word; `models show` prints all of it."""
    line = " ".join(text.split())
    if len(line) <= _MAX_REASON:
        return line
    return f"{line[:_MAX_REASON].rpartition(' ')[0] or line[:_MAX_REASON]} ..."


def _format_age(at: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - at).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@refuse_malformed(
    "models/registration.json, or dvc.lock, of the version", "Look at another version."
)
def _tree(facts: dict[str, Any], *, short: bool) -> Tree:
    """Show the provenance of a version as a tree."""
    from rich.tree import Tree

    from mlops_cli.reporting import figure_text

    def add(branch: Tree, title: str, lines: dict[str, Any] | list[str]) -> None:
        section = branch.add(f"[bold]{console.line(title)}[/bold]")
        for text in lines if isinstance(lines, list) else (f"{k}: {v}" for k, v in lines.items()):
            section.add(console.line(text))

    tree = Tree(f"[bold]{console.line(facts['version'])}[/bold] {', '.join(facts['in'])}")
    add(tree, "registered", {k: v for k, v in facts["registered"].items() if v})
    if facts["stages"]:
        add(tree, "stages", [f"{s['tag']}, {s['at'][:19]}, {s['by']}" for s in facts["stages"]])
    metrics = {name: figure_text(m) for name, m in facts["metrics"].items()}
    add(tree, "test metrics", metrics)
    add(
        tree,
        "gates",
        [g["name"] + (" passed" if g["passed"] else " refused") for g in facts["gates"]],
    )
    if facts["champion"]:
        add(tree, "champion", [facts["champion"]])
    add(tree, "bundle", {"sha256": facts["bundle_sha256"]})
    add(tree, "commit", facts["commit"])
    if short:
        return tree
    pipeline = tree.add("[bold]pipeline[/bold]")
    for name, stage in reversed(facts["pipeline"].items()):
        makes = [f"{path} {md5[:_HASH_DIGITS]}" for path, md5 in stage["makes"].items()]
        add(pipeline, name, [f"makes {m}" for m in makes] + [f"reads {r}" for r in stage["reads"]])
    add(tree, "inputs", [f"{path} {md5[:_HASH_DIGITS]}" for path, md5 in facts["inputs"].items()])
    _add_params(tree, facts["params"])
    return tree


def _add_params(tree: Tree, params: dict[str, Any]) -> None:
    """Add the parameters to a tree; long lists and tables as the number of their entries."""
    branch = tree.add("[bold]parameters[/bold]")
    for name, value in params.items():
        if isinstance(value, dict):
            section = branch.add(console.line(name))
            for key, inner in value.items():
                is_long = isinstance(inner, dict | list) and len(str(inner)) > 100  # noqa: PLR2004
                section.add(console.line(f"{key}: {f'{len(inner)} entries' if is_long else inner}"))
        else:
            branch.add(console.line(f"{name}: {value}"))
