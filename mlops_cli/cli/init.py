"""`mlops init`: create a project from a data file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlops_cli.cli.options import Json
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.scaffold.create_project import CreatedProject

__all__ = ["init"]

_Task = Annotated[
    Literal["binary", "multiclass", "regression"] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="binary, multiclass or regression; by default the target's values decide.",
    ),
]
_TimeColumn = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="COLUMN",
        help="Split by the time in this column; the latest rows are the test set.",
    ),
]
_ProjectName = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The project's name, of two letters or more; by default the folder's.",
    ),
]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the new project.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="FILE", help="The data: CSV (also .gz), Parquet or JSON Lines."
        ),
    ],
    target: Annotated[
        str, typer.Option("--target", metavar="COLUMN", help="The column to predict.")
    ],
    *,
    task: _Task = None,
    time: _TimeColumn = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="COLUMN", help="Keep all rows of one value in the same split."
        ),
    ] = None,
    name: _ProjectName = None,
    encoding: Annotated[
        str,
        typer.Option(
            "--encoding", metavar="NAME", help="The CSV file's encoding, such as latin-1."
        ),
    ] = "utf-8",
    ci: Annotated[
        Literal["github", "gitlab", "none"],
        typer.Option(
            "--ci", metavar="PROVIDER", help="Also do what `mlops ci` does: github, gitlab or none."
        ),
    ] = "none",
    as_json: Json = False,
) -> None:
    """Make a new project from a data file.

    Columns, types, task, split and first features are inferred.

    Example: mlops init shop --data orders.csv --target returned
    """
    from mlops_cli.scaffold.create_project import create
    from mlops_cli.scaffold.infer_project import PredictionProblem

    created = create(
        folder,
        data,
        PredictionProblem(target, task, time, group),
        name=name,
        encoding=encoding,
        ci=None if ci == "none" else ci,
    )
    if as_json:
        console.draw_json(_facts(created))
    else:
        _draw(created)


def _draw(created: CreatedProject) -> None:
    from mlops_cli.reporting import Summary, Table

    proposal = created.proposal
    target = proposal.target
    rows = [
        (c.name, c.type or "", c.role, c.reason or ", ".join(name for name, _ in c.features))
        for c in proposal.columns
    ]
    decisions = [
        ("task", f"{target.task}: {target.reason}"),
        ("split", f"{proposal.strategy}: {proposal.strategy_reason}"),
        ("rows", f"{proposal.rows:,}, of which {target.labelled:,} with a target"),
        ("features", f"{len(proposal.features)}"),
    ]
    summary = Summary(
        headline=f"{created.name}: predict {target.name} ({target.task})",
        tables=(
            Table("columns", ("column", "type", "role", "features, or why not"), tuple(rows)),
            Table("decisions", ("what", "decided"), tuple(decisions)),
        ),
        warnings=proposal.warnings + created.notes,
    )
    console.draw_summary("init", summary, None, tables=True)
    where = os.path.relpath(created.root)
    command = "mlops run" if where == "." else f"cd {shlex.quote(where)} && mlops run"
    console.console().print(f"Next: {command}", markup=False)


def _facts(created: CreatedProject) -> dict[str, Any]:
    proposal = created.proposal
    target = proposal.target
    return {
        "project": created.name,
        "folder": str(created.root),
        "committed": created.committed,
        "task": {"type": target.task, "reason": target.reason, "target": target.name},
        "split": {"strategy": proposal.strategy, "reason": proposal.strategy_reason},
        "rows": {"total": proposal.rows, "labelled": target.labelled},
        "columns": [
            {
                "name": c.name,
                "type": c.type,
                "role": c.role,
                "reason": c.reason,
                "features": dict(c.features),
            }
            for c in proposal.columns
        ],
        "warnings": [*proposal.warnings, *created.notes],
    }
