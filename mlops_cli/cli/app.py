"""Entry point of the command line: global options, and errors as messages and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.commands import GroupedCommands, add_commands
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.errors import MlopsError

__all__ = ["app", "main"]

# Errors of a path that this user may not use, and of a path of another kind than needed: a folder
# in place of a file, a link to itself, a pipe, and the like.
_NO_PERMISSION = {errno.EROFS, errno.EACCES, errno.EPERM}
_WRONG_KIND = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}

app = typer.Typer(
    name="mlops",
    cls=GroupedCommands,
    no_args_is_help=True,
    # Plain help: rich's help would import a Markdown parser, half of the time limit of --help.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    """Print the version and exit, if --version is given."""
    if requested:
        from mlops_cli import __version__

        console.console().print(f"mlops {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Take a table to a registered, served and monitored model, with Git, DVC and files.

    Example: mlops init shop --data orders.csv --target returned

    `mlops COMMAND --help` shows a command's options, with an example.
    """
    # `main` reads --debug from the arguments, because it also applies to earlier errors.
    _ = debug, version


add_commands(app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; print an error to stderr, and return the exit code."""
    from mlops_cli.errors import MlopsError, StageFailed

    # Without these variables, DVC and BentoML send usage data from this process or from a stage's.
    os.environ |= {"DVC_NO_ANALYTICS": "true", "BENTOML_DO_NOT_TRACK": "true"}
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        return _invoke(arguments)
    except StageFailed as error:
        return error.exit_code  # the stage has printed the error
    except MlopsError as error:
        if debug:
            console.console(stderr=True).print_exception()
        console.draw_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.console(stderr=True).print("interrupted; run the same command again to continue")
        return 130
    except BaseException as error:  # the last resort: a traceback only with --debug
        if isinstance(error, SystemExit | GeneratorExit):
            raise  # all others are handled here: panics of Rust libraries are no Exception
        if debug:
            console.console(stderr=True).print_exception()
        if (path_error := _path_error(error)) is not None:
            console.draw_error(path_error)
            return path_error.exit_code
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        hint = "" if debug else "This is a bug in mlops; --debug shows where."
        console.draw_error(MlopsError(f"unexpected {text}", hint))
        return 1


def _path_error(error: BaseException) -> MlopsError | None:
    """Explain an error of a path (wrong kind, no permission); None for other errors."""
    from mlops_cli.errors import DataRefused, NotProject

    if not isinstance(error, OSError):
        return None
    path = error.filename or "a file"
    if error.errno in _NO_PERMISSION:
        return NotProject(
            f"{path} can't be written or read: {error.strerror}",
            "Use a copy of the project that is yours (git clone), or fix its permissions.",
        )
    if error.errno in _WRONG_KIND:
        return DataRefused(
            f"{path} is not what is expected there: {error.strerror}",
            "Move it away, or take it from the repository again (`git checkout -- PATH`).",
        )
    return None


def _invoke(arguments: list[str]) -> int:
    """Run the Typer application, and return its exit code."""
    # --debug is allowed anywhere; Typer accepts it only before the command.
    words = [a for a in arguments if a != "--debug"]
    try:
        app(words, prog_name="mlops")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
