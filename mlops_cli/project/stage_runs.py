"""Each stage's summary and running time, kept untracked for display."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlops_cli.data.atomic_files import read_json, sha256, write_json
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.layout import Layout
from mlops_cli.reporting import Summary, Table

__all__ = ["load_failure", "load_summary", "save_failure", "save_summary"]

MAX_SUMMARIES = 20
"""Summaries kept for each stage."""


def save_summary(layout: Layout, stage: str, summary: Summary, seconds: float) -> None:
    """Save a stage's summary and running time under the hash of its current result.

    So after a checkout of another commit or experiment, no summary of this one is shown.
    """
    content = {"seconds": round(seconds, 3), "summary": asdict(summary)}
    write_json(_path(layout, stage), content)
    summaries = sorted(_folder(layout).glob(f"{stage}-*.json"), key=lambda p: p.stat().st_mtime)
    for old in summaries[:-MAX_SUMMARIES]:
        old.unlink(missing_ok=True)


def load_summary(layout: Layout, stage: str) -> tuple[Summary, float] | None:
    """Summary and running time of the stage run that made the current result.

    None if there is no result, or it wasn't made here (but pulled, for example).
    """
    try:
        record: dict[str, Any] = read_json(_path(layout, stage))
    except (NotFound, DataRefused, FileNotFoundError, ValueError):
        return None
    fields = record["summary"]
    tables = tuple(
        Table(t["title"], tuple(t["columns"]), tuple(tuple(r) for r in t["rows"]))
        for t in fields["tables"]
    )
    summary = Summary(fields["headline"], tables, tuple(fields["warnings"]), fields["facts"])
    return summary, record["seconds"]


def save_failure(layout: Layout, stage: str, message: str) -> None:
    """Save the message of a failed stage, for the process that started the stage."""
    write_json(layout.work / "failure.json", {"stage": stage, "message": message})


def load_failure(layout: Layout, stage: str) -> str | None:
    """The message of the stage that failed last; None if that was another stage."""
    try:
        record = read_json(layout.work / "failure.json")
    except (NotFound, DataRefused, ValueError):
        return None
    return str(record["message"]) if record["stage"] == stage else None


def _folder(layout: Layout) -> Path:
    return layout.work / "summaries"


def _path(layout: Layout, stage: str) -> Path:
    return _folder(layout) / f"{stage}-{sha256(layout.record(stage))[:16]}.json"
