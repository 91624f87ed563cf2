"""`mlops predict`: files as a whole, with the answers of the service."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from served_models import INGEST, RULES, TARGETS, Made, make, orders

from mlops_cli.live import batch as batching

MLOPS = str(Path(sys.executable).with_name("mlops"))


def project(made: Made, root: Path) -> Path:
    """A project around a bundle, and its orders as files."""
    shutil.copytree(made.layout.root, root)
    params = {
        "project": {"name": "shop"},
        "task": {"type": made.task},
        "ingest": INGEST,
        "featurize": {**RULES, "target": TARGETS[made.task]},
        "register": {"name": "shop"},
    }
    (root / "params.yaml").write_text(json.dumps(params))
    rows = orders().select("order", "at", "shop", "width", "height", "kind")
    rows.write_parquet(root / "orders.parquet")
    rows.write_csv(root / "orders.csv")
    rows[:250].write_ndjson(root / "part1.jsonl")
    rows[250:].write_ndjson(root / "part2.jsonl")
    return root


def predict(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command on the workspace's model."""
    return subprocess.run(
        [MLOPS, "predict", *words, "--version", "workspace"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def probabilities(made: Made, table: pl.DataFrame) -> list:
    if made.task == "regression":
        return table["prediction"].to_list()
    return [list(row) for row in table.select(pl.col("^probability_.*$")).iter_rows()]


def test_files_of_each_kind_get_what_the_pipeline_gives(made: Made, tmp_path) -> None:
    root = project(made, tmp_path / "p")
    for file, out in (
        ("orders.parquet", "out.parquet"),
        ("orders.csv", "out.parquet"),
        ("part*.jsonl", "out.parquet"),
    ):
        done = predict(root, file, "-o", out, "--keep", "order")
        assert done.returncode == 0, done.stderr
        assert "400 rows predicted by shop@workspace" in done.stdout
        table = pl.read_parquet(root / out)
        assert table["row"].to_list() == list(range(400))
        assert table["order"].to_list() == orders()["order"].to_list()
        expected = made.expected.tolist()
        if file == "orders.parquet":
            assert probabilities(made, table) == expected
    made.features.write_parquet(root / "features.parquet")
    for out, read in (("f.csv", pl.read_csv), ("f.jsonl", pl.read_ndjson)):
        done = predict(root, "features.parquet", "-o", out, "--features")
        assert done.returncode == 0, done.stderr
        assert probabilities(made, read(root / out)) == expected


def test_bad_rows_are_set_aside_with_the_reason(binary: Made, tmp_path) -> None:
    root = project(binary, tmp_path / "p")
    text = (root / "orders.csv").read_text().splitlines()
    text[5] = text[5].replace(text[5].split(",")[3], "wide", 1)
    (root / "orders.csv").write_text("\n".join(text))
    done = predict(root, "orders.csv", "-o", "out.parquet")
    assert done.returncode == 0, done.stderr
    assert "399 rows predicted" in done.stdout
    rejected = [json.loads(x) for x in (root / "out-rejected.jsonl").read_text().splitlines()]
    assert rejected[0]["row"] == 4
    assert "wide" in rejected[0]["reason"]
    done = predict(root, "orders.csv", "-o", "strict.parquet", "--strict")
    assert done.returncode == 4
    assert "row 4" in done.stderr
    assert not (root / "strict.parquet").exists()


def test_a_run_that_ended_midway_goes_on_to_the_same_bytes(
    binary: Made, tmp_path, monkeypatch
) -> None:
    from mlops_cli.live.batch import Batch
    from mlops_cli.live.scoring import Scorer
    from mlops_cli.reporting import Silent

    monkeypatch.setattr(batching, "SLICE", 64)
    rows = orders().drop("size", "returned", "settled").lazy()
    scorer = Scorer.open(binary.folder, binary.layout.root)

    def run(out: str, stop_after: int | None = None, version: str = "v1") -> list[int]:
        done: list[int] = []

        class Stopping(Silent):
            def update(self, text, done_=None, total=None) -> None:
                """End the run, as a kill would."""
                done.append(1)
                if stop_after is not None and len(done) > stop_after:
                    raise KeyboardInterrupt

        batch = Batch(rows, tmp_path / out, version, {"version": version})
        batching.predict(batch, scorer, binary.layout, Stopping())
        return done

    assert len(run("whole.parquet")) == 7
    with pytest.raises(KeyboardInterrupt):
        run("parts.parquet", stop_after=3)
    assert not (tmp_path / "parts.parquet").exists()
    assert len(run("parts.parquet")) == 3, "what was done isn't done again"
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run("other.parquet", stop_after=3)
    assert len(run("other.parquet", version="v2")) == 7, "another version starts over"
    assert not list(tmp_path.glob(".*"))


def test_one_byte_changed_in_any_file_of_the_bundle_is_refused(tmp_path) -> None:
    root = project(make(tmp_path / "made", "binary"), tmp_path / "p")
    files = [p for p in (root / "models" / "model").rglob("*") if p.is_file()]
    assert len(files) >= 9
    for path in files:
        sound = path.read_bytes()
        flipped = bytearray(sound)
        flipped[len(flipped) // 2] ^= 1
        path.write_bytes(bytes(flipped))
        done = predict(root, "orders.csv", "-o", "out.csv")
        assert done.returncode == 4, (path, done.stderr)
        assert path.name in done.stderr
        assert not (root / "out.csv").exists()
        path.write_bytes(sound)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nosuch.csv", "-o", "out.csv"), 6, "nosuch.csv"),
        (("orders.csv", "-o", "out.xlsx"), 2, "ends with none of"),
        (("orders.csv", "-o", "nowhere/out.csv"), 2, "isn't there"),
        (("orders.csv", "-o", "out.csv", "--keep", "ordr"), 4, "order"),
        (("features.csv", "-o", "out.csv"), 4, "column 'at' is missing"),
        (("orders.csv", "-o", "out.csv", "--features"), 4, "is not among"),
    ],
)
def test_bad_input_is_told(binary: Made, tmp_path, words, code: int, said: str) -> None:
    root = project(binary, tmp_path / "p")
    binary.features.write_csv(root / "features.csv")
    done = predict(root, *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
