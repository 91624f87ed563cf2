"""`mlops predict`: files get the pipeline's predictions, in slices and after a kill."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import registry_projects as projects
from model_services import INGEST, RULES, START, TARGETS, ServedModel, fit_model, make_orders

from mlops_cli import params as parameters
from mlops_cli.cli.app import main
from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import Layout
from mlops_cli.online.materialize import materialize
from mlops_cli.online.store import open_store
from mlops_cli.reporting import Silent
from mlops_cli.serving.batch.predict import BatchRequest, predict

MLOPS = str(Path(sys.executable).with_name("mlops"))
RAW = ["order", "at", "shop", "width", "height", "kind"]


def project(served_model: ServedModel, root: Path) -> Path:
    """A project around a bundle, and its orders as files."""
    shutil.copytree(served_model.layout.root, root)
    params = {
        "project": {"name": "shop"},
        "task": {"type": served_model.task},
        "ingest": INGEST,
        "featurize": {**RULES, "target": TARGETS[served_model.task]},
        "register": {"name": "shop"},
    }
    (root / "params.yaml").write_text(json.dumps(params))
    rows = make_orders().select(RAW)
    rows.write_parquet(root / "orders.parquet")
    text = rows.write_csv(root / "orders.csv")
    with gzip.open(root / "orders.csv.gz", "wt") as file:
        file.write((root / "orders.csv").read_text() if text is None else text)
    for number, (first, last) in enumerate(((0, 150), (150, 151), (151, 400))):
        rows[first:last].write_ndjson(root / f"part{number}.jsonl")
    served_model.features.write_parquet(root / "features.parquet")
    served_model.features.write_csv(root / "features.csv")
    return root


def scored(root: Path, file: str, out: str, **options: Any) -> Any:
    """What came of a run in this process."""
    layout = Layout(root)
    batch = BatchRequest(str(root / file), root / out, "workspace", **options)
    return predict(parameters.load(layout.params), layout, batch, Silent())


def outputs(served_model: ServedModel, table: pl.DataFrame) -> list[Any]:
    if served_model.task == "regression":
        return table["prediction"].to_list()
    return [list(row) for row in table.select(pl.col("^probability_.*$")).iter_rows()]


def rejected(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def root(binary: ServedModel, tmp_path: Path) -> Path:
    """A project of a binary model, which a test may break."""
    return project(binary, tmp_path / "p")


@pytest.fixture
def said(root: Path, monkeypatch, capsys):
    """Runs `mlops predict` on the workspace's model; gives exit code and all that was said."""
    monkeypatch.chdir(root)

    def run(*words: str) -> tuple[int, str]:
        code = main(["predict", *words, "--version", "workspace"])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("orders.parquet", {}),
        ("orders.csv", {}),
        ("orders.csv.gz", {"slice_rows": 90}),
        ("orders.parquet", {"slice_rows": 37}),
        ("part*.jsonl", {"slice_rows": 100}),
        ("features.parquet", {"features": True}),
        ("features.csv", {"features": True, "slice_rows": 150}),
    ],
    ids=str,
)
def test_a_file_gets_to_the_bit_what_the_pipeline_gives(
    served_model: ServedModel, tmp_path: Path, file: str, options: dict[str, Any]
) -> None:
    root = project(served_model, tmp_path / "p")
    done = scored(root, file, "out.parquet", **options)
    assert (done.rows, done.rejected, done.rejects) == (400, 0, None)
    table = pl.read_parquet(root / "out.parquet")
    assert table["row"].to_list() == list(range(400))
    assert outputs(served_model, table) == served_model.expected.tolist()
    assert set(table["version"]) == {"workspace"}
    if served_model.task == "binary":
        assert table["decision"].to_list() == [bool(p[1] >= 0.4) for p in served_model.expected]
        assert table["prediction"].to_list() == [bool(p[1] > p[0]) for p in served_model.expected]
    assert not list(root.glob(".out*"))


@pytest.mark.parametrize(
    ("out", "read"), [("o.csv", pl.read_csv), ("o.jsonl", pl.read_ndjson)], ids=["csv", "jsonl"]
)
def test_outputs_are_written_in_each_format(
    root: Path, binary: ServedModel, out: str, read
) -> None:
    scored(root, "orders.csv", out, keep_columns=("order", "width"))
    table = read(root / out)
    assert table["order"].to_list() == make_orders()["order"].to_list()
    assert table["width"].to_list() == make_orders()["width"].to_list()
    assert outputs(binary, table) == binary.expected.tolist()


