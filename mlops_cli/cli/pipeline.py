"""`mlops run`, one command per stage, and `mlops stage`, which DVC calls."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from mlops_cli.cli import drawing

__all__ = ["run", "stage", "stage_command"]

OUTPUT = "MLOPS_OUTPUT"
"""How `mlops stage` shall speak when another `mlops` started it: brief, none; else full."""

Force = Annotated[bool, typer.Option("--force", "-f", help="Run even if nothing changed.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]


def run(force: Force = False, as_json: Json = False) -> None:
    """Bring all eight stages up to date.

    Raw data in, an approved or rejected model out.

    Example: mlops run
    """
    _bring_up_to_date(None, force=force, as_json=as_json)


def stage_command(name: str, does: str) -> Callable[..., None]:
    """The command of one stage: brings it, and what it needs, up to date through DVC."""

    def command(force: Force = False, as_json: Json = False) -> None:
        _bring_up_to_date(name, force=force, as_json=as_json)

    command.__name__ = name
    command.__doc__ = (
        f"{does}\n\nBrings the stage, and what it needs, up to date through DVC.\n\n"
        f"Example: mlops {name}\n"
    )
    return command


def stage(
    name: Annotated[str, typer.Argument(help="The stage: ingest, validate, ..., register.")],
    as_json: Json = False,
) -> None:
    """Do one stage's work, as dvc.yaml calls it.

    Example: mlops stage featurize
    """
    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.errors import NotFound, nearest
    from mlops_cli.stages import STAGES, load
    from mlops_cli.store.locks import waited_for
    from mlops_cli.store.runs import remember

    # Idle threads of one library must not spin while another works (read when libgomp loads).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if name not in STAGES:
        raise NotFound(f"there is no stage {name!r}", nearest(name, STAGES))
    layout = find()
    settings = parameters.load(layout.params)
    output = "none" if as_json else os.environ.get(OUTPUT, "full")
    start = time.perf_counter()
    # A killed run may have left its stage at work; two must not write the same files.
    with (
        shown(name, quiet=output == "none") as progress,
        waited_for(layout.work / "stage.lock", progress.note),
    ):
        summary = load(name).run(settings, layout, progress)
    seconds = time.perf_counter() - start
    remember(layout, name, summary, seconds)
    if as_json:
        drawing.draw_json({"stage": name, "seconds": seconds, **_plain(summary)})
    elif output != "none":
        drawing.draw_summary(name, summary, seconds, tables=output == "full")


def _bring_up_to_date(target: str | None, *, force: bool, as_json: bool) -> None:
    from mlops_cli import params as parameters
    from mlops_cli.cli.project import find
    from mlops_cli.store.dvc import reproduce
    from mlops_cli.store.locks import held

    layout = find()
    parameters.load(layout.params)  # a mistake there is told before anything starts
    os.environ[OUTPUT] = "none" if as_json else "full" if target else "brief"
    start = time.perf_counter()
    with held(layout.work / "run.lock", f"the project {layout.root.name}"):
        done = reproduce(layout.root, target, force=force)
    seconds = time.perf_counter() - start
    if as_json:
        drawing.draw_json(_as_json(layout, done, seconds))
    else:
        _draw_end(layout, target, done, seconds)


def _draw_end(layout: Any, target: str | None, done: list[str], seconds: float) -> None:
    from mlops_cli.stages import STAGES
    from mlops_cli.store.runs import last_summary

    out = drawing.console()
    shown = target or STAGES[-1]
    if not done:
        what = target or f"all {len(STAGES)} stages"
        out.print(f"nothing changed: {what} up to date", highlight=False)
        last = last_summary(layout, shown)
        if last is not None:
            drawing.draw_summary(shown, last[0], None, tables=target is not None)
        return
    if target is None:
        last = last_summary(layout, shown)
        if last is not None:
            for table in last[0].tables:
                drawing.draw_table(table)
        out.print(f"{len(done)} stages brought up to date in {seconds:.1f} s")


def _as_json(layout: Any, done: list[str], seconds: float) -> dict[str, Any]:
    from mlops_cli.stages import STAGES
    from mlops_cli.store.runs import last_summary

    stages: dict[str, Any] = {}
    for name in STAGES:
        last = last_summary(layout, name)
        stages[name] = {"changed": name in done, **({} if last is None else _plain(last[0]))}
    return {"changed": done, "seconds": round(seconds, 3), "stages": stages}


def _plain(summary: Any) -> dict[str, Any]:
    return {"headline": summary.headline, "warnings": summary.warnings, "facts": summary.facts}
