"""A new project is created completely, under Git and DVC, or not at all."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import polars as pl
import pytest

from mlops_cli import params
from mlops_cli.data.column_types import DTYPES
from mlops_cli.errors import DataRefused, MlopsError, NotFound, NotProject, SourceUnreadable, Usage
from mlops_cli.ingestion.source_table import SourceTable
from mlops_cli.ingestion.sources import SourceRequest
from mlops_cli.scaffold import create_project
from mlops_cli.scaffold.create_project import create
from mlops_cli.scaffold.infer_project import PredictionProblem

ROWS = 60


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git configuration of the test's own, which knows a user."""
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text("[user]\n\tname = Somebody\n\temail = somebody@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in ("GIT_AUTHOR_EMAIL", "EMAIL"):
        monkeypatch.delenv(variable, raising=False)
    return config


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    lines = [f"{i % 13 / 2},k{i % 3},{i * 7 % 11 % 2}" for i in range(ROWS)]
    path.write_text("\n".join(["mean size,kind,sent", *lines]) + "\n")
    return path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def test_in_a_repository_of_another_owner_no_second_one_is_made(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    git(tmp_path, "init", "--quiet")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(NotProject, match="another user owns it"):
        create(tmp_path / "shop", data, PredictionProblem("sent"))
    assert not (tmp_path / "shop").exists()


def test_a_clone_that_converts_line_ends_has_the_same_bytes(tmp_path: Path, data: Path):
    made = create(tmp_path / "shop", data, PredictionProblem("sent"))
    git(tmp_path, "clone", "--quiet", "-c", "core.autocrlf=true", str(made.root), "clone")
    for name in ("params.yaml", "dvc.yaml", ".gitignore"):
        assert (tmp_path / "clone" / name).read_bytes() == (made.root / name).read_bytes()


def test_a_project_is_a_committed_git_and_dvc_repository(tmp_path: Path, data: Path):
    from dvc.repo import Repo

    made = create(tmp_path / "Shop 2", data, PredictionProblem("sent"))
    assert made.name == "shop-2"
    assert made.committed
    assert git(made.root, "status", "--porcelain") == ""
    assert (made.root / "data/raw/orders.csv").read_bytes() == data.read_bytes()
    assert (made.root / "data/raw/orders.csv.dvc").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Shop 2", "orders.csv"]
    with Repo(str(made.root)) as repo:
        assert repo.config["core"]["analytics"] is False
        assert repo.config["core"]["check_update"] is False
        assert "data/raw/orders.csv" not in git(made.root, "ls-files").splitlines()
        names = [stage.name for stage in repo.index.stages if hasattr(stage, "name")]
        assert set(names) >= {"ingest", "validate", "featurize", "split", "tune", "register"}


def test_dvc_knows_the_model_by_its_registered_name(tmp_path: Path, data: Path):
    from dvc.repo import Repo

    made = create(tmp_path / "shop", data, PredictionProblem("sent"))
    with Repo(str(made.root)) as repo:
        [(name, artifact)] = repo.artifacts.read()["dvc.yaml"].items()
        outs = {out.def_path for stage in repo.index.stages for out in stage.outs}
    assert name == params.load(made.root / "params.yaml").register_.name == "shop"
    assert (artifact.path, artifact.type) == ("models/model", "model")
    assert artifact.labels == ["binary", "tabular"]
    assert artifact.path in outs


def test_an_existing_empty_folder_is_filled_in_place(tmp_path: Path, data: Path):
    root = tmp_path / "shop"
    root.mkdir()
    before = root.stat().st_ino
    create(root, data, PredictionProblem("sent"))
    assert root.stat().st_ino == before
    assert (root / "params.yaml").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["orders.csv", "shop"]


def test_inside_a_git_repository_the_user_commits(tmp_path: Path, data: Path):
    git(tmp_path, "init", "--quiet")
    made = create(tmp_path / "shop", data, PredictionProblem("sent"))
    assert not made.committed
    assert "commit it there yourself" in made.notes[0]
    assert not (made.root / ".git").exists()
    assert (made.root / ".dvc").is_dir()


def test_without_a_git_identity_nothing_is_committed_and_that_is_said(
    tmp_path: Path, data: Path, somebody: Path
):
    somebody.write_text("")
    made = create(tmp_path / "shop", data, PredictionProblem("sent"))
    assert not made.committed
    assert "who you are" in made.notes[0]


def test_a_failure_while_the_project_is_made_leaves_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object) -> None:
        raise MlopsError("the disk broke")

    monkeypatch.setattr(create_project, "_commit", fails)
    with pytest.raises(MlopsError, match="the disk broke"):
        create(tmp_path / "shop", data, PredictionProblem("sent"))
    assert [p.name for p in tmp_path.iterdir()] == ["orders.csv"]


@pytest.mark.parametrize(
    ("content", "target", "error", "says"),
    [
        (b"", "y", SourceUnreadable, "is empty"),
        (b"a,y\n", "y", DataRefused, "no rows"),
        (b"a,y\n1,2,3\n", "y", SourceUnreadable, "line 2"),
        (b"a,y\n1\n", "y", SourceUnreadable, "line 2"),
        (b"a,y\n\xe9,1\n", "y", SourceUnreadable, "not UTF-8"),
        (b"a,y\n1,1\n2,1\n", "y", DataRefused, "one value only"),
        (b"a,y\n1,1\n2,0\n", "z", Usage, "'z'"),
        (b"PAR1junk", "y", SourceUnreadable, "Parquet"),
    ],
)
def test_data_that_cannot_be_used_leaves_nothing(
    tmp_path: Path, content: bytes, target: str, error: type[MlopsError], says: str
):
    (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(error, match=says) as caught:
        create(tmp_path / "shop", tmp_path / "d.csv", PredictionProblem(target))
    assert caught.value.hint
    assert "ingest.sources" not in caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["d.csv"]


def test_a_truncated_parquet_is_named(tmp_path: Path):
    path = tmp_path / "d.parquet"
    pl.DataFrame({"a": range(1000), "y": [0, 1] * 500}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SourceUnreadable, match="truncated"):
        create(tmp_path / "shop", path, PredictionProblem("y"))


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path):
    with pytest.raises(NotFound, match=r"no\.csv"):
        create(tmp_path / "shop", tmp_path / "no.csv", PredictionProblem("y"))


def test_a_file_of_unknown_format_is_refused(tmp_path: Path):
    (tmp_path / "d.xlsx").write_bytes(b"PK")
    with pytest.raises(Usage, match="format"):
        create(tmp_path / "shop", tmp_path / "d.xlsx", PredictionProblem("y"))


def test_a_folder_with_files_is_refused_and_kept(tmp_path: Path, data: Path):
    with pytest.raises(Usage, match=r"not empty: it holds 'orders\.csv'"):
        create(tmp_path, data, PredictionProblem("sent"))
    assert [p.name for p in tmp_path.iterdir()] == ["orders.csv"]


def test_a_name_that_is_not_allowed_suggests_one(tmp_path: Path, data: Path):
    with pytest.raises(Usage) as caught:
        create(tmp_path / "shop", data, PredictionProblem("sent"), name="My Shop")
    assert "my-shop" in caught.value.hint


ODD = {
    "mean radius": [i % 9 / 2 for i in range(ROWS)],
    'a "b": c': [i % 4 for i in range(ROWS)],
    "Größe": [f"{i % 5},{i % 3}" for i in range(ROWS)],
    "a.b": [i % 6 for i in range(ROWS)],
    "select": [f"s{i % 3}" for i in range(ROWS)],
    "true": [i % 2 == 0 for i in range(ROWS)],
    "null": [f"00{i % 7}" for i in range(ROWS)],
    "${x}": [i % 3 for i in range(ROWS)],
    "# no": [None if i % 9 == 0 else i * 1e20 for i in range(ROWS)],
    "Day": [f"2023-0{i % 9 + 1}-11" for i in range(ROWS)],
    "_under": [i % 8 for i in range(ROWS)],
    "on": ["yes" if i * 7 % 11 % 2 else "no" for i in range(ROWS)],
}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv.csv", ".parquet", ".jsonl"])
def test_what_is_written_fits_the_data_whatever_its_columns_are_called(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
):
    # What Git and DVC do doesn't depend on the columns, so it is left out here.
    monkeypatch.setattr(create_project, "_track", lambda *_, **__: None)
    monkeypatch.setattr(create_project, "_commit", lambda *_: (False, ()))
    frame = pl.DataFrame(ODD)
    path = tmp_path / f"odd [1]{ending}"
    if ending == ".parquet":
        frame.write_parquet(path)
    elif ending == ".jsonl":
        path = tmp_path / "odd.jsonl"
        frame.write_ndjson(path)
    else:
        text = frame.write_csv(separator="\t" if "tsv" in ending else ",").encode()
        path.write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)
    made = create(tmp_path / "odd", path, PredictionProblem("on"))

    settings = params.load(made.root / "params.yaml")
    assert settings.task.positive == "yes"
    ((name, source),) = settings.ingest.sources.items()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    intake = SourceTable.open(SourceRequest(name, source, made.root, scratch), None)
    intake.write(tmp_path / "ingested.parquet")
    ingested = pl.read_parquet(tmp_path / "ingested.parquet")
    assert ingested.height == ROWS
    for column, rules in settings.validate_.sources[name].columns.items():
        assert ingested.schema[column] == DTYPES[rules.type], column
        assert rules.nullable.value or not ingested[column].null_count(), column
    features = ingested.select(
        [pl.sql_expr(sql).alias(n) for n, sql in settings.featurize.features.items()]
    )
    assert features["mean_radius"].to_list() == ODD["mean radius"]
    assert features["day_month"][0] == 1
    assert len(features.columns) == len(ODD) - 1 + 2  # the date gives three, and one year only