def test_without_the_validated_tables_the_online_store_answers(
    root: Path, binary: ServedModel
) -> None:
    shutil.rmtree(root / "data" / "validated")
    scored(root, "orders.parquet", "out.parquet", slice_rows=150)
    assert outputs(binary, pl.read_parquet(root / "out.parquet")) == binary.expected.tolist()


def test_rows_before_the_online_store_begins_are_set_aside(root: Path, binary: ServedModel) -> None:
    layout = Layout(root)
    program = FeatureProgram.from_json(read_json(layout.model / "program.json"))
    store = open_store(None, layout.online)
    materialize(program, layout, store, "4d")
    store.close()
    shutil.rmtree(root / "data" / "validated")
    done = scored(root, "orders.parquet", "out.parquet")
    moments = make_orders()["at"].to_list()
    young = [i for i, at in enumerate(moments) if (at - START).days >= 5]
    assert done.rows == len(young) < 400
    assert done.rejected == 400 - len(young)
    table = pl.read_parquet(root / "out.parquet")
    assert table["row"].to_list() == young
    assert outputs(binary, table) == binary.expected[young].tolist()
    assert "the online store begins at 2024-05-06" in rejected(done.rejects)[0]["reason"]


def test_with_neither_tables_nor_store_both_are_named(root: Path, said) -> None:
    shutil.rmtree(root / "data" / "validated")
    (root / ".mlops" / "online.sqlite").unlink()
    code, told = said("orders.csv", "-o", "out.csv")
    assert code == 7
    assert "data/validated/shops.parquet" in told
    assert "no online store" in told


def test_explanations_name_what_counts_most(root: Path) -> None:
    scored(root, "orders.parquet", "out.parquet", explain=3)
    table = pl.read_parquet(root / "out.parquet")
    sizes = [table[f"contribution_{i}"].abs() for i in (1, 2, 3)]
    assert (sizes[0].fill_null(0) >= sizes[1].fill_null(0)).all()
    assert (sizes[1].fill_null(0) >= sizes[2].fill_null(0)).all()
    assert set(table["feature_1"]) <= {*RULES["features"], "shop_2d_returned", "shop_2d_n"}
    assert table.filter(pl.col("contribution_3") == 0).is_empty(), (
        "what counts nothing is no reason"
    )


def test_rows_that_cannot_be_scored_are_kept_with_the_reason(root: Path, said) -> None:
    lines = (root / "orders.csv").read_text().splitlines()
    cells = lines[5].split(",")
    cells[1], cells[3] = "someday", "wide"
    lines[5] = ",".join(cells)
    lines[9] += ",more"
    lines[11] = lines[11].split(",")[0]
    (root / "orders.csv").write_text("\n".join(lines))
    code, told = said("orders.csv", "-o", "out.parquet", "--slice-rows", "7")
    assert code == 0
    assert "397 rows predicted" in told
    assert "3 rows set aside" in told
    found = rejected(root / "out-rejected.jsonl")
    assert (root / "out-rejected.jsonl").stat().st_mode & 0o777 == 0o600
    assert [line["row"] for line in found] == [4, 8, 10]
    assert found[0]["columns"] == ["at", "width"]
    assert "'someday'" in found[0]["reason"]
    assert "'wide' in column 'width'" in found[0]["reason"]
    assert found[0]["input"] == dict(zip(RAW, cells, strict=True))
    assert found[1]["input"] == lines[9].split(",")
    assert found[1]["reason"] == "it has 7 of 6 fields"
    kept = pl.read_parquet(root / "out.parquet")["row"].to_list()
    assert sorted([*kept, 4, 8, 10]) == list(range(400)), "nothing is lost"
    assert said("orders.csv", "-o", "out.parquet", "--fail-on-bad")[0] == 4
    assert len(pl.read_parquet(root / "out.parquet")) == 397, "what was there stays"
    assert said("orders.parquet", "-o", "out.parquet")[0] == 0
    assert not (root / "out-rejected.jsonl").exists(), "another run's rejected rows are gone"


def test_fail_on_bad_writes_nothing(root: Path, said) -> None:
    with (root / "part1.jsonl").open("a") as file:
        file.write('{"at": [1], "shop": "s1"}\nnot json\n')
    code, told = said("part*.jsonl", "-o", "out.csv", "--fail-on-bad")
    assert code == 4
    assert "row 151" in told
    assert "part1.jsonl" in told
    assert not list(root.glob("*out*")) + list(root.glob(".out*"))
    assert said("part*.jsonl", "-o", "out.csv")[0] == 0
    assert [line["row"] for line in rejected(root / "out-rejected.jsonl")] == [151, 152]


