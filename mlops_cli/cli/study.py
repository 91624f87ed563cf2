"""`mlops study`: ablation, learning curve, staleness and adversarial validation."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli.options import Json
from mlops_cli.cli.output import console

__all__ = ["study"]


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="The study: ablation, learning, staleness or adversarial."
        ),
    ],
    by: Annotated[
        str,
        typer.Option(metavar="source|feature", help="For ablation: what to leave out, one by one."),
    ] = "source",
    rows: Annotated[
        int, typer.Option(min=100, metavar="N", help="Fit on at most N rows.")
    ] = 50_000,
    step: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="For staleness: how much older each training set is."
        ),
    ] = "1mo",
    steps: Annotated[
        int,
        typer.Option(
            min=1, max=50, metavar="N", help="For staleness and learning: how many training sets."
        ),
    ] = 3,
    as_json: Json = False,
) -> None:
    """Refit the last model on other features or rows, and compare.

    ablation leaves out each source of features, or each feature. learning fits on fewer rows, and
    staleness on older ones. adversarial measures whether a model can distinguish test rows from
    training rows. The report is reports/studies/STUDY.json (ablation --by feature:
    ablation-feature.json).

    Example: mlops study ablation --by feature
    """
    from time import perf_counter

    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.evaluation.studies import study as run
    from mlops_cli.evaluation.studies.base import Options

    layout, params = open_project()
    start = perf_counter()
    with live_progress("study", quiet=as_json) as progress:
        summary = run(name, params, layout, Options(rows, by, step, steps), progress)
    if as_json:
        console.draw_json(summary.facts)
        return
    console.draw_summary("study", summary, perf_counter() - start, tables=True)
