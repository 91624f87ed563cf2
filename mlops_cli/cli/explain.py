"""`mlops explain`: why a row is predicted as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Features, Json, ModelOption
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.serving.batch.explain import ExplainedRow, Explanation

__all__ = ["explain"]


def explain(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Rows to explain: CSV, JSON Lines or Parquet; at most 1000."
        ),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Instead of FILE: the base source's row N, from 0."),
    ] = None,
    version: ModelOption = "workspace",
    features: Features = False,
    top: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Show the N features that add most; JSON has all."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Show what each feature adds to a row's score (SHAP values).

    The values sum up to the score.

    `predict --explain` and the service show another thing: what the output loses where a feature
    isn't known.

    Example: mlops explain --row 1234
    """
    from dataclasses import asdict

    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.errors import Usage
    from mlops_cli.serving.batch.explain import explain_file, explain_row

    if (file is None) == (row is None):
        raise Usage("give either a file or --row", "Such as `mlops explain --row 0`.")
    layout, params = open_project()
    with live_progress("explain", quiet=as_json) as progress:
        if row is not None:
            found = explain_row(params, layout, version, row, progress)
        else:
            assert file is not None  # noqa: S101 - else there is a row
            found = explain_file(params, layout, version, file, progress, features=features)
    if as_json:
        console.draw_json(asdict(found))
        return
    for explained in found.rows:
        _draw(found, explained, top)


def _draw(found: Explanation, one: ExplainedRow, top: int) -> None:
    from mlops_cli.reporting import Table

    head = f"row {one.row}: {one.prediction if one.threshold is None else one.decision}"
    if one.probability is not None:
        head += f" (probability of {one.explained}: {one.probability:.4f}"
        if one.threshold is not None:
            above = one.probability >= one.threshold
            side = "reaches" if above else "is below"
            head += f", which {side} the threshold {one.threshold:.4g}"
        head += ")"
    rest = one.contributions[top:]
    rows: list[tuple[object, ...]] = [("(base)", None, one.base), *one.contributions[:top]]
    if rest:
        rows.append((f"{len(rest)} others", None, sum(adds for *_, adds in rest)))
    rows.append(("= " + found.scale, None, one.raw))
    columns = ("feature", "value", f"adds to the {found.scale}")
    console.draw_table(Table(f"{head}, by {found.version}, {found.method}", columns, tuple(rows)))
