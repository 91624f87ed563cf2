"""`mlops status`: what is up to date, what changed and why, and the last metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli import drawing
from mlops_cli.cli.decision import decision, draw_decision

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["status"]

_REASONS = 3


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what changed and why, and the last metrics.

    Example: mlops status
    """
    from mlops_cli import params as parameters
    from mlops_cli.cli.project import find
    from mlops_cli.store.dvc import changes

    layout = find()
    parameters.load(layout.params)
    facts = _facts(layout, changes(layout.root))
    if as_json:
        drawing.draw_json(facts)
        return
    _draw(facts)
    draw_decision(layout)
    _draw_retraining(facts["retraining"])


def _facts(layout: Layout, changed: dict[str, list[str]]) -> dict[str, Any]:
    from mlops_cli.stages import STAGES
    from mlops_cli.store.runs import last_summary

    stages: dict[str, Any] = {}
    behind = False
    for name in STAGES:
        why = changed.get(name, [])
        state = "changed" if why else "waits for the stages before" if behind else "up to date"
        behind = behind or bool(why)
        last = last_summary(layout, name)
        stages[name] = {
            "state": state,
            "why": why,
            "last": None if last is None else last[0].headline,
            "seconds": None if last is None else last[1],
        }
    others = {name: why for name, why in changed.items() if name not in STAGES}
    return {
        "stages": stages,
        "other": others,
        "decision": decision(layout),
        "retraining": _retraining(layout),
    }


def _retraining(layout: Layout) -> dict[str, Any]:
    """The retraining that was interrupted, and the last one that ended."""
    from dataclasses import asdict

    from mlops_cli.store.attempts import Attempts

    attempts = Attempts(layout)
    unfinished, history = attempts.unfinished(), attempts.history()
    return {
        "unfinished": None if unfinished is None else asdict(unfinished),
        "last": asdict(history[-1]) if history else None,
    }


def _draw(facts: dict[str, Any]) -> None:
    from rich.table import Table

    out = drawing.console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("stage", "state", "why", "last run"):
        table.add_column(column, overflow="fold")
    colours = {"up to date": "green", "changed": "yellow"}
    for name, stage in facts["stages"].items():
        why = stage["why"][:_REASONS]
        more = len(stage["why"]) - len(why)
        colour = colours.get(stage["state"], "dim")
        table.add_row(
            name,
            f"[{colour}]{stage['state']}[/{colour}]",
            "\n".join(map(drawing.line, why)) + (f"\n... and {more} more" if more else ""),
            drawing.line(stage["last"] or ""),
        )
    out.print(table)
    for name, why in facts["other"].items():
        said = drawing.line(f"{name}: {', '.join(why)}")
        out.print(f"[yellow]changed[/yellow] {said}")


def _draw_retraining(facts: dict[str, Any]) -> None:
    out = drawing.console()
    if one := facts["unfinished"]:
        until = drawing.line(one["until"])
        out.print(
            f"[yellow]interrupted[/yellow] retraining up to {until} (`mlops retrain` goes on, "
            "`mlops retrain --abandon` puts back)"
        )
    if one := facts["last"]:
        what = f" {one['version']}" if one["version"] else ""
        detail = f"; {one['detail']}" if one["detail"] else ""
        said = f"last retraining, up to {one['until']}: {one['outcome']}{what}{detail}"
        out.print(said, markup=False)
        out.print(f"  why: {one['reason']} ({one['at']})", markup=False)
