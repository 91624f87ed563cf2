"""All rules of one source, applied to its table in batches."""

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

    from mlops_cli.params.data import SourceRules

__all__ = ["BATCH_ROWS", "ValidationResult", "check_source"]

BATCH_ROWS = 500_000
"""Rows that are validated at a time: what bounds the memory."""

_NONE_BAD = pl.DataFrame(schema={"_at": pl.UInt32, "reason": pl.String})


@dataclass(frozen=True)
class ValidationResult:
    """What was found in one source.

    Parameters
    ----------
    rows
        All rows.
    findings
        One for each rule, also those that hold.
    casts
        Columns that get another type in the validated table.
    quarantined
        Position (``_at``) and ``reason`` of rows to set aside, ascending.
    notes
        Rules that could not be applied, and why.
    """

    rows: int
    findings: tuple[RuleFinding, ...] = ()
    casts: Mapping[str, pl.Expr] = field(default_factory=dict)
    quarantined: pl.DataFrame = field(default_factory=_NONE_BAD.clone)
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
    late: Collection[str] = (),
) -> ValidationResult:
    """Apply a source's rules to its table.

    Parameters
    ----------
    source, rules
        The source's name and rules; None: everything passes.
    raw
        The tables of all sources, for references.
    time, until
        The source's time column and the data clock, for freshness.
    examples
        How many offending rows a finding shows.
    show_values
        Whether it shows their values, or only the shapes; of a broken limit always the value.
    late
        Columns whose values the data clock may have emptied: where it has, they may be missing.

    Raises
    ------
    BadParams
        If a rule doesn't go with its column.
    """
    table = raw[source]
    rows = int(table.select(pl.len()).collect().item())
    if rules is None:
        return ValidationResult(rows)
    row_checks = compile_rows(source, rules)
    found = table_rules.structure(source, rules, table, rows)
    if any(not finding.passed for finding in found):
        return ValidationResult(rows, tuple(found))
    schema = table.collect_schema()
    casts = {
        c: table_rules.cast(c, schema[c], t) for c, t in row_checks.types.items() if schema[c] != t
    }
    evidence = _Evidence(rows, examples, show_values=show_values)
    _check_rows(table.with_columns(list(casts.values())), row_checks, evidence, late)
    _check_keys(source, rules, table, evidence)
    _check_references(source, rules, raw, evidence)
    bad = evidence.quarantined()
    found += evidence.findings
    found.append(table_rules.size(source, rows - bad.height, rules.rows))
    notes: tuple[str, ...] = ()
    if rules.fresh_within is not None:
        freshness = _freshness(source, rules.fresh_within, table, time, until)
        if freshness is None:
            notes = (f"{source}: fresh_within was not checked, as ingest.until is not set",)
        else:
            found.append(freshness)
    return ValidationResult(rows, tuple(found), casts, bad, notes)


def _freshness(
    source: str, within: str, table: pl.LazyFrame, time: str | None, until: dt.datetime | None
) -> RuleFinding | None:
    """Whether the latest row is recent enough; None: the data clock isn't set."""
    if time is None:
        raise BadParams(
            f"validate.sources.{source}.fresh_within needs to know the rows' time",
            f"Set `ingest.sources.{source}.time`.",
        )
    if until is None:
        return None
    check = ColumnRule(source, (time,), f"fresh within {within}")
    return table_rules.freshness(check, table, until, within)


class _Evidence:
    """Gathers offending rows by check."""

    def __init__(self, rows: int, examples: int, *, show_values: bool) -> None:
        self.show_values = show_values
        self.rows = rows
        self.examples = examples
        self.findings: list[RuleFinding] = []
        self.aside: list[pl.DataFrame] = []

    def add(self, check: ColumnRule, at: pl.Series, shown: list[tuple[int | None, Any]]) -> None:
        """Take a check's offending rows: their positions, and examples of them."""
        shown = shown[: self.examples]
        if not (self.show_values or check.name.startswith(("min ", "max "))):
            shown = [(row, mask(value)) for row, value in shown]
        self.findings.append(RuleFinding(check, len(at), self.rows, tuple(shown)))
        if check.policy == "quarantine" and len(at):
            reason = pl.lit(check.label).alias("reason")
            self.aside.append(at.cast(pl.UInt32).alias("_at").to_frame().with_columns(reason))

    def add_keys(self, check: ColumnRule, offending: pl.DataFrame) -> None:
        """Take a check's offending rows as a table of positions and keys."""
        head = offending.head(self.examples).select("_at", *check.columns).rows()
        shown = [(at + 1, key[0] if len(key) == 1 else tuple(key)) for at, *key in head]
        self.add(check, offending["_at"], shown)

    def quarantined(self) -> pl.DataFrame:
        """Give each row to set aside once, with all its reasons."""
        if not self.aside:
            return _NONE_BAD.clone()
        rows = pl.concat(self.aside).group_by("_at", maintain_order=True)
        return rows.agg(pl.col("reason").str.join("; ")).sort("_at")


def _check_rows(
    table: pl.LazyFrame, row_checks: RowChecks, evidence: _Evidence, late: Collection[str]
) -> None:
    at: dict[str, list[pl.Series]] = {name: [] for name in row_checks.checks}
    shown: dict[str, list[tuple[int | None, Any]]] = {name: [] for name in row_checks.checks}
    start = 0
    masked_rows = [PENDING] if late and PENDING in table.collect_schema() else []
    typed = table.select([*row_checks.types, *masked_rows])
    batches = typed.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")
    for batch in batches if row_checks.checks else ():
        for name, rows in row_checks.failures(batch).items():
            check = row_checks.checks[name]
            column = check.columns[0]
            if masked_rows and column in late and check.name == NOT_NULL:
                rows = rows.filter(~batch[PENDING].gather(rows))  # noqa: PLW2901
            if not len(rows):
                continue
            at[name].append(rows + start)
            few = rows.head(evidence.examples)
            shown[name] += [(start + r + 1, batch[column][r]) for r in few]
        start += batch.height
    for name, check in row_checks.checks.items():
        positions = pl.concat(at[name]) if at[name] else pl.Series([], dtype=pl.UInt32)
        evidence.add(check, positions, shown[name])


def _check_keys(source: str, rules: SourceRules, table: pl.LazyFrame, evidence: _Evidence) -> None:
    keys = [((c,), r.unique) for c, r in rules.columns.items() if r.unique.value]
    for columns, rule in keys:
        check = ColumnRule(source, columns, "unique", rule.policy, rule.tolerate)
        evidence.add_keys(check, table_rules.duplicates(table, columns))
    if rules.unique is not None:
        known = table.collect_schema()
        key = rules.unique
        for column in key.value:
            if column not in known:
                raise BadParams(
                    f"validate.sources.{source}.unique names the column {column!r}, "
                    "which is not there",
                    nearest(column, known),
                )
        check = ColumnRule(source, key.value, "unique together", key.policy, key.tolerate)
        evidence.add_keys(check, table_rules.duplicates(table, key.value))


def _check_references(
    source: str, rules: SourceRules, raw: Mapping[str, pl.LazyFrame], evidence: _Evidence
) -> None:
    for number, reference in enumerate(rules.references):
        place = f"validate.sources.{source}.references[{number}]"
        found = table_rules.missing_references(raw[source], reference, raw[reference.source], place)
        name = f"in {reference.source}({', '.join(reference.to)})"
        check = ColumnRule(source, reference.columns, name, reference.policy, reference.tolerate)
        evidence.add_keys(check, found)
