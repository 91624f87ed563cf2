"""The command line: the table of commands, and errors as sentences and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli import drawing
from mlops_cli.cli.backtest import backtest
from mlops_cli.cli.ci import ci
from mlops_cli.cli.clock import clock
from mlops_cli.cli.compare import compare
from mlops_cli.cli.delivery import pull, push, verify
from mlops_cli.cli.events import events
from mlops_cli.cli.explain import explain
from mlops_cli.cli.feedback import feedback
from mlops_cli.cli.init import init
from mlops_cli.cli.materialize import materialize
from mlops_cli.cli.models import models
from mlops_cli.cli.monitor import monitor
from mlops_cli.cli.pipeline import run, stage, stage_command
from mlops_cli.cli.predict import predict
from mlops_cli.cli.registry import approve, promote, register, rollback
from mlops_cli.cli.replay import replay
from mlops_cli.cli.retrain import retrain
from mlops_cli.cli.serve import serve
from mlops_cli.cli.status import status
from mlops_cli.cli.study import study
from mlops_cli.cli.tune import tune
from mlops_cli.cli.watch import watch

if TYPE_CHECKING:
    from mlops_cli.errors import MlopsError

__all__ = ["app", "main"]

# A path that this user may not use, and one where a folder is for a file, a link that leads to
# itself, a pipe, and the like.
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_OTHER_KIND = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}

PIPELINE = {
    "ingest": "Take the sources in, up to the data clock.",
    "validate": "Check the sources against their rules.",
    "featurize": "Make the features of every labelled row.",
    "split": "Split into train, validation and test.",
    "tune": "Search models; the validation split decides.",
    "train": "Fit the best settings, and write the bundle.",
    "evaluate": "Judge the model on the test split.",
}

app = typer.Typer(
    name="mlops",
    help="From raw tables to an approved, versioned model, with Git, DVC and files.",
    no_args_is_help=True,
    # Plain help: rich's would import a Markdown parser, half of the time that --help may take.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from mlops_cli import __version__

        drawing.console().print(f"mlops {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """From raw tables to an approved, versioned model, with Git, DVC and files.

    Example: mlops init shop --data orders.csv --target returned && cd shop && mlops run
    """
    # `main` reads --debug from the arguments, as it also counts for errors before this.
    _ = debug, version


app.command()(init)
app.command()(run)
for _name, _does in PIPELINE.items():
    app.command(_name)(tune if _name == "tune" else stage_command(_name, _does))
app.command()(register)
app.add_typer(models, name="models")
app.command()(promote)
app.command()(rollback)
app.command()(approve)
app.command()(verify)
app.command()(push)
app.command()(pull)
app.command()(serve)
app.command()(materialize)
app.command()(predict)
app.command()(explain)
app.command()(study)
app.add_typer(feedback, name="feedback")
app.add_typer(events, name="events")
app.command()(backtest)
app.command()(replay)
app.command()(monitor)
app.command()(retrain)
app.command()(watch)
app.command()(status)
app.command()(compare)
app.command()(clock)
app.command()(ci)
app.command()(stage)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; give the exit code, after saying on stderr what went wrong if anything did."""
    from mlops_cli.errors import MlopsError, StageFailed

    # DVC and BentoML send usage data unless told not to when they start, here or in a process of
    # a stage.
    os.environ |= {"DVC_NO_ANALYTICS": "true", "BENTOML_DO_NOT_TRACK": "true"}
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        return _invoke(arguments)
    except StageFailed as error:
        return error.exit_code  # the stage has said it already
    except MlopsError as error:
        if debug:
            drawing.console(stderr=True).print_exception()
        drawing.draw_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        drawing.console(stderr=True).print("interrupted; the same command goes on from here")
        return 130
    except BaseException as error:  # the last resort: no traceback unless asked for
        if isinstance(error, SystemExit | GeneratorExit):
            raise  # all but these: panics of libraries in Rust are no Exception
        if debug:
            drawing.console(stderr=True).print_exception()
        if (refusal := _misplaced(error)) is not None:
            drawing.draw_error(refusal)
            return refusal.exit_code
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        hint = "" if debug else "This is a fault of mlops; --debug shows where."
        drawing.draw_error(MlopsError(f"unexpected {text}", hint))
        return 1


def _misplaced(error: BaseException) -> MlopsError | None:
    """The sentence for a path that is of another kind than needed, or closed to this user."""
    from mlops_cli.errors import DataRefused, NotProject

    if not isinstance(error, OSError):
        return None
    path = error.filename or "a file"
    if error.errno in _CLOSED:
        return NotProject(
            f"{path} can't be written or read: {error.strerror}",
            "Use a copy of the project that is yours (git clone), or mend its permissions.",
        )
    if error.errno in _OTHER_KIND:
        return DataRefused(
            f"{path} is not what is expected there: {error.strerror}",
            "Move it away, or take it from the repository again (`git checkout -- PATH`).",
        )
    return None


def _invoke(arguments: list[str]) -> int:
    # --debug may stand anywhere; Typer only knows it before the command.
    words = [a for a in arguments if a != "--debug"]
    try:
        app(words, prog_name="mlops")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