def test_one_bad_value_does_not_make_the_others_slow(root: Path) -> None:
    rows = make_orders().select(RAW).with_columns(pl.all().cast(pl.String))
    many = pl.concat([rows] * 250)
    many[77_777, "width"] = "wide"
    many.write_csv(root / "many.csv")
    begin = time.perf_counter()
    done = scored(root, "many.csv", "out.parquet")
    assert (done.rows, done.rejected) == (99_999, 1)
    assert time.perf_counter() - begin < 20, "looking at each value by itself takes minutes"


def test_a_file_without_rows_gives_an_output_without_rows(root: Path, said) -> None:
    (root / "none.csv").write_text(",".join(RAW) + "\n")
    code, told = said("none.csv", "-o", "out.parquet", "--keep", "order")
    assert code == 0
    assert "no row" in told
    scored(root, "orders.csv", "full.parquet", keep_columns=("order",))
    full = pl.read_parquet_schema(root / "full.parquet")
    assert pl.read_parquet_schema(root / "out.parquet") == full


class Stopping(Silent):
    """Ends a run after some slices, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.slices = 0
        self.notes: list[str] = []

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Count a slice."""
        if "rows; MB" in text:
            self.slices += 1
            if self.slices > self.left:
                raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """Remember."""
        self.notes.append(text)


def begun(root: Path, after: int, out: str = "out.csv", **options: Any) -> Stopping:
    """A run that may be ended after some slices; 12 in all."""
    layout, progress = Layout(root), Stopping(after)
    given = {"pattern": "part*.jsonl", "slice_rows": 35, **options}
    batch = BatchRequest(**{**given, "pattern": str(root / given["pattern"])}, out=root / out,
                  version="workspace")  # fmt: skip
    predict(parameters.load(layout.params), layout, batch, progress)
    return progress


def test_a_run_that_ended_midway_goes_on_to_the_same_bytes(root: Path) -> None:
    assert begun(root, 99, "whole.csv").slices == 12
    for stop in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            begun(root, stop)
        assert not (root / "out.csv").exists()
    last = begun(root, 99)
    assert last.slices == 12 - 2 - 5
    assert any("going on after row" in note for note in last.notes)
    assert (root / "out.csv").read_bytes() == (root / "whole.csv").read_bytes()
    assert not list(root.glob(".out*"))


