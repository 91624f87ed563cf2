"""`mlops run`, the commands of single stages, and `mlops stage`, which DVC calls."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Force, Json
from mlops_cli.cli.output import console
from mlops_cli.cli.output.gate_decision import decision, draw_decision

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.reporting import Summary

__all__ = ["bring_up_to_date", "run", "run_stage", "stage", "stage_command"]

OUTPUT = "MLOPS_OUTPUT"
"""Output of `mlops stage` when another `mlops` has started it: brief or none; else full."""


def run(force: Force = False, as_json: Json = False) -> None:
    """Bring all eight stages of the pipeline up to date.

    Raw data go in, and an approved or rejected model comes out. Stages whose inputs are the same
    don't run again.

    Example: mlops run
    """
    run_stage(None, force=force, as_json=as_json)


def stage_command(name: str, does: str) -> Callable[..., None]:
    """Create the command of a stage; it runs the stage, and what it needs, through DVC."""

    def command(force: Force = False, as_json: Json = False) -> None:
        run_stage(name, force=force, as_json=as_json)

    command.__name__ = name
    command.__doc__ = (
        f"{does}\n\nDVC brings the stage, and what it needs, up to date.\n\nExample: mlops {name}\n"
    )
    return command


def stage(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The stage: ingest, validate, ..., register.")
    ],
    as_json: Json = False,
) -> None:
    """Run one stage without DVC, as `cmd` in dvc.yaml does.

    Example: mlops stage featurize
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.errors import MlopsError, NotFound, nearest
    from mlops_cli.project.locks import wait_for_lock
    from mlops_cli.project.pipeline import STAGES, load
    from mlops_cli.project.stage_runs import save_failure, save_summary

    if name not in STAGES:
        raise NotFound(f"there is no stage {name!r}", nearest(name, STAGES))
    layout, settings = open_project()
    output = "none" if as_json else os.environ.get(OUTPUT, "full")
    start = time.perf_counter()
    # The stage of a killed run may still be running, and must not write the same files.
    with (
        live_progress(name, quiet=output == "none") as progress,
        wait_for_lock(layout.work / "stage.lock", progress.note),
    ):
        try:
            summary = load(name).run(settings, layout, progress)
        except MlopsError as error:
            save_failure(layout, name, error.message)
            raise
    seconds = time.perf_counter() - start
    save_summary(layout, name, summary, seconds)
    if as_json:
        console.draw_json({"stage": name, "seconds": seconds, **_plain(summary)})
    elif output != "none":
        console.draw_summary(name, summary, seconds, tables=output == "full")


def bring_up_to_date(target: str | None, *, force: bool, quiet: bool) -> list[str]:
    """Let DVC run a stage and what it needs (by default all); return the stages that ran."""
    from mlops_cli.cli.project import find
    from mlops_cli.project.dvc import reproduce
    from mlops_cli.project.locks import lock
    from mlops_cli.project.switch import refuse_half_pulled

    layout = find()
    refuse_half_pulled(layout.root)
    _check_params(layout)
    os.environ[OUTPUT] = "none" if quiet else "full" if target else "brief"
    with lock(layout.work / "run.lock", f"the project {layout.root.name}"):
        return reproduce(layout.root, target, force=force)


def run_stage(target: str | None, *, force: bool, as_json: bool) -> None:
    """Bring a stage (by default all) up to date, and print the result."""
    from mlops_cli.cli.project import find

    layout = find()
    start = time.perf_counter()
    executed = bring_up_to_date(target, force=force, quiet=as_json)
    seconds = time.perf_counter() - start
    if as_json:
        console.draw_json(_as_json(layout, executed, seconds))
    else:
        _draw_result(layout, target, executed, seconds)


def _check_params(layout: Layout) -> None:
    """Check params.yaml before DVC starts, unless this content was checked before."""
    from mlops_cli import __version__
    from mlops_cli.data.atomic_files import atomic_write, sha256

    marker = layout.work / "params.checked"
    content = f"{__version__} {sha256(layout.params)}"
    if marker.is_file() and marker.read_text(encoding="utf-8") == content:
        return
    from mlops_cli import params as parameters

    parameters.load(layout.params)
    with atomic_write(marker) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _draw_result(layout: Layout, target: str | None, executed: list[str], seconds: float) -> None:
    from mlops_cli.project.pipeline import STAGES
    from mlops_cli.project.stage_runs import load_summary

    out = console.console()
    if target is not None:
        last = load_summary(layout, target)
        if not executed:
            out.print(f"nothing changed: {target} is up to date", markup=False)
        if last is not None and target not in executed:
            console.draw_summary(target, last[0], None, tables=True)
        return
    unchanged = [name for name in STAGES if name not in executed]
    if not executed:
        out.print(f"nothing changed: all {len(STAGES)} stages are up to date")
    elif unchanged:
        out.print(f"[dim]·[/dim] {', '.join(unchanged)}: up to date, as their inputs are the same")
    draw_decision(layout)
    if executed:
        out.print(f"{len(executed)} of {len(STAGES)} stages run in {seconds:.1f} s")


def _as_json(layout: Layout, executed: list[str], seconds: float) -> dict[str, Any]:
    from mlops_cli.project.pipeline import STAGES
    from mlops_cli.project.stage_runs import load_summary

    stages: dict[str, Any] = {}
    for name in STAGES:
        last = load_summary(layout, name)
        stages[name] = {"changed": name in executed, **({} if last is None else _plain(last[0]))}
    return {
        "changed": executed,
        "seconds": round(seconds, 3),
        "decision": decision(layout),
        "stages": stages,
    }


def _plain(summary: Summary) -> dict[str, Any]:
    return {"headline": summary.headline, "warnings": summary.warnings, "facts": summary.facts}
