"""`mlops predict`: the predictions of a whole file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.layout import Layout

__all__ = ["predict"]


def predict(
    file: Annotated[
        str, typer.Argument(metavar="FILE|GLOB", help="Parquet, CSV (also .gz) or JSON Lines.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to: .parquet, .csv or .jsonl.")
    ],
    version: Annotated[
        str, typer.Option("--version", "-v", help="Such as v0.2.0 or production; or workspace.")
    ] = "production",
    features: Annotated[
        bool, typer.Option("--features", help="FILE holds the features, not the raw columns.")
    ] = False,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns to take along, separated by commas.")
    ] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse it all if a row can't be scored.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, and nothing else.")
    ] = False,
) -> None:
    """Predict every row of files of any size, in bounded memory.

    Rows are the raw columns of the base source; the version's feature program makes the features,
    with data/validated to look into. Rows that can't be scored go to OUT-rejected.jsonl with the
    reason. A run that was killed goes on where it was.

    Example: mlops predict 'new/*.parquet' -o predictions.parquet --keep order
    """
    from dataclasses import asdict
    from tempfile import TemporaryDirectory

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.live.batch import Batch
    from mlops_cli.live.batch import predict as score
    from mlops_cli.live.scoring import Scorer
    from mlops_cli.live.selecting import selected
    from mlops_cli.store.bundle import verify

    layout = find()
    params = parameters.load(layout.params)
    kept = tuple(c.strip() for c in keep.split(",") if c.strip())
    with shown("predict", quiet=as_json) as progress, TemporaryDirectory() as scratch:
        rows, files = _opened(file, layout, Path(scratch))
        choice = selected(params, layout, version, progress)
        options = {"features": features, "keep": kept, "strict": strict}
        bundle = verify(choice.folder)["bundle_sha256"]
        fingerprint = {"files": files, "bundle": bundle, "out": output.suffix, **options}
        batch = Batch(rows, output.resolve(), choice.number, fingerprint, features, kept, strict)
        done = score(batch, Scorer.open(choice.folder, layout.root), layout, progress)
    if as_json:
        content = asdict(done)
        drawing.draw_json({"version": choice.label, **{k: _plain(v) for k, v in content.items()}})
        return
    out = drawing.console()
    out.print(f"{done.rows:,} rows predicted by {choice.label}: {output}", markup=False)
    if done.rejects is not None:
        out.print(f"{done.rejected:,} rows rejected: {done.rejects}", markup=False)


def _opened(
    file: str, layout: Layout, scratch: Path
) -> tuple[pl.LazyFrame, list[tuple[str, int, int]]]:
    """The rows, and path, size and time of change of each file."""
    from mlops_cli.params.data import Source
    from mlops_cli.store.sources import Request, open_table
    from mlops_cli.store.sources.request import files_of

    # From where the command is called, not from the project's folder.
    request = Request("FILE", Source(uri=file), Path.cwd(), scratch)
    paths = files_of(request)
    facts = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    _ = layout
    return open_table(request).frame, facts


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
