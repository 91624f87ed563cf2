"""`mlops register`, `promote`, `rollback` and `approve`: versions and registry stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Force, Json, Local, Message, VersionArgument
from mlops_cli.cli.output import console
from mlops_cli.cli.output.gate_decision import draw_decision
from mlops_cli.cli.pipeline import bring_up_to_date

if TYPE_CHECKING:
    from mlops_cli.registry.gates import GateResult
    from mlops_cli.registry.session import Session
    from mlops_cli.registry.versions import Assignment

__all__ = ["approve", "promote", "register", "rollback"]

From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="VERSION",
        help="The version that the stage holds now; refused if it holds another. By default the "
        "one that this clone saw last.",
    ),
]


def register(
    *,
    major: Annotated[bool, typer.Option("--major", help="Increase the first number.")] = False,
    patch: Annotated[bool, typer.Option("--patch", help="Increase the last number.")] = False,
    message: Message = "",
    local: Local = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Register the model as a version, if its gates approve.

    It commits the pipeline's files (dvc.lock, params.yaml, reports, models/registration.json) and
    tags the commit NAME@vX.Y.Z. The first version is v0.1.0; then the middle number increases.
    If there is a Git remote, branch and tag are pushed together, or nothing changes. If the remote
    has newer commits, the command refuses before anything runs (`mlops pull --rebase`). Exit code 5
    means that a gate rejects the model, or that it may be worse than the champion.

    Example: mlops register -m "First model with weather"
    """
    from mlops_cli.errors import Usage
    from mlops_cli.project.attempts import refuse_unfinished
    from mlops_cli.registry.register import refuse_behind
    from mlops_cli.registry.register import register as make
    from mlops_cli.reporting import Table

    if major and patch:
        raise Usage("--major and --patch cannot go together", "Give one, or none.")
    with _session(local, committing=True) as session:
        refuse_unfinished(session.layout)
        refuse_behind(session)
        bring_up_to_date("register", force=force, quiet=True)
        if not as_json:
            draw_decision(session.layout)
        result = make(session, "major" if major else "patch" if patch else "minor", message)
    version = result.version
    if as_json:
        console.draw_json(
            {
                "version": version.label,
                "commit": version.commit,
                "new": result.new,
                "champion": [vars(gate) for gate in result.champion],
            }
        )
        return
    if result.champion:
        console.draw_table(
            Table("champion", ("gate", "verdict", "why"), _gate_rows(result.champion))
        )
    out = console.console()
    if result.new:
        pushed = f", pushed to {session.remote}" if session.remote else ""
        label = console.line(version.label)
        out.print(f"registered [bold]{label}[/bold] ({version.commit[:9]}{console.line(pushed)})")
        out.print(f"next: mlops promote {version.number} --to STAGE")
    else:
        out.print(f"nothing to do: this model is [bold]{version.label}[/bold] already")


def _gate_rows(gates: tuple[GateResult, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((g.name, "passed" if g.passed else "refused", g.reason) for g in gates)


def promote(
    version: VersionArgument,
    to: Annotated[
        str,
        typer.Option("--to", metavar="STAGE", help="A stage of register.stages in params.yaml."),
    ],
    since: From = None,
    message: Message = "",
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Put a version into a stage, if the stage's rule allows it.

    Exit code 8 means that somebody has rolled the stage back, or put a later version there, since
    this clone last looked.

    Example: mlops promote v0.2.0 --to production -m "Better on Newark"
    """
    from mlops_cli.promotion.promote import promote as put

    with _session(local) as session:
        assignment, new = put(session, version, to, message, since)
    _draw_assignment(assignment, new=new, as_json=as_json, verb="promoted")


def rollback(
    stage: Annotated[
        str, typer.Option("--stage", metavar="STAGE", help="The stage to roll back.")
    ] = "production",
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="VERSION", help="An earlier version; by default the one before."
        ),
    ] = None,
    since: From = None,
    message: Message = "",
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Put the previous version back into a stage.

    Exit code 8 means that somebody has changed the stage since this clone last looked: of two
    people who roll back at the same time, one succeeds.

    Example: mlops rollback --from v0.7.0 -m "Too many false alarms"
    """
    from mlops_cli.promotion.promote import rollback as back

    with _session(local) as session:
        assignment, new = back(session, stage, to, message, since)
    _draw_assignment(assignment, new=new, as_json=as_json, verb="rolled back")


def approve(
    version: VersionArgument,
    stage: Annotated[
        str, typer.Option("--for", metavar="STAGE", help="The stage that it may enter.")
    ],
    message: Message = "",
    sign: Annotated[
        bool, typer.Option("--sign", help="Sign with your Git key (user.signingkey).")
    ] = False,
    local: Local = False,
) -> None:
    """Approve a version for a stage, in your own name.

    Example: mlops approve v0.2.0 --for production --sign
    """
    from mlops_cli.promotion.promote import approve as say

    with _session(local) as session:
        tag = say(session, version, stage, message, sign=sign)
    console.console().print(f"approved: {tag}", markup=False)


@contextmanager
def _session(local: bool, *, committing: bool = False) -> Iterator[Session]:
    """Open the project and a registry session."""
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.session import Session

    layout, settings = open_project()
    with Session.open(
        settings, layout, local=local, will_commit=committing, note=console.draw_note
    ) as session:
        yield session


def _draw_assignment(assignment: Assignment, *, new: bool, as_json: bool, verb: str) -> None:
    version = assignment.version.label if assignment.version else ""
    if as_json:
        content: dict[str, Any] = {"version": version, "stage": assignment.stage, "new": new}
        console.draw_json({**content, "tag": assignment.tag.name, "commit": assignment.tag.commit})
    elif new:
        console.console().print(f"{verb}: {assignment.stage} is now [bold]{version}[/bold]")
    else:
        console.console().print(f"nothing to do: {version} is in {assignment.stage} already")
