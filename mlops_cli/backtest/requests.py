"""Past requests of a period: base rows with features and labels as they were known then."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.backtest.case import LABEL_ARRIVAL, REQUEST_TIME
from mlops_cli.data import parquet
from mlops_cli.data.source_schema import utc_moment
from mlops_cli.errors import BadParams
from mlops_cli.features.hook import load_hook
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["Requests"]


@dataclass(frozen=True)
class Requests:
    """Rows of the base source as a stream of requests."""

    program: FeatureProgram
    base: pl.LazyFrame
    sources: Mapping[str, pl.LazyFrame]

    @classmethod
    def open(cls, params: Params, layout: Layout) -> Requests:
        """Compile the feature program over the validated sources.

        Raises
        ------
        BadParams
            If rows have no prediction time, or a rule can't work.
        """
        scans = {n: parquet.scan(layout.validated / f"{n}.parquet") for n in params.ingest.sources}
        schemas = {name: scan.collect_schema() for name, scan in scans.items()}
        hook = load_hook(params.featurize.hook, layout.root)
        program = FeatureProgram.compile(params.featurize, params.ingest, schemas, hook)
        name = params.featurize.base
        if program.predict_at is None:
            raise BadParams(
                f"rows of {name!r} have no time, so there is no history to walk through",
                f"State `ingest.sources.{name}.time` (or featurize.predict_at) in params.yaml.",
            )
        schema = schemas[name]
        request_time = utc_moment(
            program.predict_at.checked_expr(schema), program.predict_at.result_type(schema)
        )
        base = program.clean(name, scans[name]).with_columns(request_time.alias(REQUEST_TIME))
        cleaned = {n: program.clean(n, scans[n]) for n in program.used_sources}
        return cls(program, base, cleaned)

    def last_request_time(self) -> dt.datetime | None:
        """Find the time of the last request."""
        import polars as pl

        last: dt.datetime | None = self.base.select(pl.max(REQUEST_TIME)).collect().item()
        return last

    def between(
        self, start: dt.datetime, end: dt.datetime, label_delay: str | None
    ) -> pl.DataFrame:
        """Select the requests in ``[start, end)`` by time: features, kept columns and label."""
        import polars as pl

        program = self.program
        rows = self.base.filter(pl.col(REQUEST_TIME) >= start, pl.col(REQUEST_TIME) < end).collect()
        rows = rows.sort(REQUEST_TIME, maintain_order=True)
        label_time = program.base.known_time(program.target.columns)
        arrives = pl.col(REQUEST_TIME) if label_time is None else label_time
        if label_delay is not None:
            arrives = arrives.dt.offset_by(label_delay)
        request_columns = rows.select(
            REQUEST_TIME,
            program.target.expr.alias(TARGET),
            arrives.alias(LABEL_ARRIVAL),
            *program.rules.keep,
        )
        size = program.rules.slice_rows
        batches = [
            program.transform(rows[i : i + size].drop(REQUEST_TIME), self.sources)
            for i in range(0, rows.height, size)
        ] or [program.transform(rows.drop(REQUEST_TIME), self.sources)]
        features = pl.concat(batches)
        return request_columns.drop(features.columns, strict=False).hstack(features)
