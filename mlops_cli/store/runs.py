"""What the last run of each stage said, and how long it took: untracked, for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mlops_cli.errors import NotFound
from mlops_cli.layout import Layout
from mlops_cli.reporting import Summary, Table
from mlops_cli.store.files import read_json, write_json

__all__ = ["last_summary", "remember"]


def remember(layout: Layout, stage: str, summary: Summary, seconds: float) -> None:
    """Keep a stage's summary and its measured seconds beside the tracked files."""
    content = {"seconds": round(seconds, 3), "summary": asdict(summary)}
    write_json(layout.work / "summaries" / f"{stage}.json", content)


def last_summary(layout: Layout, stage: str) -> tuple[Summary, float] | None:
    """The summary and seconds of the stage's last run on this machine, if there was one."""
    try:
        kept: dict[str, Any] = read_json(layout.work / "summaries" / f"{stage}.json")
    except (NotFound, ValueError):
        return None
    said = kept["summary"]
    shown = tuple(
        Table(t["title"], tuple(t["columns"]), tuple(tuple(r) for r in t["rows"]))
        for t in said["tables"]
    )
    summary = Summary(said["headline"], shown, tuple(said["warnings"]), said["facts"])
    return summary, kept["seconds"]
