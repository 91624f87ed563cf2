"""Options and arguments that several commands share, each with one help text."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mlops_cli.params import Params

__all__ = [
    "INPUT_FILES",
    "FailOnBad",
    "Features",
    "Fetch",
    "Force",
    "Json",
    "Local",
    "Message",
    "ModelArgument",
    "ModelOption",
    "Overwrite",
    "Remote",
    "VersionArgument",
    "require_duration",
    "runs_subcommand",
    "timestamp",
]

_VERSION_HELP = "v0.2.0, latest, or a stage such as production."
_MODEL_HELP = "v0.2.0, latest, a stage such as production, or workspace (the last run's model)."

INPUT_FILES = typer.Argument(
    metavar="FILE|GLOB", help="CSV, JSON Lines (both also .gz) or Parquet; a glob in quotes."
)
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Do all the work again, even if nothing changed.")
]
Overwrite = Annotated[bool, typer.Option("--force", "-f", help="Replace files that differ.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help=_VERSION_HELP)]
ModelArgument = Annotated[str, typer.Argument(metavar="VERSION", help=_MODEL_HELP)]
ModelOption = Annotated[str, typer.Option("--version", "-v", metavar="VERSION", help=_MODEL_HELP)]
Features = Annotated[
    bool, typer.Option("--features", help="FILE holds the features, not the raw columns.")
]
FailOnBad = Annotated[
    bool, typer.Option("--fail-on-bad", help="Write nothing if any row is refused.")
]
Fetch = Annotated[
    bool, typer.Option("--fetch", help="Download models and test rows that aren't here.")
]
Local = Annotated[
    bool, typer.Option("--local", help="Work in this clone only, without the Git remote.")
]
Message = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="The reason; it is kept in the tag.")
]
Remote = Annotated[
    str | None,
    typer.Option("--remote", "-r", metavar="NAME", help="The DVC remote, if not the default one."),
]


def timestamp(text: str | None, params: Params) -> dt.datetime | None:
    """Parse an option's time: a date, a time, today, or a span from the data clock."""
    from mlops_cli.data.timestamps import parse_timestamp

    if text is None:
        return None
    return parse_timestamp(text, params.ingest.until, dt.datetime.now(dt.UTC).date())


def require_duration(option: str, text: str | None) -> None:
    """Refuse an option's value that isn't a duration.

    Raises
    ------
    Usage
        If it is neither None nor a duration such as 7d or 1mo.
    """
    from pydantic import TypeAdapter, ValidationError

    from mlops_cli.errors import Usage
    from mlops_cli.params.base import Duration

    try:
        TypeAdapter(Duration | None).validate_python(text)
    except ValidationError:
        raise Usage(
            f"{option} is {text!r}, which is no duration", "Write it as 7d or 1mo."
        ) from None


def runs_subcommand(context: typer.Context) -> bool:
    """Whether a subcommand follows a group's command.

    Raises
    ------
    Usage
        If options of the group come before the subcommand, where they have no effect.
    """
    from mlops_cli.errors import Usage

    name = context.invoked_subcommand
    if name is None:
        return False
    options = [
        option.opts[0]
        for option in context.command.params
        if (source := context.get_parameter_source(str(option.name)))
        and source.name == "COMMANDLINE"
    ]
    if options:
        raise Usage(
            f"{', '.join(options)} before {name!r} would do nothing",
            f"Write options after it; `{context.command_path} {name} --help` lists them.",
        )
    return True
