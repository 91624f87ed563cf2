"""Validator: applies all rules of one source to its table, in batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.masking import mask
from mlops_cli.errors import BadParams, nearest
from mlops_cli.layout import PENDING
from mlops_cli.validation import table_rules
from mlops_cli.validation.column_rules import (
    NOT_NULL,
    ColumnRule,
    RowChecks,
    RuleFinding,
    compile_rows,
)

if TYPE_CHECKING:
    import datetime as dt

    from mlops_cli.params.validate import SourceRules

__all__ = ["BATCH_ROWS", "ValidationResult", "check_source"]

BATCH_ROWS = 500_000
"""Rows of a batch, which limits the memory."""

_NO_ROWS = pl.DataFrame(schema={"_at": pl.UInt32, "reason": pl.String})


@dataclass(frozen=True)
class ValidationResult:
    """Result of the validation of one source.

    Parameters
    ----------
    rows
        Number of rows.
    findings
        One for each rule, also for rules that hold.
    casts
        Casts of the columns that get another type in the validated table.
    quarantined
        Position (``_at``) and ``reason`` of rows for the quarantine, ascending.
    notes
        Rules that were not applied, and why.
    """

    rows: int
    findings: tuple[RuleFinding, ...] = ()
    casts: Mapping[str, pl.Expr] = field(default_factory=dict)
    quarantined: pl.DataFrame = field(default_factory=_NO_ROWS.clone)
    notes: tuple[str, ...] = ()


def check_source(
    source: str,
    rules: SourceRules | None,
    raw: Mapping[str, pl.LazyFrame],
    *,
    time: str | None,
    until: dt.datetime | None,
    examples: int,
    show_values: bool = True,
    late_columns: Collection[str] = (),
) -> ValidationResult:
    """Apply a source's rules to its table.

    Parameters
    ----------
    source, rules
        Name and rules of the source; if the rules are None, every row passes.
    raw
        The tables of all sources, for references.
    time, until
        The source's time column and the data clock, for freshness.
    examples
        Maximum examples of a finding.
    show_values
        Whether examples have their values, or only masks of them. A broken ``min`` or ``max``
        always has the value.
    late_columns
        Columns whose values may be unknown at the data clock; those may be null.

    Raises
    ------
    BadParams
        If a rule doesn't fit its column.
    """
    table = raw[source]
    rows = int(table.select(pl.len()).collect().item())
    if rules is None:
        return ValidationResult(rows)
    row_checks = compile_rows(source, rules)
    findings = table_rules.structure(source, rules, table, rows)
    if any(not finding.passed for finding in findings):
        return ValidationResult(rows, tuple(findings))
    schema = table.collect_schema()
    casts = {
        c: table_rules.cast(c, schema[c], t) for c, t in row_checks.types.items() if schema[c] != t
    }
    offending = _OffendingRows(rows, examples, show_values=show_values)
    _check_rows(table.with_columns(list(casts.values())), row_checks, offending, late_columns)
    _check_keys(source, rules, table, offending)
    _check_references(source, rules, raw, offending)
    quarantined = offending.collect_quarantine()
    findings += offending.findings
    findings.append(table_rules.size(source, rows - quarantined.height, rules.rows))
    freshness, notes = _check_freshness(source, rules.fresh_within, table, time, until)
    findings += freshness
    return ValidationResult(rows, tuple(findings), casts, quarantined, notes)


def _check_freshness(
    source: str,
    within: str | None,
    table: pl.LazyFrame,
    time: str | None,
    until: dt.datetime | None,
) -> tuple[list[RuleFinding], tuple[str, ...]]:
    """Check whether the latest row is recent enough; a note if the data clock isn't set."""
    if within is None:
        return [], ()
    if time is None:
        raise BadParams(
            f"validate.sources.{source}.fresh_within needs to know the rows' time",
            f"Set `ingest.sources.{source}.time`.",
        )
    if until is None:
        return [], (f"{source}: fresh_within was not checked, as ingest.until is not set",)
    check = ColumnRule(source, (time,), f"fresh within {within}")
    return [table_rules.freshness(check, table, until, within)], ()


