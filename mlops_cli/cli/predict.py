"""`mlops predict`: batch prediction of files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.options import INPUT_FILES, FailOnBad, Features, Force, Json, ModelOption
from mlops_cli.cli.output import console

__all__ = ["predict"]

_Output = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="PATH", help="The file to write: .parquet, .csv or .jsonl."
    ),
]
_Explain = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Also write the N most important features of each row."),
]


def predict(
    file: Annotated[str, INPUT_FILES],
    output: _Output,
    version: ModelOption = "production",
    features: Features = False,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns of FILE to keep, separated by commas.")
    ] = "",
    explain: _Explain = 0,
    fail_on_bad: FailOnBad = False,
    slice_rows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows scored at a time: memory grows with them.")
    ] = 100_000,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Predict every row of files of any size, in bounded memory.

    A row holds the raw columns of the base source. The version's feature program computes the
    features, with data/validated or, without it, the online store. Rows that can't be scored go to
    OUT-rejected.jsonl, with the reason. After an interruption, the same command continues;
    --force starts over.

    Example: mlops predict 'new/*.parquet' -o predictions.parquet --keep order
    """
    from dataclasses import asdict

    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.serving.batch.predict import BatchRequest
    from mlops_cli.serving.batch.predict import predict as score

    layout, params = open_project()
    batch = BatchRequest(
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
    with live_progress("predict", quiet=as_json) as progress:
        result = score(params, layout, batch, progress)
    if as_json:
        console.draw_json(asdict(result))
        return
    out = console.console()
    out.print(f"{result.rows:,} rows predicted by {result.version}: {result.out}", markup=False)
    if result.rejects is not None:
        rows = "1 row" if result.rejected == 1 else f"{result.rejected:,} rows"
        out.print(f"[yellow]![/yellow] {rows} set aside, with the reason: ", end="")
        out.print(str(result.rejects), markup=False)
    if not result.rows:
        out.print("[yellow]![/yellow] there are no rows to predict")
