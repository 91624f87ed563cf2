"""A stored stage summary belongs to the present result."""

from __future__ import annotations

from pathlib import Path

from mlops_cli.data.atomic_files import write_json
from mlops_cli.layout import Layout
from mlops_cli.project.stage_runs import load_summary, save_summary
from mlops_cli.reporting import Summary, Table

SAID = Summary("fine", (Table("t", ("a",), ((1,), (2,))),), ("careful",), {"rows": 2})


def test_a_summary_comes_back_for_its_result_only(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert load_summary(layout, "split") is None
    write_json(layout.split_report, {"version": 1})
    save_summary(layout, "split", SAID, 1.5)
    assert load_summary(layout, "split") == (SAID, 1.5)
    write_json(layout.split_report, {"version": 2})
    assert load_summary(layout, "split") is None
    write_json(layout.split_report, {"version": 1})
    assert load_summary(layout, "split") == (SAID, 1.5)


def test_old_summaries_are_cleared_away(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for version in range(30):
        write_json(layout.split_report, version)
        save_summary(layout, "split", SAID, 1.0)
    assert len(list((layout.work / "summaries").iterdir())) == 20
