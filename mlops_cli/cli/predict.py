"""`mlops predict`: the predictions of whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli import drawing

__all__ = ["predict"]


def predict(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|GLOB",
            help="Parquet, CSV or JSON Lines (these also .gz); a glob in quotes.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to: .parquet, .csv or .jsonl.")
    ],
    version: Annotated[
        str,
        typer.Option("--version", "-v", help="Such as v0.2.0, latest or production; or workspace."),
    ] = "production",
    features: Annotated[
        bool, typer.Option("--features", help="FILE holds the features, not the raw columns.")
    ] = False,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns to take along, separated by commas.")
    ] = "",
    explain: Annotated[
        int, typer.Option(min=0, metavar="N", help="Tell the N features that count most in a row.")
    ] = 0,
    fail_on_bad: Annotated[
        bool, typer.Option("--fail-on-bad", help="Write nothing if a row can't be scored.")
    ] = False,
    slice_rows: Annotated[
        int, typer.Option(min=1, help="Rows that are worked on at a time: memory grows with them.")
    ] = 100_000,
    force: Annotated[
        bool, typer.Option("--force", help="Start over, whatever a killed run has done.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, and nothing else.")
    ] = False,
) -> None:
    """Predict every row of files of any size, in bounded memory.

    Rows are the raw columns of the base source; the version's feature program makes the features,
    looking into data/validated or, without that, the online store. Rows that can't be scored go
    to OUT-rejected.jsonl with the reason. A run that was killed goes on where it was.

    Example: mlops predict 'new/*.parquet' -o predictions.parquet --keep order
    """
    from dataclasses import asdict

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.live.batch import Batch
    from mlops_cli.live.batch import predict as score

    layout = find()
    params = parameters.load(layout.params)
    batch = Batch(
        file,
        output,
        version,
        features,
        tuple(c.strip() for c in keep.split(",") if c.strip()),
        explain,
        fail_on_bad,
        force,
        slice_rows,
    )
    with shown("predict", quiet=as_json) as progress:
        done = score(params, layout, batch, progress)
    if as_json:
        drawing.draw_json(asdict(done))
        return
    out = drawing.console()
    out.print(f"{done.rows:,} rows predicted by {done.version}: {done.out}", markup=False)
    if done.rejects is not None:
        rows = "1 row" if done.rejected == 1 else f"{done.rejected:,} rows"
        out.print(f"[yellow]![/yellow] {rows} set aside, with the reason: ", end="")
        out.print(str(done.rejects), markup=False)
    if not done.rows:
        out.print("[yellow]![/yellow] there was no row to predict")
