"""The validate stage: apply each source's rules; rows pass, go to quarantine, or fail the stage."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, write_json
from mlops_cli.data.data_clock import in_utc
from mlops_cli.data.source_schema import SourceSchema
from mlops_cli.errors import DataRefused
from mlops_cli.layout import REASON
from mlops_cli.reporting import Summary, Table
from mlops_cli.validation.validator import ValidationResult, check_source

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress
    from mlops_cli.validation.column_rules import RuleFinding

__all__ = ["run"]

_LISTED_RULES = 5


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Write ``data/validated``, ``data/quarantine`` and ``reports/validation.json``.

    Raises
    ------
    DataRefused
        If a rule is broken by more rows than it tolerates; the report is still written.
    BadParams
        If a rule doesn't fit its column.
    """
    until = None if params.ingest.until is None else in_utc(params.ingest.until)
    raw = {
        name: parquet.scan(layout.ingested / f"{name}.parquet") for name in params.ingest.sources
    }
    results: dict[str, ValidationResult] = {}
    for done, (name, source) in enumerate(params.ingest.sources.items()):
        progress.update(f"checking {name}", done, len(raw))
        rules = params.validate_.sources.get(name)
        results[name] = check_source(
            name,
            rules,
            raw,
            time=source.time,
            until=until,
            examples=params.validate_.examples,
            show_values=params.validate_.show_values,
            late_columns=SourceSchema({}, source.time, source.known_at).late_columns,
        )
    report = {"sources": {name: _report_entry(c) for name, c in results.items()}}
    write_json(layout.work / "validation.json", report)
    findings = [finding for c in results.values() for finding in c.findings]
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        write_json(layout.validation_report, report)
        raise _build_refusal(failed, layout)
    with atomic_write(layout.validated) as valid, atomic_write(layout.quarantine) as quarantine:
        valid.mkdir()
        quarantine.mkdir()
        for done, (name, result) in enumerate(results.items()):
            progress.update(f"writing {name}", done, len(raw))
            _write(layout.ingested / f"{name}.parquet", result, valid, quarantine)
    write_json(layout.validation_report, report)
    notes = [note for c in results.values() for note in c.notes]
    notes += [f.describe() for f in findings if f.count and f.rule.policy != "quarantine"]
    return _summary(results, notes, report)


def _report_entry(result: ValidationResult) -> dict[str, Any]:
    return {
        "rows_in": result.rows,
        "rows_out": result.rows - result.quarantined.height,
        "quarantined": result.quarantined.height,
        "notes": list(result.notes),
        "rules": [finding.to_json() for finding in result.findings],
    }


def _build_refusal(failed: list[RuleFinding], layout: Layout) -> DataRefused:
    # A wrong structure of the table explains broken values, not the other way round.
    worst = max(failed, key=lambda f: (bool(f.message), f.share))
    others = [f"{f.rule.subject} {f.rule.name}" for f in failed if f is not worst]
    other_rules = f" Also broken: {', '.join(others[:_LISTED_RULES])}" if others else ""
    other_rules += (
        f" and {len(others) - _LISTED_RULES} more."
        if len(others) > _LISTED_RULES
        else "."[: len(others)]
    )
    report = layout.validation_report.relative_to(layout.output_root).as_posix()
    return DataRefused(
        worst.describe(),
        f"{report} has each rule with examples; repair the source, or give the rule "
        f"`tolerate` or another policy (quarantine, warn) in params.yaml.{other_rules}",
    )


def _write(path: Path, result: ValidationResult, valid: Path, quarantine: Path) -> None:
    """Write the valid rows of a source and, if any, the quarantined ones, both in their order."""
    quarantined = result.quarantined
    if quarantined.is_empty() and not result.casts:
        shutil.copyfile(path, valid / path.name)
        return
    table = parquet.scan(path).with_columns(list(result.casts.values()))
    if quarantined.is_empty():
        parquet.sink(table, valid / path.name)
        return
    numbered = table.with_row_index("_at")
    is_bad = pl.col("_at").is_in(quarantined["_at"].implode())
    parquet.sink(numbered.filter(~is_bad).drop("_at"), valid / path.name)
    reasons = quarantined.lazy().rename({"reason": REASON})
    offending = numbered.filter(is_bad).join(reasons, on="_at", maintain_order="left")
    parquet.sink(offending.drop("_at"), quarantine / path.name)


def _summary(
    results: dict[str, ValidationResult], notes: list[str], report: dict[str, Any]
) -> Summary:
    findings = [finding for c in results.values() for finding in c.findings]
    broken = [finding for finding in findings if finding.count]
    rows = sum(c.rows for c in results.values())
    quarantined = sum(c.quarantined.height for c in results.values())
    table = Table(
        "broken rules",
        ("rule", "count", "share", "policy", "examples"),
        tuple(
            (
                f"{f.rule.subject} {f.rule.name}",
                f.count,
                f"{f.share:.3%}",
                f.rule.policy,
                f.format_examples(),
            )
            for f in broken
        ),
    )
    holding = f"{len(findings) - len(broken)} of {len(findings)} rules hold on {rows:,} rows"
    headline = holding + (
        f"; {quarantined:,} row{'s'[: quarantined != 1]} went to quarantine" if quarantined else ""
    )
    return Summary(headline, (table,) if broken else (), tuple(notes), report)
