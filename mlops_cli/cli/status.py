"""`mlops status`: changed stages with the reasons, the last metrics and retraining."""

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

_MAX_REASONS = 3
_ATTEMPTS = 10
_PAUSE_SECONDS = 0.3


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

    changed, running = _changed(layout)
    stages: dict[str, Any] = {}
    waits = False
    for name in STAGES:
        reasons = changed.get(name, [])
        state = "changed" if reasons else "waits for the stages before" if waits else "up to date"
        if running is not None:
            state = "at work" if name == running.stage else "not asked: a run is at work"
        waits = waits or bool(reasons)
        last = load_summary(layout, name)
        stages[name] = {
            "state": state,
            "why": reasons,
            "last": None if last is None else last[0].headline,
            "seconds": None if last is None else last[1],
        }
    others = {name: reasons for name, reasons in changed.items() if name not in STAGES}
    return {
        "stages": stages,
        "other": others,
        "at_work": None if running is None else vars(running),
        "decision": decision(layout),
        "retraining": _retraining(layout),
    }


def _changed(layout: Layout) -> tuple[dict[str, list[str]], RunningWork | None]:
    """Reasons why stages changed; while a run has locked DVC, none and the running work."""
    from mlops_cli.errors import Busy
    from mlops_cli.project.at_work import find_running
    from mlops_cli.project.dvc import changes

    for attempts_left in reversed(range(_ATTEMPTS)):
        if running := find_running(layout):
            return {}, running
        try:
            return changes(layout.root), None
        except Busy:
            # A run has just begun, or the lock of a killed DVC still exists for a moment.
            if not attempts_left:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError


def _retraining(layout: Layout) -> dict[str, Any]:
    """The interrupted retraining, and the last finished one."""
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
        reasons = stage["why"][:_MAX_REASONS]
        more = len(stage["why"]) - len(reasons)
        colour = colours.get(stage["state"], "dim")
        table.add_row(
            name,
            f"[{colour}]{stage['state']}[/{colour}]",
            "\n".join(map(console.line, reasons)) + (f"\n... and {more} more" if more else ""),
            console.line(stage["last"] or ""),
        )
    out.print(table)
    if running := facts["at_work"]:
        where = f", in the stage {running['stage']}" if running["stage"] else ""
        out.print(f"[yellow]at work[/yellow] a run (process {running['process']}){where}")
    for name, reasons in facts["other"].items():
        text = console.line(f"{name}: {', '.join(reasons)}")
        out.print(f"[yellow]changed[/yellow] {text}")


def _draw_retraining(facts: dict[str, Any]) -> None:
    out = console.console()
    attempt = facts["unfinished"]
    if attempt and facts["process"]:
        text = f"retraining up to {console.line(attempt['until'])} (process {facts['process']})"
        out.print(f"[yellow]at work[/yellow] {text}")
    elif attempt:
        until = console.line(attempt["until"])
        out.print(
            f"[yellow]interrupted[/yellow] retraining up to {until} (`mlops retrain` continues it, "
            "`mlops retrain --abandon` undoes it)"
        )
    if attempt := facts["last"]:
        what = f" {attempt['version']}" if attempt["version"] else ""
        detail = f"; {attempt['detail']}" if attempt["detail"] else ""
        text = f"last retraining, up to {attempt['until']}: {attempt['outcome']}{what}{detail}"
        out.print(text, markup=False)
        out.print(f"  why: {attempt['reason']} ({attempt['at']})", markup=False)
