"""The featurize stage: the feature program over every labelled row, a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, write_json
from mlops_cli.data.source_schema import utc_moment
from mlops_cli.data.sql.expressions import Expression, value_refusal
from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.features.example_row import example_row
from mlops_cli.features.hook import load_hook
from mlops_cli.features.program import FeatureProgram
from mlops_cli.features.request_columns import RequestColumns
from mlops_cli.features.target_leakage import check_fits, equal_to_target
from mlops_cli.layout import PENDING, REASON, ROW, TARGET, TIME, Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Progress, Summary, Table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["run"]

PENDING_REASON = "not known yet"
OTHER_REASON = "no label"
_TEXTS = ("category", "text")
_EXAMPLE_ROWS = 200_000
"""Number of last rows from which the example row is made."""


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Write ``data/features`` and ``data/program.json`` from the validated sources.

    Raises
    ------
    BadParams
        If a rule can't work with these sources.
    DataRefused
        If no row has a label, a join would multiply rows, or a feature is the label.
    """
    scans = {
        name: parquet.scan(layout.validated / f"{name}.parquet") for name in params.ingest.sources
    }
    schemas = {name: scan.collect_schema() for name, scan in scans.items()}
    hook = load_hook(params.featurize.hook, layout.root)
    program = FeatureProgram.compile(params.featurize, params.ingest, schemas, hook)
    check_fits(
        program.target.result_type(schemas[params.featurize.base]),
        params.task.type,
        program.target.sql,
    )
    cleaned = {name: program.clean(name, scans[name]) for name in program.used_sources}
    for join in program.joins:
        join.check_unique(cleaned[join.source])
    base = scans[params.featurize.base]
    total = int(base.select(_count_rows()).collect().item())
    tally = _Tally()
    with atomic_write(layout.features) as folder:
        folder.mkdir()
        try:
            for number, rows in enumerate(_slices(program, base, total, tally)):
                features = program.transform(rows, cleaned)
                tally.add(features, rows[TARGET])
                table = _bookkeeping_columns(program, rows, features).hstack(features)
                parquet.sink(table, folder / f"part-{number:05d}.parquet")
                progress.update("rows", tally.rows_read, total)
        except _polars_error_type() as error:
            raise value_refusal(error, "featurize") from None
        tally.check(program)
        write_json(
            layout.program, {**program.to_json(), "example": _make_example(program, base, total)}
        )
        write_json(layout.feature_report, tally.report(program))
    return tally.summary(program, layout.features)


def _polars_error_type() -> type[Exception]:
    import polars as pl

    return pl.exceptions.PolarsError


def _count_rows() -> pl.Expr:
    import polars as pl

    return pl.len()


def _slices(
    program: FeatureProgram, base: pl.LazyFrame, total: int, tally: _Tally
) -> Iterator[pl.DataFrame]:
    """Labelled base rows in slices, with row number and label; unlabelled ones are counted."""
    import polars as pl

    size = program.rules.slice_rows
    name = program.rules.base
    for start in range(0, total, size):
        rows = program.clean(name, base.slice(start, size).with_row_index(ROW, start)).collect()
        rows = rows.with_columns(program.target.expr.alias(TARGET))
        tally.rows_read += min(size, total - start)
        tally.rows_kept += rows.height
        tally.count_unlabelled(program, rows.filter(pl.col(TARGET).is_null()))
        labelled = rows.filter(pl.col(TARGET).is_not_null())
        yield labelled


def _make_example(program: FeatureProgram, base: pl.LazyFrame, total: int) -> dict[str, Any] | None:
    """Example row for a request, made up from the last rows of the base."""
    rows = program.clean(program.rules.base, base.slice(max(0, total - _EXAMPLE_ROWS)))
    return example_row(rows, RequestColumns.for_program(program).required())


def _bookkeeping_columns(
    program: FeatureProgram, rows: pl.DataFrame, features: pl.DataFrame
) -> pl.DataFrame:
    """Row number, time, label and kept columns of the feature table."""
    import polars as pl

    columns: list[pl.Expr] = [pl.col(ROW)]
    base = program.base
    if base.time is not None:
        columns.append(utc_moment(pl.col(base.time), base.schema[base.time]).alias(TIME))
    columns.append(pl.col(TARGET))
    for column in program.rules.keep:
        if column not in features.columns:
            columns.append(pl.col(column))
        elif not features[column].equals(rows[column]):
            raise BadParams(
                f"featurize.keep names {column!r}, which is also a feature with other values",
                f"Rename featurize.features.{column}.",
            )
    return rows.select(columns)


