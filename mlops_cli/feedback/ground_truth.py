"""Ground truth: labels from the present sources, read without changing the pipeline's data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams
from mlops_cli.ingestion.source_table import SourceTable
from mlops_cli.ingestion.sources import SourceRequest

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["complete_until", "ingest_to_scratch", "labels_known_at"]


def ingest_to_scratch(
    params: Params,
    layout: Layout,
    names: Iterable[str],
    scratch: Path,
    until: dt.datetime | None = None,
) -> dict[str, Path]:
    """Ingest sources into a scratch folder; return the files.

    Parameters
    ----------
    until
        The data clock of these files; None for all data.

    Raises
    ------
    SourceUnreadable
        If a source can't be read.
    """
    files = {}
    for name in names:
        request = SourceRequest(name, params.ingest.sources[name], layout.root, scratch)
        files[name] = scratch / f"{name}.parquet"
        SourceTable.open(request, until).write(files[name])
    return files


def labels_known_at(program: FeatureProgram, base: Path, columns: Iterable[str]) -> pl.DataFrame:
    """Return the base rows that have a label: ``columns``, and the label as ``_target``.

    Raises
    ------
    BadParams
        If the source lacks a column that the version's rules need.
    """
    import polars as pl

    from mlops_cli.data import parquet
    from mlops_cli.layout import TARGET

    table = parquet.scan(base)
    schema = table.collect_schema()
    for column in program.base.schema:
        if column not in schema and column in {*columns, *program.target.columns}:
            raise BadParams(
                f"the source {program.rules.base!r} has no column {column!r} any more, which the "
                "version's labels need",
                "Use a version of the present sources.",
            )
    rows = program.replace_values(program.rules.base, table)
    labelled = rows.with_columns(program.target.expr.alias(TARGET))
    return labelled.select(*columns, TARGET).filter(pl.col(TARGET).is_not_null()).collect()


def complete_until(params: Params, layout: Layout, scratch: Path) -> dt.datetime | None:
    """Return the midnight (UTC) up to which labels are complete; None if the base has no time.

    It is the latest time at which a value of the base source became known, less ``feedback.delay``,
    cut to the day. The pipeline leaves out rows whose label isn't known then.
    """
    import polars as pl

    from mlops_cli.data import parquet
    from mlops_cli.data.source_schema import SourceSchema, utc_moment

    name = params.featurize.base
    source = params.ingest.sources[name]
    if source.time is None:
        return None
    table = parquet.scan(ingest_to_scratch(params, layout, [name], scratch)[name])
    schema = table.collect_schema()
    facts = SourceSchema(dict(schema), source.time, source.known_at)
    latest = table.select(
        pl.max_horizontal(utc_moment(pl.col(c), schema[c]).max() for c in facts.time_columns)
    )
    latest_known: dt.datetime | None = latest.collect().item()
    if latest_known is None:
        return None
    latest_known = min(latest_known, dt.datetime.now(dt.UTC))
    return subtract(latest_known, params.feedback.delay).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
