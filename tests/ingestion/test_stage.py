"""The ingest stage: the table, the manifest, and refusals."""

import errno
import json

import polars as pl
import pytest

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import sha256
from mlops_cli.errors import DataRefused, DiskFull, SourceUnreadable
from mlops_cli.ingestion import stage
from mlops_cli.layout import Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Silent

CSV = """\
id,at,done_at,outcome
1,2020-01-01,2020-01-02,5
2,2020-01-02,2020-01-04,6
3,2020-01-05,,
4,,,
"""
SOURCE = {
    "uri": "t.csv",
    "types": {"at": "datetime", "done_at": "datetime"},
    "time": "at",
    "known_at": {"outcome": "done_at"},
}


def params(until="2020-01-03", **sources):
    return Params.model_validate(
        {
            "project": {"name": "p"},
            "task": {"type": "regression"},
            "ingest": {"until": until, "sources": sources},
            "featurize": {"base": next(iter(sources)), "target": "outcome"},
            "register": {"name": "model"},
        }
    )


def run(root, **given):
    return stage.run(params(**given), Layout(root), Silent())


@pytest.fixture
def project(tmp_path):
    (tmp_path / "t.csv").write_text(CSV)
    return tmp_path


def test_the_table_holds_what_was_known_and_the_manifest_counts_the_rest(project):
    summary = run(project, t=SOURCE)
    table = pl.read_parquet(project / "data/ingested/t.parquet")
    assert table.select("id", "outcome", "_pending").rows() == [(1, 5, False), (2, None, True)]
    manifest = json.loads((project / "data/ingested/manifest.json").read_text())
    assert manifest["until"] == "2020-01-03T00:00:00Z"
    entry = manifest["sources"]["t"]
    assert entry["sha256"] == sha256(project / "data/ingested/t.parquet")
    assert entry["columns"] == {
        "id": "integer",
        "at": "datetime",
        "done_at": "datetime",
        "outcome": "integer",
    }
    assert (entry["rows"], entry["dropped_after_until"], entry["undated"]) == (2, 1, 1)
    assert entry["pending"] == {"done_at": 1, "outcome": 1}
    assert (entry["time_min"], entry["time_max"]) == (
        "2020-01-01T00:00:00Z",
        "2020-01-02T00:00:00Z",
    )
    assert "2 rows from 1 source" in summary.headline
    assert "1 rows without a time" in summary.warnings[0]


def test_two_runs_give_the_same_bytes(project):
    def files():
        run(project, t=SOURCE)
        return {p.name: p.read_bytes() for p in (project / "data/ingested").iterdir()}

    assert files() == files()


def test_nothing_but_the_output_is_left(project):
    run(project, t=SOURCE)
    left = {p.relative_to(project).as_posix() for p in project.rglob("*") if p.is_file()}
    assert left == {"t.csv", "data/ingested/t.parquet", "data/ingested/manifest.json"}


def test_a_source_wholly_after_the_clock_is_refused_with_its_range(project):
    with pytest.raises(DataRefused) as error:
        run(project, until="2019-01-01", t=SOURCE)
    assert "between 2020-01-01T00:00:00Z and 2020-01-05T00:00:00Z" in error.value.message
    assert "2019-01-01T00:00:00Z" in error.value.message


def test_a_source_without_rows_is_refused(project):
    (project / "t.csv").write_text("id,at,done_at,outcome\n")
    with pytest.raises(SourceUnreadable, match="is empty"):
        run(project, t=SOURCE)


def test_a_failed_run_leaves_the_former_output(project):
    run(project, t=SOURCE)
    before = (project / "data/ingested/t.parquet").read_bytes()
    (project / "bad.csv").write_text("a,b\n1\n")
    with pytest.raises(SourceUnreadable, match="line 2"):
        run(project, t=SOURCE, u={"uri": "bad.csv"})
    assert (project / "data/ingested/t.parquet").read_bytes() == before
    assert [p.name for p in (project / "data").iterdir()] == ["ingested"]


def test_a_column_with_a_name_of_the_pipeline_is_refused(project):
    (project / "t.csv").write_text("_row,a\n1,2\n")
    with pytest.raises(SourceUnreadable, match="'_row'"):
        run(project, t={"uri": "t.csv"})


def test_a_full_disk_is_said_and_nothing_is_left(project, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet, "sink", full)
    with pytest.raises(DiskFull):
        run(project, t=SOURCE)
    assert not list((project / "data").iterdir())


def test_many_batches_keep_their_order_and_counts(project):
    n = 250_000
    at = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2021, 1, 1), "2m", eager=True)[:n]
    pl.DataFrame({"n": range(n), "at": at}).write_csv(project / "t.csv")
    run(
        project,
        until="2020-06-01",
        t={"uri": "t.csv", "types": {"at": "datetime"}, "time": "at"},
    )
    table = pl.read_parquet(project / "data/ingested/t.parquet")
    assert table["n"].to_list() == list(range(table.height))
    manifest = json.loads((project / "data/ingested/manifest.json").read_text())["sources"]["t"]
    assert manifest["rows"] == table.height
    assert manifest["rows"] + manifest["dropped_after_until"] == n