@dataclass
class _Tally:
    """Counts of all slices so far."""

    rows_read: int = 0
    rows_kept: int = 0
    labelled: int = 0
    not_finite: int = 0
    """Rows whose target is infinite or not a number."""
    unlabelled: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    minima: dict[str, Any] = field(default_factory=dict)
    maxima: dict[str, Any] = field(default_factory=dict)
    leaking: set[str] | None = None

    def count_unlabelled(self, program: FeatureProgram, rows: pl.DataFrame) -> None:
        """Count rows without a label by the first reason that applies."""
        import polars as pl

        reasons = {
            name: Expression(sql, f"featurize.unlabelled.{name}").expr
            for name, sql in program.rules.unlabelled.items()
        }
        if PENDING in rows.columns:
            reasons = {PENDING_REASON: pl.col(PENDING), **reasons}
        choices = [pl.when(holds).then(pl.lit(name)) for name, holds in reasons.items()]
        # With the rows' columns, because a select of only literals has one row.
        first_reasons = rows.with_columns(
            pl.coalesce(*choices, pl.lit(OTHER_REASON)).alias(REASON)
        )[REASON]
        for name, count in first_reasons.value_counts().sort(REASON).iter_rows():
            self.unlabelled[name] = self.unlabelled.get(name, 0) + count

    def add(self, features: pl.DataFrame, target: pl.Series) -> None:
        """Add one slice's features."""
        self.labelled += features.height
        if not features.height:
            return
        if target.dtype.is_float():
            self.not_finite += int((~target.is_finite()).sum())
        leaking = set(equal_to_target(features, target))
        self.leaking = leaking if self.leaking is None else self.leaking & leaking
        for feature in features:
            name = feature.name
            self.missing[name] = self.missing.get(name, 0) + feature.null_count()
            least: Any = feature.min()
            most: Any = feature.max()
            if least is not None:
                self.minima[name] = min(self.minima.get(name, least), least)
                self.maxima[name] = max(self.maxima.get(name, most), most)

    def check(self, program: FeatureProgram) -> None:
        """Refuse data that can't be learned from."""
        if not self.labelled:
            reasons = ", ".join(f"{count} {name}" for name, count in self.unlabelled.items())
            raise DataRefused(
                f"none of {self.rows_kept} rows of {program.rules.base} has a label "
                f"({reasons or 'no rows'})",
                f"featurize.target is {program.rules.target!r}: check it, and ingest.until.",
            )
        if self.not_finite:
            raise DataRefused(
                f"the target is infinite or not a number in {self.not_finite} of "
                f"{self.labelled} rows: featurize.target is {program.rules.target!r}",
                "Give null where there is no label, such as CASE WHEN x > 0 THEN LN(x) END.",
            )
        for name in sorted(self.leaking or ()):
            raise DataRefused(
                f"the feature {name!r} equals the target in every row "
                f"({program.features[name].sql!r})",
                f"It gives the answer away: remove featurize.features.{name}.",
            )
        for name, expression in program.features.items():
            late = [c for c in expression.columns if c in program.base.late_columns]
            if late and self.missing[name] == self.labelled:
                raise BadParams(
                    f"{expression.setting} reads {late[0]!r}, which is never known at the moment "
                    f"of prediction, only at {program.base.late_columns[late[0]]!r}",
                    "Use it in a window over past rows, or remove the feature.",
                )

    def report(self, program: FeatureProgram) -> dict[str, Any]:
        """Plain values for ``reports/features.json``."""
        constant = self._constant_features()
        return {
            "rows": {
                "read": self.rows_read,
                "removed by clean": self.rows_read - self.rows_kept,
                "unlabelled": dict(sorted(self.unlabelled.items())),
                "labelled": self.labelled,
            },
            "features": {
                name: {
                    "kind": kind,
                    "missing": round(self.missing[name] / self.labelled, 6),
                    "min": None if kind in _TEXTS else _round(self.minima.get(name)),
                    "max": None if kind in _TEXTS else _round(self.maxima.get(name)),
                    "constant": name in constant,
                }
                for name, kind in program.kinds.items()
            },
        }

    def _constant_features(self) -> list[str]:
        return [n for n in self.missing if self.minima.get(n) == self.maxima.get(n)]

    def summary(self, program: FeatureProgram, path: Path) -> Summary:
        """The stage's summary."""
        rows = [("read", self.rows_read)]
        if self.rows_read != self.rows_kept:
            rows.append(("removed by clean", self.rows_read - self.rows_kept))
        rows += [(f"unlabelled: {k}", v) for k, v in sorted(self.unlabelled.items())]
        rows.append(("labelled", self.labelled))
        constant = self._constant_features()
        warnings = (f"constant features: {', '.join(constant)}",) if constant else ()
        return Summary(
            f"{len(program.features)} features of {self.labelled:,} rows",
            (Table("rows", ("", "count"), tuple(rows)),),
            warnings,
            {**self.report(program)["rows"], "features": len(program.features), "path": path.name},
        )


def _round(value: Any) -> Any:
    if isinstance(value, float):
        # Six significant digits are enough to read, and NaN is not JSON.
        return float(f"{value:.6g}") if value == value else None  # noqa: PLR0124
    return value
