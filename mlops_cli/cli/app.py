"""The command line: options of `mlops` itself, and errors as sentences and exit codes."""

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

# A path that this user may not use, and one where a folder is for a file, a link that leads to
# itself, a pipe, and the like.
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_OTHER_KIND = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}

app = typer.Typer(
    name="mlops",
    cls=GroupedCommands,
    no_args_is_help=True,
    # Plain help: rich's would import a Markdown parser, half of the time that --help may take.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from mlops_cli import __version__

        console.console().print(f"mlops {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Take a table to a registered, served and monitored model, with Git, DVC and files.

    Example: mlops init shop --data orders.csv --target returned

    `mlops COMMAND --help` shows a command's options, with an example.
    """
    # `main` reads --debug from the arguments, as it also counts for errors before this.
    _ = debug, version


add_commands(app)


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
            console.console(stderr=True).print_exception()
        console.draw_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.console(stderr=True).print("interrupted; the same command goes on from here")
        return 130
    except BaseException as error:  # the last resort: no traceback unless asked for
        if isinstance(error, SystemExit | GeneratorExit):
            raise  # all but these: panics of libraries in Rust are no Exception
        if debug:
            console.console(stderr=True).print_exception()
        if (refusal := _misplaced(error)) is not None:
            console.draw_error(refusal)
            return refusal.exit_code
        text = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        hint = "" if debug else "This is a fault of mlops; --debug shows where."
        console.draw_error(MlopsError(f"unexpected {text}", hint))
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
