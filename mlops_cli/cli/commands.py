"""The table of commands, and `mlops --help`, which lists them in groups by purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from mlops_cli.cli.backtest import backtest
from mlops_cli.cli.ci import ci
from mlops_cli.cli.clock import clock
from mlops_cli.cli.compare import compare
from mlops_cli.cli.events import events
from mlops_cli.cli.explain import explain
from mlops_cli.cli.feedback import feedback
from mlops_cli.cli.init import init
from mlops_cli.cli.materialize import materialize
from mlops_cli.cli.models import models
from mlops_cli.cli.monitor import monitor
from mlops_cli.cli.pipeline import run, stage, stage_command
from mlops_cli.cli.predict import predict
from mlops_cli.cli.push_pull import pull, push
from mlops_cli.cli.registry import approve, promote, register, rollback
from mlops_cli.cli.replay import replay
from mlops_cli.cli.retrain import retrain
from mlops_cli.cli.serve import serve
from mlops_cli.cli.status import status
from mlops_cli.cli.study import study
from mlops_cli.cli.tune import tune
from mlops_cli.cli.verify import verify
from mlops_cli.cli.watch import watch

__all__ = ["COMMANDS", "GroupedCommands", "add_commands"]

COMMANDS: dict[str, dict[str, Callable[..., None] | typer.Typer]] = {
    "Start a project": {"init": init, "ci": ci},
    "Build a model": {
        "run": run,
        "ingest": stage_command("ingest", "Read the sources, up to the data clock."),
        "validate": stage_command("validate", "Check the sources against their rules."),
        "featurize": stage_command("featurize", "Compute the features of every labelled row."),
        "split": stage_command("split", "Split the rows into train, validation and test."),
        "tune": tune,
        "train": stage_command("train", "Fit the best settings, and write the model bundle."),
        "evaluate": stage_command("evaluate", "Measure the model on the test rows."),
        "clock": clock,
        "stage": stage,
    },
    "Look at data and models": {
        "status": status,
        "compare": compare,
        "explain": explain,
        "study": study,
    },
    "Release a version": {
        "register": register,
        "models": models,
        "promote": promote,
        "rollback": rollback,
        "approve": approve,
        "verify": verify,
        "push": push,
        "pull": pull,
    },
    "Serve predictions": {"serve": serve, "materialize": materialize, "predict": predict},
    "Operate a model": {
        "monitor": monitor,
        "feedback": feedback,
        "events": events,
        "retrain": retrain,
        "watch": watch,
        "backtest": backtest,
        "replay": replay,
    },
}
"""The commands in the order of `mlops --help`, by heading."""


class GroupedCommands(TyperGroup):
    """Typer group that lists its commands under the headings of ``COMMANDS``, one on each line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each heading, with all descriptions in one column."""
        column = max(map(len, self.commands))
        for heading, names in COMMANDS.items():
            commands = [(name.ljust(column), self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, c.get_short_help_str(formatter.width)) for name, c in commands if c]
                )


def add_commands(app: typer.Typer) -> None:
    """Add each command of the table to the application."""
    for commands in COMMANDS.values():
        for name, command in commands.items():
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name)
            else:
                app.command(name)(command)
