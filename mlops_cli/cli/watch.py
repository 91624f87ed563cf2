"""`mlops watch`: monitor and retrain on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops_cli.cli.options import Json, Local, require_duration
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.retraining.watch import WatchRound

__all__ = ["watch"]

_OUTCOMES = {0: "done", 5: "refused", 8: "busy", 10: "found drift", 11: "found worse performance"}


def watch(
    every: Annotated[
        str,
        typer.Option(metavar="DURATION", help="The time from one round's start to the next."),
    ] = "1h",
    once: Annotated[
        bool, typer.Option("--once", help="Do one round now; for a scheduler.")
    ] = False,
    wanted: Annotated[
        Literal["cron", "systemd", "github"] | None,
        typer.Option(
            "--print",
            metavar="SCHEDULER",
            help="Print the settings of a scheduler instead: cron, systemd or github.",
        ),
    ] = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Monitor on a schedule, and retrain if needed.

    A step that fails is reported, and the next round tries again. Ctrl-C or SIGTERM lets the
    running step end first; a second one interrupts it, and the next round continues it. Only
    one `mlops watch` runs in a project (exit code 8). With --once the exit code is that of the step
    that failed. With --json each round is one line.

    Example: mlops watch --every 1h

    Example: mlops watch --every 1d --print systemd
    """
    from mlops_cli.cli.project import open_project
    from mlops_cli.retraining import watch as live

    layout, params = open_project()
    _check_interval(every)
    if wanted is not None:
        from mlops_cli.retraining.schedules import schedule

        typer.echo(schedule(wanted, layout, every, params.project.name), nl=False)
        return
    out, codes = console.console(), []

    def on_start(step: str) -> None:
        if not as_json:
            out.print(f"[dim]{step} ...[/dim]")

    def on_end(watch_round: WatchRound) -> None:
        codes.append(live.exit_code_of(watch_round))
        if as_json:
            _draw_line(watch_round)
        else:
            _draw(watch_round)

    stop = live.StopSignal()
    live.watch(layout, every, stop, on_start, on_end, once=once, local=local)
    if once and codes and codes[-1]:
        raise typer.Exit(codes[-1])


def _check_interval(every: str) -> None:
    from mlops_cli.data.durations import microseconds
    from mlops_cli.errors import Usage

    require_duration("--every", every)
    span, second = microseconds(every), microseconds("1s")
    if span is not None and second is not None and span < second:
        raise Usage(f"--every {every} is under a second", "Such as 10m, 1h or 1d.")


def _draw_line(watch_round: WatchRound) -> None:
    import sys
    from dataclasses import asdict

    console.draw_json(asdict(watch_round), indent=None)
    sys.stdout.flush()


def _draw(watch_round: WatchRound) -> None:
    out = console.console()
    parts = []
    for step, code in watch_round.codes.items():
        outcome = _OUTCOMES.get(code, f"failed ({code})")
        answer = watch_round.said[step]
        if step == "retrain" and code == 0 and isinstance(answer, dict):
            outcome = answer.get("outcome") or outcome
            outcome += f" {answer['version']}" if answer.get("version") else ""
        parts.append(f"{step}: {outcome}")
    out.print(f"{watch_round.ended}  {'; '.join(parts)}", markup=False)
    for step, code in watch_round.codes.items():
        if code not in {0, 10, 11}:
            out.print(f"  {step}: {watch_round.said[step]}", markup=False)