class _OffendingRows:
    """Collects the offending rows of all checks, and makes the findings."""

    def __init__(self, rows: int, examples: int, *, show_values: bool) -> None:
        self.show_values = show_values
        self.rows = rows
        self.examples = examples
        self.findings: list[RuleFinding] = []
        self.quarantine: list[pl.DataFrame] = []

    def add(
        self, check: ColumnRule, positions: pl.Series, row_examples: list[tuple[int | None, Any]]
    ) -> None:
        """Add the offending rows of a check: their positions, and examples."""
        row_examples = row_examples[: self.examples]
        if not (self.show_values or check.name.startswith(("min ", "max "))):
            row_examples = [(row, mask(value)) for row, value in row_examples]
        self.findings.append(RuleFinding(check, len(positions), self.rows, tuple(row_examples)))
        if check.policy == "quarantine" and len(positions):
            reason = pl.lit(check.label).alias("reason")
            self.quarantine.append(
                positions.cast(pl.UInt32).alias("_at").to_frame().with_columns(reason)
            )

    def add_keys(self, check: ColumnRule, offending: pl.DataFrame) -> None:
        """Add the offending rows of a check as a table of positions and keys."""
        first_rows = offending.head(self.examples).select("_at", *check.columns).rows()
        row_examples = [
            (position + 1, key[0] if len(key) == 1 else tuple(key)) for position, *key in first_rows
        ]
        self.add(check, offending["_at"], row_examples)

    def collect_quarantine(self) -> pl.DataFrame:
        """Give the rows for the quarantine, each once with all its reasons."""
        if not self.quarantine:
            return _NO_ROWS.clone()
        rows = pl.concat(self.quarantine).group_by("_at", maintain_order=True)
        return rows.agg(pl.col("reason").str.join("; ")).sort("_at")


def _check_rows(
    table: pl.LazyFrame,
    row_checks: RowChecks,
    offending: _OffendingRows,
    late_columns: Collection[str],
) -> None:
    positions: dict[str, list[pl.Series]] = {name: [] for name in row_checks.checks}
    row_examples: dict[str, list[tuple[int | None, Any]]] = {name: [] for name in row_checks.checks}
    start = 0
    pending_column = [PENDING] if late_columns and PENDING in table.collect_schema() else []
    typed = table.select([*row_checks.types, *pending_column])
    batches = typed.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")
    for batch in batches if row_checks.checks else ():
        for name, rows in row_checks.failures(batch).items():
            check = row_checks.checks[name]
            column = check.columns[0]
            if pending_column and column in late_columns and check.name == NOT_NULL:
                rows = rows.filter(~batch[PENDING].gather(rows))  # noqa: PLW2901
            if not len(rows):
                continue
            positions[name].append(rows + start)
            first_rows = rows.head(offending.examples)
            row_examples[name] += [(start + r + 1, batch[column][r]) for r in first_rows]
        start += batch.height
    for name, check in row_checks.checks.items():
        all_positions = (
            pl.concat(positions[name]) if positions[name] else pl.Series([], dtype=pl.UInt32)
        )
        offending.add(check, all_positions, row_examples[name])


def _check_keys(
    source: str, rules: SourceRules, table: pl.LazyFrame, offending: _OffendingRows
) -> None:
    keys = [((c,), r.unique) for c, r in rules.columns.items() if r.unique.value]
    for columns, rule in keys:
        check = ColumnRule(source, columns, "unique", rule.policy, rule.tolerate)
        offending.add_keys(check, table_rules.duplicates(table, columns))
    if rules.unique is not None:
        schema = table.collect_schema()
        key = rules.unique
        for column in key.value:
            if column not in schema:
                raise BadParams(
                    f"validate.sources.{source}.unique names the column {column!r}, "
                    "which is not there",
                    nearest(column, schema),
                )
        check = ColumnRule(source, key.value, "unique together", key.policy, key.tolerate)
        offending.add_keys(check, table_rules.duplicates(table, key.value))


def _check_references(
    source: str, rules: SourceRules, raw: Mapping[str, pl.LazyFrame], offending: _OffendingRows
) -> None:
    for number, reference in enumerate(rules.references):
        setting = f"validate.sources.{source}.references[{number}]"
        missing = table_rules.missing_references(
            raw[source], reference, raw[reference.source], setting
        )
        name = f"in {reference.source}({', '.join(reference.to)})"
        check = ColumnRule(source, reference.columns, name, reference.policy, reference.tolerate)
        offending.add_keys(check, missing)
