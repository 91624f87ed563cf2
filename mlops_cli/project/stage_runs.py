"""What each stage said when it made its result, and how long it took: untracked, for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlops_cli.data.atomic_files import read_json, sha256, write_json
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.layout import Layout
from mlops_cli.reporting import Summary, Table

__all__ = ["load_failure", "load_summary", "save_failure", "save_summary"]


KEPT = 20


def save_summary(layout: Layout, stage: str, summary: Summary, seconds: float) -> None:
    """Keep a stage's summary and its measured seconds, for the result that is there now.

    So that after a checkout of another commit or experiment nobody sees this one's words.
    """
    content = {"seconds": round(seconds, 3), "summary": asdict(summary)}
    write_json(_path(layout, stage), content)
    kept = sorted(_folder(layout).glob(f"{stage}-*.json"), key=lambda p: p.stat().st_mtime)
    for old in kept[:-KEPT]:
        old.unlink(missing_ok=True)


def load_summary(layout: Layout, stage: str) -> tuple[Summary, float] | None:
    """What the stage said and how long it took when it made the result that is there now.

    None if there is no result, or it was not made here (but pulled, say).
    """
    try:
        kept: dict[str, Any] = read_json(_path(layout, stage))
    except (NotFound, DataRefused, FileNotFoundError, ValueError):
        return None
    said = kept["summary"]
    shown = tuple(
        Table(t["title"], tuple(t["columns"]), tuple(tuple(r) for r in t["rows"]))
        for t in said["tables"]
    )
    summary = Summary(said["headline"], shown, tuple(said["warnings"]), said["facts"])
    return summary, kept["seconds"]


def save_failure(layout: Layout, stage: str, message: str) -> None:
    """Keep the sentence that a stage ended with, for who started it."""
    write_json(layout.work / "failure.json", {"stage": stage, "message": message})


def load_failure(layout: Layout, stage: str) -> str | None:
    """The sentence that a stage ended with when it last failed."""
    try:
        kept = read_json(layout.work / "failure.json")
    except (NotFound, DataRefused, ValueError):
        return None
    return str(kept["message"]) if kept["stage"] == stage else None


def _folder(layout: Layout) -> Path:
    return layout.work / "summaries"


def _path(layout: Layout, stage: str) -> Path:
    return _folder(layout) / f"{stage}-{sha256(layout.record(stage))[:16]}.json"
