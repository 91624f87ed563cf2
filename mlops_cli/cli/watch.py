"""`mlops watch`: monitor and retrain on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.live.watching import Round

__all__ = ["watch"]

_CODES = {0: "done", 5: "refused", 8: "busy", 10: "found drift", 11: "found worse performance"}


def watch(
    every: Annotated[str, typer.Option(help="From one round's start to the next: 1h, 1d.")] = "1h",
    once: Annotated[bool, typer.Option("--once", help="One round, now; for a scheduler.")] = False,
    wanted: Annotated[
        Literal["cron", "systemd", "github"] | None,
        typer.Option("--print", help="Only write what makes a scheduler do the rounds."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Only in this clone: ask no Git remote, tell none.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each round, and nothing else.")
    ] = False,
) -> None:
    """Monitor, then retrain if there is a reason, again and again, until it is stopped.

    A step that fails is told, and the next round tries again. Ctrl-C or SIGTERM lets the present
    step end first; a second one interrupts it, and the next round goes on from there. Two never
    watch one project (exit code 8). With --once the exit code is that of the step that went wrong.

    Example: mlops watch --every 1h
    Example: mlops watch --every 1d --print systemd
    """
    from mlops_cli import params as parameters
    from mlops_cli.cli.project import find
    from mlops_cli.live import watching as live

    layout = find()
    params = parameters.load(layout.params)
    _check(every)
    if wanted is not None:
        from mlops_cli.store.schedules import schedule

        typer.echo(schedule(wanted, layout, every, params.project.name), nl=False)
        return
    out, codes = drawing.console(), []

    def began(step: str) -> None:
        if not as_json:
            out.print(f"[dim]{step} ...[/dim]")

    def ended(done: Round) -> None:
        codes.append(live.done_rounds(done))
        if as_json:
            _draw_line(done)
        else:
            _draw(done)

    stop = live.Stop()
    live.watch(layout, every, stop, began, ended, once=once, local=local)
    if once and codes and codes[-1]:
        raise typer.Exit(codes[-1])


def _check(every: str) -> None:
    from mlops_cli.cli.backtest import check_span
    from mlops_cli.core.spans import microseconds
    from mlops_cli.errors import Usage

    check_span("--every", every)
    span, second = microseconds(every), microseconds("1s")
    if span is not None and second is not None and span < second:
        raise Usage(f"--every {every} is under a second", "Such as 10m, 1h or 1d.")


def _draw_line(done: Round) -> None:
    import sys
    from dataclasses import asdict

    drawing.draw_json(asdict(done), indent=None)
    sys.stdout.flush()


def _draw(done: Round) -> None:
    out = drawing.console()
    told = []
    for step, code in done.codes.items():
        words = _CODES.get(code, f"failed ({code})")
        said = done.said[step]
        if step == "retrain" and code == 0 and isinstance(said, dict):
            words = said.get("outcome") or words
            words += f" {said['version']}" if said.get("version") else ""
        told.append(f"{step}: {words}")
    out.print(f"{done.ended}  {'; '.join(told)}", markup=False)
    for step, code in done.codes.items():
        if code not in {0, 10, 11}:
            out.print(f"  {step}: {done.said[step]}", markup=False)
