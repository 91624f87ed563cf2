"""`mlops explain`: explain predictions by SHAP values."""

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

    `predict --explain` and the service show something else: what the output loses if a feature is
    missing.

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
            explanation = explain_row(params, layout, version, row, progress)
        else:
            assert file is not None  # noqa: S101 - else there is a row
            explanation = explain_file(params, layout, version, file, progress, features=features)
    if as_json:
        console.draw_json(asdict(explanation))
        return
    for explained in explanation.rows:
        _draw(explanation, explained, top)


def _draw(explanation: Explanation, row: ExplainedRow, top: int) -> None:
    from mlops_cli.reporting import Table

    title = f"row {row.row}: {row.prediction if row.threshold is None else row.decision}"
    if row.probability is not None:
        title += f" (probability of {row.explained}: {row.probability:.4f}"
        if row.threshold is not None:
            above = row.probability >= row.threshold
            side = "reaches" if above else "is below"
            title += f", which {side} the threshold {row.threshold:.4g}"
        title += ")"
    others = row.contributions[top:]
    rows: list[tuple[object, ...]] = [("(base)", None, row.base), *row.contributions[:top]]
    if others:
        rows.append((f"{len(others)} others", None, sum(value for *_, value in others)))
    rows.append(("= " + explanation.scale, None, row.raw))
    columns = ("feature", "value", f"adds to the {explanation.scale}")
    console.draw_table(
        Table(f"{title}, by {explanation.version}, {explanation.method}", columns, tuple(rows))
    )
