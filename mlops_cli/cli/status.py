"""`mlops status`: what is up to date, what changed and why, and the last metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mlops_cli.cli.options import Json
from mlops_cli.cli.output import console
from mlops_cli.cli.output.gate_decision import decision, draw_decision

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.project.at_work import RunningWork

__all__ = ["status"]

_REASONS = 3
_TRIES = 10
_PAUSE = 0.3


def status(
    as_json: Json = False,
) -> None:
    """Show which stages changed and why, and the last metrics.

    Example: mlops status
    """
    from mlops_cli.cli.project import open_project

    layout, _ = open_project()
    facts = _facts(layout)
    if as_json:
        console.draw_json(facts)
        return
    _draw(facts)
    draw_decision(layout)
    _draw_retraining(facts["retraining"])


def _facts(layout: Layout) -> dict[str, Any]:
    from mlops_cli.project.pipeline import STAGES
    from mlops_cli.project.stage_runs import load_summary

    changed, working = _changed(layout)
    stages: dict[str, Any] = {}
    behind = False
    for name in STAGES:
        why = changed.get(name, [])
        state = "changed" if why else "waits for the stages before" if behind else "up to date"
        if working is not None:
            state = "at work" if name == working.stage else "not asked: a run is at work"
        behind = behind or bool(why)
        last = load_summary(layout, name)
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
        "at_work": None if working is None else vars(working),
        "decision": decision(layout),
        "retraining": _retraining(layout),
    }


def _changed(layout: Layout) -> tuple[dict[str, list[str]], RunningWork | None]:
    """What changed, by stage; nothing, and who is at work, while DVC is held by a run."""
    from mlops_cli.errors import Busy
    from mlops_cli.project.at_work import mark_running
    from mlops_cli.project.dvc import changes

    for left in reversed(range(_TRIES)):
        if working := mark_running(layout):
            return {}, working
        try:
            return changes(layout.root), None
        except Busy:
            # Somebody began just now, or DVC's lock outlives one that was killed for a moment.
            if not left:
                raise
            time.sleep(_PAUSE)
    raise AssertionError


def _retraining(layout: Layout) -> dict[str, Any]:
    """The retraining that was interrupted, and the last one that ended."""
    from dataclasses import asdict

    from mlops_cli.project.at_work import holder_alive
    from mlops_cli.project.attempts import Attempts

    attempts = Attempts(layout)
    unfinished, history = attempts.unfinished(), attempts.history()
    process = holder_alive(layout.work / "retrain.lock")
    return {
        "unfinished": None if unfinished is None else asdict(unfinished),
        "process": process if unfinished is not None else None,
        "last": asdict(history[-1]) if history else None,
    }


def _draw(facts: dict[str, Any]) -> None:
    from rich.table import Table

    out = console.console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("stage", "state", "why", "last run"):
        table.add_column(column, overflow="fold")
    colours = {"up to date": "green", "changed": "yellow", "at work": "yellow"}
    for name, stage in facts["stages"].items():
        why = stage["why"][:_REASONS]
        more = len(stage["why"]) - len(why)
        colour = colours.get(stage["state"], "dim")
        table.add_row(
            name,
            f"[{colour}]{stage['state']}[/{colour}]",
            "\n".join(map(console.line, why)) + (f"\n... and {more} more" if more else ""),
            console.line(stage["last"] or ""),
        )
    out.print(table)
    if at := facts["at_work"]:
        where = f", in the stage {at['stage']}" if at["stage"] else ""
        out.print(f"[yellow]at work[/yellow] a run (process {at['process']}){where}")
    for name, why in facts["other"].items():
        said = console.line(f"{name}: {', '.join(why)}")
        out.print(f"[yellow]changed[/yellow] {said}")


def _draw_retraining(facts: dict[str, Any]) -> None:
    out = console.console()
    one = facts["unfinished"]
    if one and facts["process"]:
        told = f"retraining up to {console.line(one['until'])} (process {facts['process']})"
        out.print(f"[yellow]at work[/yellow] {told}")
    elif one:
        until = console.line(one["until"])
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