@pytest.mark.parametrize("changed", ["input", "model", "option", "tables", "force"])
def test_another_job_starts_over(root: Path, tmp_path: Path, changed: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        begun(root, 5)
    options: dict[str, Any] = {}
    if changed == "input":
        text = (root / "part0.jsonl").read_text()
        (root / "part0.jsonl").write_text(text.replace('"s1"', '"s2"'))
    elif changed == "model":
        shutil.rmtree(root / "models" / "model")
        other = fit_model(tmp_path / "other", "binary", rounds=5)
        shutil.copytree(other.folder, root / "models" / "model")
    elif changed == "option":
        options = {"keep_columns": ("order",)}
    elif changed == "tables":
        parquet.write(make_orders(300), root / "data" / "validated" / "orders.parquet")
    else:
        options = {"force": True}
    run = begun(root, 99, **options)
    assert run.slices == 12
    assert any("starting over" in note for note in run.notes) == (changed != "force")


def test_kill_minus_nine_loses_nothing_and_changes_nothing(root: Path) -> None:
    rows = make_orders().select(RAW)
    bad = rows.with_columns(pl.all().cast(pl.String))
    bad[7, "width"] = "wide"
    pl.concat([bad] * 40).write_csv(root / "long.csv")
    words = ["predict", "long.csv", "-v", "workspace", "--slice-rows", "400", "--keep", "order"]
    state, struck = root / ".out.parquet.parts" / "state.json", 0
    for wait in (2, 9, 17, 26):
        run = subprocess.Popen(
            [MLOPS, *words, "-o", "out.parquet"], cwd=root, stdout=subprocess.DEVNULL
        )
        while run.poll() is None:
            if state.exists() and json.loads(state.read_text())["done"]["slices"] >= wait:
                os.kill(run.pid, signal.SIGKILL)
                struck += 1
                break
            time.sleep(0.002)
        run.wait()
    assert struck >= 3
    told = [
        json.loads(subprocess.run([MLOPS, *words, "-o", out, "--json"], cwd=root, check=True,
                                  capture_output=True).stdout)
        for out in ("out.parquet", "calm.parquet")
    ]  # fmt: skip
    assert told[0]["resumed"] >= 9 * 400
    assert told[1]["resumed"] == 0
    assert told[0]["rejected"] == told[1]["rejected"] == 40
    for name in ("{}.parquet", "{}-rejected.jsonl"):
        one, other = (root / name.format(n) for n in ("out", "calm"))
        assert one.read_bytes() == other.read_bytes()


def test_two_at_once_on_one_output_exclude_each_other(root: Path, said) -> None:
    codes = []

    class Meanwhile(Silent):
        def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
            """Try it from within the other."""
            if not codes:
                codes.append(said("orders.csv", "-o", "out.csv"))

    layout = Layout(root)
    batch = BatchRequest("orders.csv", root / "out.csv", "workspace")
    predict(parameters.load(layout.params), layout, batch, Meanwhile())
    assert codes[0][0] == 8
    assert "out.csv" in codes[0][1]


def test_one_byte_changed_in_any_file_of_the_bundle_is_refused(root: Path, said) -> None:
    files = [p for p in (root / "models" / "model").rglob("*") if p.is_file()]
    assert len(files) >= 9
    for path in files:
        sound = path.read_bytes()
        flipped = bytearray(sound)
        flipped[len(flipped) // 2] ^= 1
        path.write_bytes(bytes(flipped))
        code, told = said("orders.csv", "-o", "out.csv")
        assert code == 4, (path, told)
        assert path.name in told
        assert not (root / "out.csv").exists()
        path.write_bytes(sound)
    assert said("orders.csv", "-o", "out.csv")[0] == 0


PIPELINE = """\
stages:
  train:
    cmd: cp -r fixed models/model && cp record.json models/registration.json
    deps: [fixed]
    outs: [models/model, models/registration.json: {cache: false}]
"""


def test_the_version_in_production_predicts_and_a_changed_object_of_it_is_refused(
    root: Path, binary: ServedModel, said, capsys
) -> None:
    projects.run(root, "git", "init", "-q", "-b", "main")
    projects.run(root, "git", "config", "user.name", "Ann")
    projects.run(root, "git", "config", "user.email", "ann@example.org")
    projects.run(root, *projects.DVC, "init", "-q")
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace('{"name": "shop"}}', '{"name": "toy"}}'))
    (root / "models" / "model").rename(root / "fixed")
    shutil.rmtree(root / "models")
    (root / "models").mkdir()
    sha256 = read_json(root / "fixed" / "manifest.json")["bundle_sha256"]
    (root / "record.json").write_text(
        json.dumps({"name": "toy", "bundle_sha256": sha256}, indent=1)
    )
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / ".gitignore").write_text(".mlops/\n")
    projects.run(root, *projects.DVC, "repro", "-q")
    projects.commit(root, "First")
    projects.tag_version(root, "v0.1.0")
    assert main(["predict", "orders.csv", "-o", "out.csv"]) == 7
    assert "production" in capsys.readouterr().err
    projects.run(root, "git", "tag", "-am", "Promote", "toy#production#1", "toy@v0.1.0^{}")
    assert main(["predict", "orders.csv", "-o", "out.csv"]) == 0
    assert "400 rows predicted by toy@v0.1.0" in capsys.readouterr().out
    table = pl.read_csv(root / "out.csv")
    assert set(table["version"]) == {"v0.1.0"}
    assert outputs(binary, table) == binary.expected.tolist()
    shutil.rmtree(root / ".mlops" / "models")
    objects = [p for p in (root / ".dvc" / "cache" / "files").rglob("*") if p.is_file()]
    assert len(objects) > 9
    for path in objects:
        sound = path.read_bytes()
        projects.change_byte(path)
        code = main(["predict", "orders.csv", "-o", "out.csv"])
        assert code in {4, 7}, capsys.readouterr()
        path.write_bytes(sound)


