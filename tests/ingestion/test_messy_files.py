"""Messy files as sources of a pipeline and of `mlops init`."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.source_table import SourceTable
from mlops_cli.ingestion.sources import SourceRequest
from mlops_cli.params.ingest import Source
from mlops_cli.scaffold.data_file import open_data_file
from mlops_cli.scaffold.infer_project import PredictionProblem, Proposal, infer


def ingested(path: Path, **settings) -> pl.DataFrame:
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    request = SourceRequest("s", Source(uri=path.name, **settings), path.parent, scratch)
    SourceTable.open(request, None).write(path.parent / "out.parquet")
    return pl.read_parquet(path.parent / "out.parquet")


def refused(path: Path, **settings) -> str:
    with pytest.raises(SourceUnreadable) as error:
        ingested(path, **settings)
    return f"{error.value.message} | {error.value.hint}"


def proposed(path: Path, target: str = "y") -> tuple[Proposal, dict[str, str]]:
    with open_data_file(path, path.parent) as file:
        proposal = infer(file.frame, PredictionProblem(target), file.notations)
        return proposal, dict(file.types)


def written(folder: Path, name: str, *lines: str | dict) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / name).write_text("\n".join(texts) + "\n", newline="")
    return folder / name


@pytest.mark.parametrize("kind", ["integer", "number", "boolean", "date", "datetime", "string"])
@pytest.mark.parametrize("markers", [(), ("-",), {"a": ("-",)}])
def test_an_empty_value_in_quotes_is_missing_whatever_the_type(tmp_path, kind, markers):
    value = {"integer": "7", "number": "0.5", "boolean": "true", "string": "x"}.get(
        kind, "2024-01-31"
    )
    path = written(tmp_path, "t.csv", '"a","b"', f'"{value}","1"', '"","2"', '"","3"')
    table = ingested(path, types={"a": kind}, null_values=markers)
    assert table["a"].is_null().to_list() == [False, True, True]
    assert table["b"].to_list() == [1, 2, 3]


def test_a_quote_in_a_columns_name_is_that_quote(tmp_path):
    path = written(tmp_path, "t.csv", '"a ""b""",c', "1,2")
    assert ingested(path, types={'a "b"': "number"}).to_dicts() == [{'a "b"': 1.0, "c": 2}]


@pytest.mark.parametrize(
    ("text", "record"),
    [(b"a,b\r1,2\r3,4\r", 1), (b"a,b\n1,2\nx\ry,4\n", 3), (b"a,b\r\n1,2\r", 2)],
)
def test_a_carriage_return_alone_is_refused_with_its_record(tmp_path, text, record):
    (tmp_path / "t.csv").write_bytes(text)
    assert f"record {record} of t.csv of source 's' has a carriage return" in refused(
        tmp_path / "t.csv"
    )


def test_carriage_returns_in_quotes_are_values(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'a,b\r\n1,"x\ry"\r\n2,"\r\n"\r\n')
    assert ingested(tmp_path / "t.csv")["b"].to_list() == ["x\ry", "\r\n"]


def test_utf_16_without_its_mark_is_refused(tmp_path):
    path = written(tmp_path, "t.csv", "a,b", "1,2")
    assert "is not utf-16: UTF-16 stream does not start with BOM" in refused(
        path, encoding="utf-16"
    )


def test_numbers_that_json_lacks_are_refused_with_their_line(tmp_path):
    for word in ("NaN", "Infinity", "-Infinity"):
        path = written(tmp_path, "t.jsonl", {"a": 1}, f'{{"a": {word}}}')
        assert "line 2 of t.jsonl of source 's'" in (said := refused(path))
        assert f"{word} is no number of JSON: write null" in said


def test_kinds_of_values_that_do_not_go_together_are_named(tmp_path):
    path = written(tmp_path, "t.jsonl", {"a": 1, "b": 1}, {"a": None}, {"a": True})
    said = refused(path)
    assert "'a' is a truth value in line 3 of t.jsonl of source 's', and a number in line 1" in said
    assert "types: {a: string}" in said
    assert ingested(path, types={"a": "string"})["a"].to_list() == ["1", None, "true"]
    path = written(tmp_path, "t.jsonl", {"a": [1]}, {"a": 1})
    assert "'a' is a number in line 2 of t.jsonl" in refused(path)


def test_half_of_a_surrogate_pair_is_refused_rather_than_replaced(tmp_path):
    path = written(tmp_path, "t.jsonl", {"a": "😀 \\ud800"}, '{"a": "x\\ud800y"}')
    assert "line 2 of t.jsonl of source 's' has half of a surrogate pair" in refused(path)
    path = written(tmp_path, "t.jsonl", {"a": "😀 \\ud800"})
    assert ingested(path)["a"].to_list() == ["😀 \\ud800"]


