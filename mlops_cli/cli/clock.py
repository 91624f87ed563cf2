"""`mlops clock`: show or move the data clock."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Json, timestamp
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["clock"]


def clock(
    to: Annotated[
        str | None,
        typer.Argument(metavar="DATE", help="2013-11-01, a time, today, or a step: +7d, +1mo."),
    ] = None,
    *,
    back: Annotated[bool, typer.Option("--back", help="Allow an earlier time than now.")] = False,
    as_json: Json = False,
) -> None:
    """Show the data clock, or move it to take in newer data.

    The data clock is `ingest.until` in params.yaml: later rows are left out. Comments and
    formatting of the file stay.

    Example: mlops clock +1mo
    """
    from mlops_cli.cli.project import open_project
    from mlops_cli.data.timestamps import format_timestamp

    layout, settings = open_project()
    was = settings.ingest.until
    now = was if to is None else timestamp(to, settings)
    if now is not None and to is not None:
        _move(layout, settings, now, back=back)
    facts = {
        "until": None if now is None else format_timestamp(now),
        "was": None if was is None else format_timestamp(was),
        "changed": now != was,
        "sources": _sources(layout),
    }
    if as_json:
        console.draw_json(facts)
    else:
        _draw(facts, moved=to is not None)


def _move(layout: Layout, settings: Params, now: dt.datetime, *, back: bool) -> None:
    from mlops_cli.data.timestamps import format_timestamp
    from mlops_cli.errors import BadParams, Usage
    from mlops_cli.project.edit_params import set_until

    was = settings.ingest.until
    if not any(source.time for source in settings.ingest.sources.values()):
        raise BadParams(
            "the data clock would cut nothing: no source under ingest.sources states its `time`",
            "Set `time` to the column that says when a row happened (see docs/params.md).",
        )
    if was is not None and now < was and not back:
        raise Usage(
            f"{format_timestamp(now)} is before the present data clock, {format_timestamp(was)}",
            "Moving it back leaves newer rows out; add --back if that is meant.",
        )
    if now != was:
        set_until(layout.params, format_timestamp(now))


def _sources(layout: Layout) -> dict[str, Any]:
    """Rows and latest time of each source with a time, as of the last ingest."""
    from mlops_cli.data.atomic_files import read_json
    from mlops_cli.errors import NotFound

    try:
        sources = read_json(layout.ingest_manifest)["sources"]
    except NotFound:
        return {}
    return {
        name: {"rows": entry["rows"], "latest": entry["time_max"]}
        for name, entry in sources.items()
        if entry.get("time_max")
    }


def _draw(facts: dict[str, Any], *, moved: bool) -> None:
    out = console.console()
    until = facts["until"] or "not set: all data are used"
    if facts["changed"]:
        out.print(f"data clock: {until} (was {facts['was'] or 'not set'})", markup=False)
        out.print("Next: mlops run", markup=False)
        return
    out.print(f"data clock: {until}" + (", unchanged" if moved else ""), markup=False)
    for name, entry in facts["sources"].items():
        out.print(
            f"  {name}: {entry['rows']:,} rows, the latest of {entry['latest']}", markup=False
        )