def test_a_file_in_another_encoding_is_read_when_it_is_named(tmp_path: Path):
    rows = [f"{'Zürich' if i % 2 else 'Bern'};{i % 5}" for i in range(ROWS)]
    path = tmp_path / "d.csv"
    path.write_bytes("\n".join(["Stadt;n", *rows]).encode("latin-1"))
    with pytest.raises(SourceUnreadable) as caught:
        create(tmp_path / "shop", path, PredictionProblem("Stadt"))
    assert "--encoding" in caught.value.hint
    made = create(tmp_path / "shop", path, PredictionProblem("Stadt"), encoding="latin-1")
    settings = params.load(made.root / "params.yaml")
    source = settings.ingest.sources["d"]
    assert (source.encoding, source.separator) == ("latin-1", ";")
    assert settings.task.positive == "Zürich"


def test_numbers_and_dates_in_another_notation_are_read_as_what_they_are(tmp_path: Path):
    path = tmp_path / "big.csv"
    lines = [
        f"{i % 50},{i % 7}0;{i % 28 + 1:02d}.{i % 12 + 1:02d}.2024;{i % 2}" for i in range(ROWS)
    ]
    path.write_text("\n".join(["Gewicht;Tag;Kauf", *lines, "-;01.01.2024;1"]) + "\n")
    made = create(tmp_path / "big", path, PredictionProblem("Kauf"))
    source = params.load(made.root / "params.yaml").ingest.sources["big"]
    assert source.null_values == {"Gewicht": ("-",)}
    request = SourceRequest("big", source, made.root, tmp_path)
    SourceTable.open(request, None).write(tmp_path / "big.parquet")
    table = pl.read_parquet(tmp_path / "big.parquet")
    assert table["gewicht_number"][8] == pytest.approx(8.1)
    assert table["gewicht_number"].null_count() == 1
    assert table["tag_date"].dtype == pl.Date
    assert {"gewicht_number", "tag_date_month"} <= made.proposal.features.keys()
    with pytest.raises(Usage) as refused:
        create(tmp_path / "other", path, PredictionProblem("Gewicht"))
    assert refused.value.hint.endswith("--target gewicht_number")


def test_a_text_that_means_missing_among_numbers_stays_a_value_among_texts(tmp_path: Path):
    defects = ("None", "dent", "scratch")
    weights = ["None" if i % 10 == 0 else i for i in range(120)]
    rows = [f"{w},{'abc'[i % 5 % 3]},{defects[i * 7 % 3]}" for i, w in enumerate(weights)]
    path = tmp_path / "parts.csv"
    path.write_text("\n".join(["weight,shape,defect", *rows]) + "\n")
    made = create(tmp_path / "parts", path, PredictionProblem("defect"))
    assert made.proposal.target.labelled == 120
    assert set(made.proposal.target.classes) == {"None", "dent", "scratch"}