def test_objects_without_keys_are_kept_as_nested_values(tmp_path):
    path = written(tmp_path, "t.jsonl", {"a": {}, "b": [{"c": {}}], "y": 1}, {"a": {}, "y": 2})
    table = ingested(path)
    assert table["y"].to_list() == [1, 2]
    assert [table[c].dtype.is_nested() for c in ("a", "b")] == [True, True]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_whole_numbers_beyond_64_bits_are_codes(tmp_path, form):
    ids = [2**63 + i for i in range(60)]
    table = pl.DataFrame({"id": ids, "a": range(60), "y": [i % 2 for i in range(60)]})
    path = tmp_path / f"t.{form}"
    table.write_parquet(path) if form == "parquet" else table.write_ndjson(path)
    proposal, types = proposed(path)
    assert {c.name: c.type for c in proposal.columns}["id"] == "string"
    assert types == {"id": "string"}
    assert ingested(path, types=types)["id"].to_list() == [str(i) for i in ids]
    said = refused(path)
    assert "in column 'id' of source 's'" in said
    assert "does not fit into 64 bits" in said
    assert "types: {id: string}" in said


def test_infinite_values_are_missing_to_a_new_project_as_to_its_pipeline(tmp_path):
    rows = [f"{i % 7},{'1e999' if i % 9 == 0 else i * 0.5}" for i in range(60)]
    proposal, _ = proposed(written(tmp_path, "t.csv", "a,y", *rows))
    target = next(c for c in proposal.columns if c.name == "y")
    assert (proposal.target.task, target.missing) == ("regression", 7)
    assert (proposal.target.labelled, proposal.target.unlabelled) == (53, 7)


def test_a_column_that_no_expression_can_name_is_left_out(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame(
        {"\x00a": range(60), "b": range(60), "y": [i % 2 for i in range(60)]}
    ).write_parquet(path)
    proposal, _ = proposed(path)
    assert proposal.columns[0].reason == r"its name has the control character '\x00'"
    assert list(proposal.features) == ["b"]


def test_a_name_that_yaml_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"b" * 1200: range(60), "y": [i % 2 for i in range(60)]}).write_parquet(path)
    with pytest.raises(SourceUnreadable, match="a name of 1,200 characters"):
        proposed(path)


@pytest.mark.parametrize("text", ["\na,y\n", "\r\n\n\ufeffa,y\n", "\ufeff\n\na,y\n", "\ufeffa,y\n"])
def test_blank_lines_before_the_header_change_nothing(tmp_path, text):
    text = text if text[1:].find("\ufeff") < 0 else "\ufeff" + text.replace("\ufeff", "")
    codes = "".join(f"0{i % 3 + 1},{i % 2}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(text + codes, encoding="utf-8", newline="")
    proposal, types = proposed(tmp_path / "t.csv")
    assert (proposal.rows, types) == (60, {"a": "string", "y": "integer"})
    assert ingested(tmp_path / "t.csv", types=types)["a"].to_list()[:3] == ["01", "02", "03"]


def test_the_types_of_very_many_columns_are_stated(tmp_path):
    names = [f"a_column_with_a_long_name_{i}" for i in range(4_000)]
    path = written(tmp_path, "t.csv", ",".join(names), ",".join(["01"] * 4_000))
    with open_data_file(path, tmp_path) as file:
        assert file.types == dict.fromkeys(names, "string")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_a_header_is_empty(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    encoding = "utf-16" if content[:1] == b"\xff" else "utf-8"
    assert "t.csv of source 's' is empty" in refused(tmp_path / "t.csv", encoding=encoding)


def test_a_column_may_be_named_like_a_pattern(tmp_path):
    path = written(tmp_path, "t.csv", "^a.*$,*,b", "true,1,x", "false,,y", ",2.5,z")
    table = ingested(path, types={"^a.*$": "boolean", "*": "number"})
    assert table["^a.*$"].to_list() == [True, False, None]
    assert table["*"].to_list() == [1.0, None, 2.5]
    assert "is not of type boolean" in refused(path, types={"b": "boolean"})


def test_an_index_that_pandas_or_r_wrote_is_a_column_and_no_feature(tmp_path):
    rows = [f"{i},{i * 7 % 5},{i % 2}" for i in range(60)]
    for header in (",a,y", '"","a","y"'):
        path = written(tmp_path, "t.csv", header, *rows)
        proposal, types = proposed(path)
        assert types == {"unnamed_1": "integer", "a": "integer", "y": "integer"}
        assert list(proposal.features) == ["a"]
        assert ingested(path, types=types)["unnamed_1"].to_list() == list(range(60))
    assert ingested(written(tmp_path, "t.csv", " ,unnamed_1,", "1,2,3")).to_dicts() == [
        {"unnamed_1_": 1, "unnamed_1": 2, "unnamed_3": 3}
    ]


@pytest.mark.parametrize("name", ["^a.*$", 'say "a"', "*", "plain"])
def test_a_late_misfit_is_named_whatever_its_column_is_called(tmp_path, name):
    header = '"' + name.replace('"', '""') + '",b'
    path = written(tmp_path, "t.csv", header, *["1,2"] * 11_000, "x,2")
    assert f"'x' in column {name!r} of t.csv, row 11001 is not an integer" in refused(path)


def test_a_value_may_be_longer_than_pythons_csv_takes_by_default(tmp_path):
    path = written(tmp_path, "t.csv", "a,b", f'"{"x" * 200_000}",1', "2")
    assert "line 3 of t.csv of source 's' has 1 field" in refused(path)