def test_a_full_disk_is_said_and_the_same_command_goes_on(root: Path, said, monkeypatch) -> None:
    real, written = parquet.sink, []

    def full(table: Any, path: Path) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(table, path)

    words = ("orders.csv", "-o", "out.parquet", "--slice-rows", "100")
    monkeypatch.setattr(parquet, "sink", full)
    code, told = said(*words)
    assert code == 1
    assert "no space is left" in told
    assert not (root / "out.parquet").exists()
    code, told = said(*words)
    assert code == 0
    assert "going on after row 200" in told


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("nosuch.csv", "-o", "out.csv"), 7, "there is no file nosuch.csv"),
        (("no*.csv", "-o", "out.csv"), 7, "no file matches 'no*.csv'"),
        (("data", "-o", "out.csv"), 6, "is a folder"),
        (("params.yaml", "-o", "out.csv"), 6, "cannot be told by its name"),
        (("kind.csv", "-o", "out.csv"), 6, "is not CSV but Parquet"),
        (("kind.parquet", "-o", "out.csv"), 6, "is not Parquet"),
        (("kind.jsonl", "-o", "out.csv"), 6, "is not JSON Lines"),
        (("cut.parquet", "-o", "out.csv"), 6, "damaged Parquet"),
        (("empty.csv", "-o", "out.csv"), 6, "is empty"),
        (("orders.csv", "-o", "out.xlsx"), 2, "ends with none of"),
        (("orders.csv", "-o", "nowhere/out.csv"), 2, "isn't there"),
        (("orders.csv", "-o", "orders.csv"), 2, "one of the files to read"),
        (("orders.csv", "-o", "out.csv", "--keep", "ordr"), 4, "Did you mean 'order'?"),
        (("renamed.csv", "-o", "out.csv"), 4, "Did you mean 'shops'?"),
        (("features.csv", "-o", "out.csv"), 4, "add --features"),
        (("named.csv", "-o", "out.csv", "--keep", "row"), 2, "has already"),
        (("orders.csv", "-o", "out.csv", "--features"), 4, "has no column 'size'"),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else None,
)
def test_bad_input_is_told_in_a_sentence(
    root: Path, said, words: tuple[str, ...], code: int, told: str
) -> None:
    (root / "kind.csv").write_bytes((root / "orders.parquet").read_bytes())
    (root / "kind.parquet").write_bytes((root / "orders.csv").read_bytes())
    (root / "kind.jsonl").write_bytes((root / "orders.csv").read_bytes())
    (root / "cut.parquet").write_bytes((root / "orders.parquet").read_bytes()[:-9])
    (root / "empty.csv").touch()
    rows = make_orders(3).select(RAW)
    rows.rename({"shop": "shops"}).write_csv(root / "renamed.csv")
    rows.rename({"order": "row"}).write_csv(root / "named.csv")
    before = sorted(root.iterdir())
    found, text = said(*words)
    assert found == code, text
    assert told in text
    assert sorted(root.iterdir()) == before


def test_memory_does_not_grow_with_the_rows(root: Path) -> None:
    script = (
        "import resource, sys; from mlops_cli.cli.app import main; "
        "assert main(sys.argv[1:]) == 0; "
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    one = pl.concat([make_orders().select(RAW)] * 100)
    peaks = []
    for times in (1, 10):
        pl.concat([one] * times).write_parquet(root / "many.parquet", row_group_size=10**7)
        words = ["predict", "many.parquet", "-o", "out.parquet", "-v", "workspace",
                 "--slice-rows", "20000"]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=root, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        peaks.append(int(done.stdout.split("peak")[1]))
    assert peaks[1] < 1.35 * peaks[0]
    assert len(pl.read_parquet(root / "out.parquet")) == 400_000


def test_a_row_that_a_feature_cannot_take_is_set_aside_alone(tmp_path: Path) -> None:
    cast = {"weighed": 'CAST(SUBSTR("weight", 2) AS DOUBLE)'}
    made = fit_model(tmp_path / "made", "binary", texts={"weight": "x1.5"}, computed=cast)
    root = project(made, tmp_path / "project")
    table = pl.read_csv(root / "orders.csv", infer_schema=False).with_columns(weight=pl.lit("x1.5"))
    table.write_csv(root / "orders.csv")
    secret = pl.int_range(pl.len()).is_in([3, 200])
    bad = table.with_columns(weight=pl.when(secret).then(pl.lit("xSecretName")).otherwise("weight"))
    bad.write_csv(root / "bad.csv")
    done = scored(root, "bad.csv", "out.csv")
    assert (done.rows, done.rejected) == (398, 2)
    aside = rejected(root / "out-rejected.jsonl")
    assert [row["row"] for row in aside] == [3, 200]
    assert "can't take a value" in aside[0]["reason"]
    assert "Secret" not in aside[0]["reason"]
    scored(root, "orders.csv", "all.csv")
    every, some = pl.read_csv(root / "all.csv"), pl.read_csv(root / "out.csv")
    assert some.equals(every.filter(~pl.col("row").is_in([3, 200])))
