"""`mlops feedback import`: labels that come late, into the event log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.live.feedback import Imported

__all__ = ["feedback"]

_NAMED = 5

feedback = typer.Typer(
    help="Labels: what really happened.\n\nExample: mlops feedback import labels.csv",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@feedback.callback()
def group() -> None:
    """Labels: what really happened to what was predicted.

    Example: mlops feedback import labels.csv
    """


@feedback.command("import")
def bring(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|GLOB]",
            help="CSV, JSON Lines (also .gz) or Parquet; without it --from-project.",
        ),
    ] = None,
    from_project: Annotated[
        bool,
        typer.Option("--from-project", help="From the base source, by featurize.target."),
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="With --from-project: what was known before; or today."),
    ] = None,
    label: Annotated[str, typer.Option(help="The column with the labels.")] = "label",
    version: Annotated[
        str, typer.Option("--version", "-v", help="Whose entity and classes are meant.")
    ] = "production",
    fail_on_bad: Annotated[
        bool, typer.Option("--fail-on-bad", help="Keep nothing if a row is no label.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Bring labels into the event log, by prediction id or by entity and time.

    A file has the column `id`, or the entity's columns (serve.entity) and `time`; and the label.
    Rows that are no labels are named, and the others kept. The same label again changes nothing.

    Example: mlops feedback import labels.csv --label returned
    """
    import datetime as dt

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.core.moments import moment_of
    from mlops_cli.errors import Usage
    from mlops_cli.live import feedback as live

    if (file is None) != from_project:
        raise Usage("give either FILE or --from-project", "Example: mlops feedback import l.csv")
    if until is not None and not from_project:
        raise Usage("--until goes with --from-project only", "A file is imported as a whole.")
    layout = find()
    params = parameters.load(layout.params)
    with shown("feedback", quiet=as_json) as progress:
        if file is None:
            today = dt.datetime.now(dt.UTC).date()
            moment = None if until is None else moment_of(until, params.ingest.until, today)
            done = live.bring_by_rule(
                params, layout, version=version, until=moment, progress=progress
            )
        else:
            done = live.bring(
                params,
                layout,
                file,
                version=version,
                label=label,
                strict=fail_on_bad,
                progress=progress,
            )
    if as_json:
        drawing.draw_json({**vars(done), "counts": dict(done.counts)})
    else:
        _draw(done)


def _draw(done: Imported) -> None:
    out = drawing.console()
    words = {"new": "new", "same": "known before", "changed": "changed",
             "unknown": "of no prediction yet"}  # fmt: skip
    told = [f"{done.counts[key]:,} {said}" for key, said in words.items() if done.counts[key]]
    out.print(f"labels for {done.version}: {', '.join(told) or 'none'}", markup=False)
    if done.contradicting:
        out.print(f"[yellow]![/yellow] {done.contradicting:,} overruled by a later row")
    if done.bad:
        out.print(f"[yellow]![/yellow] {done.bad:,} rows are no labels:")
    for one in done.examples[:_NAMED]:
        entry: dict[str, Any] = one
        out.print(f"  {entry['file']}, row {entry['row']}: {entry['message']}", markup=False)
