"""`mlops feedback import`: import labels into the event log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import INPUT_FILES, FailOnBad, Json, ModelOption, timestamp
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.feedback.label_reader import ImportResult

__all__ = ["feedback"]

_MAX_EXAMPLES = 5

_Until = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="With --from-project: labels known at this time; by default today."
    ),
]

feedback = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@feedback.callback()
def group() -> None:
    """Import labels: what really happened after the predictions.

    Example: mlops feedback import labels.csv
    """


@feedback.command("import")
def import_labels(
    file: Annotated[str | None, INPUT_FILES] = None,
    from_project: Annotated[
        bool,
        typer.Option(
            "--from-project", help="Instead of FILE: from the base source, by featurize.target."
        ),
    ] = False,
    until: _Until = None,
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column with the labels.")
    ] = "label",
    version: ModelOption = "production",
    fail_on_bad: FailOnBad = False,
    as_json: Json = False,
) -> None:
    """Import labels into the event log, by prediction id or entity.

    A file has a column with the labels, and either the column `id` or the entity's columns
    (serve.entity) and `time`. Entity and classes are those of the version. Rows without a valid
    label are reported, and the others imported. A repeated label changes nothing.

    Example: mlops feedback import labels.csv --label returned
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.errors import Usage
    from mlops_cli.feedback import import_labels as live

    if (file is None) != from_project:
        raise Usage("give either FILE or --from-project", "Example: mlops feedback import l.csv")
    if until is not None and not from_project:
        raise Usage("--until goes with --from-project only", "A file is imported as a whole.")
    layout, params = open_project()
    with live_progress("feedback", quiet=as_json) as progress:
        if file is None:
            moment = timestamp(until, params)
            result = live.import_from_source(
                params, layout, version=version, until=moment, progress=progress
            )
        else:
            result = live.import_files(
                params,
                layout,
                file,
                version=version,
                label=label,
                strict=fail_on_bad,
                progress=progress,
            )
    if as_json:
        console.draw_json({**vars(result), "counts": dict(result.counts)})
    else:
        _draw(result)


def _draw(result: ImportResult) -> None:
    out = console.console()
    kinds = {"new": "new", "same": "stored already", "changed": "changed",
             "unknown": "without a prediction yet"}  # fmt: skip
    counts = [f"{result.counts[key]:,} {kind}" for key, kind in kinds.items() if result.counts[key]]
    out.print(f"labels for {result.version}: {', '.join(counts) or 'none'}", markup=False)
    if result.contradicting:
        out.print(f"[yellow]![/yellow] {result.contradicting:,} contradicted by a later row")
    if result.bad:
        out.print(f"[yellow]![/yellow] {result.bad:,} rows without a valid label:")
    for example in result.examples[:_MAX_EXAMPLES]:
        entry: dict[str, Any] = example
        out.print(f"  {entry['file']}, row {entry['row']}: {entry['message']}", markup=False)
