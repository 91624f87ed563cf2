"""`mlops study`: what features, rows and their age are worth, by fitting the model anew."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli import drawing

__all__ = ["study"]


def study(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="ablation, learning, staleness or adversarial.")
    ],
    by: Annotated[
        str, typer.Option(help="Of ablation: leave out each source, or each feature.")
    ] = "source",
    rows: Annotated[int, typer.Option(min=100, help="Fit on at most so many rows.")] = 50_000,
    step: Annotated[
        str, typer.Option(help="Of staleness: how much older each training set is.")
    ] = "1mo",
    steps: Annotated[
        int, typer.Option(min=1, max=50, help="Of staleness and learning: how many.")
    ] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, and nothing else.")
    ] = False,
) -> None:
    """Study the model of the last run by fitting it anew, with its settings, on other data.

    ablation: without each source of features. learning: on fewer rows. staleness: on older rows.
    adversarial: can test rows be told from training rows? Writes reports/studies/STUDY.json
    (ablation --by feature: ablation-feature.json).

    Example: mlops study ablation --by feature
    """
    from time import perf_counter

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.live.studies import study as run
    from mlops_cli.live.studies.case import Options

    layout = find()
    params = parameters.load(layout.params)
    start = perf_counter()
    with shown("study", quiet=as_json) as progress:
        found = run(name, params, layout, Options(rows, by, step, steps), progress)
    if as_json:
        drawing.draw_json(found.facts)
        return
    drawing.draw_summary("study", found, perf_counter() - start, tables=True)
