"""Reading rows of files in parts of any size, from any position."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import BadParams, NotFound, SourceUnreadable
from mlops_cli.serving.row_files import (
    RowFiles,
    TextOptions,
    find_files,
    open_row_file,
    text_records,
)


def taken(path: Path, step: int, kind: TextOptions | None = None) -> tuple[list[Any], list[Any]]:
    """(position, row) of each good row, and (position, reason) of each broken one."""
    file = open_row_file(path, kind or TextOptions())
    rows, good, broken, before = RowFiles([file], list(file.schema)), [], [], 0
    while parts := rows.read_batches(step):
        for part in parts:
            good += [
                (before + at, row)
                for at, row in zip(part.index, part.frame.to_dicts(), strict=True)
            ]
            broken += [(before + b.row, b.reason) for b in part.broken]
            before += part.rows
    rows.close()
    return good, broken


def frame() -> pl.DataFrame:
    rng = random.Random(1)  # noqa: S311 - data, not secrets
    return pl.DataFrame(
        {
            "n": [rng.randint(-9, 9) if rng.random() > 0.1 else None for _ in range(300)],
            "t": [rng.choice(["a", 'say "b"', "c,d", "two\nlines", "é", None]) for _ in range(300)],
            "x": [rng.gauss(0, 1) for _ in range(300)],
        }
    )


@pytest.fixture(params=["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Path:
    """The same table in each format, read in blocks that cut through rows."""
    monkeypatch.setattr(text_records, "_BLOCK", 101)
    path = tmp_path / f"table.{request.param}"
    if request.param == "parquet":
        frame().write_parquet(path, row_group_size=70)
        return path
    content = io.BytesIO()
    frame().write_csv(content) if "csv" in request.param else frame().write_ndjson(content)
    packed = request.param.endswith("gz")
    path.write_bytes(gzip.compress(content.getvalue()) if packed else content.getvalue())
    return path


def test_every_row_comes_once_and_in_order(path: Path) -> None:
    expected = frame()
    if "csv" in path.name:
        expected = expected.cast(pl.String)
    for step in (1, 7, 299, 5000):
        good, broken = taken(path, step)
        assert [at for at, _ in good] == list(range(300))
        assert [row for _, row in good] == expected.to_dicts()
        assert broken == []


def test_reading_goes_on_from_any_position(path: Path) -> None:
    file = open_row_file(path, TextOptions())
    rows, positions, starts = RowFiles([file], ["n", "t"]), [(0, 0)], [0]
    while parts := rows.read_batches(23):
        positions.append(rows.position)
        starts.append(starts[-1] + sum(part.rows for part in parts))
    assert starts[-1] == 300
    expected = taken(path, 1000)[0]
    for position, start in zip(positions, starts, strict=True):
        rest = RowFiles([file], ["t"], position).read_batches(1000)
        found = [row["t"] for part in rest for row in part.frame.to_dicts()]
        assert found == [row["t"] for _, row in expected[start:]]


def test_rows_can_be_asked_for_with_all_their_columns(path: Path) -> None:
    file = open_row_file(path, TextOptions())
    rows = RowFiles([file], ["x"])
    rows.read_batches(100)
    part = rows.read_batches(50)[0]
    assert part.frame.columns == ["x"]
    expected = [row for _, row in taken(path, 1000)[0]]
    assert part.full_rows([3, 40]) == [expected[103], expected[140]]


def test_files_follow_each_other(tmp_path: Path) -> None:
    frame()[:200].write_parquet(tmp_path / "a.parquet")
    frame()[200:].write_csv(tmp_path / "b.csv")
    files = [open_row_file(p, TextOptions()) for p in find_files(str(tmp_path / "*"))]
    rows = RowFiles(files, ["x"])
    parts = rows.read_batches(250)
    assert [part.frame.height for part in parts] == [200, 50]
    assert sum(part.rows for part in rows.read_batches(250)) == 50
    assert rows.read_batches(250) == []
    assert rows.bytes_read == sum(file.size for file in files)


def test_broken_csv_records_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\n1,2\n3\n\n4,"x\ny"\n5,6,7\n8,\xff\n9,5" pipe\n10,11')
    good, broken = taken(path, 100)
    assert good == [
        (0, {"a": "1", "b": "2"}),
        (2, {"a": "4", "b": "x\ny"}),
        (6, {"a": "10", "b": "11"}),
    ]
    assert broken == [
        (1, "it has 1 of 2 fields"),
        (3, "it has 3 of 2 fields"),
        (4, "it is not UTF-8"),
        (5, "a quote inside of a value isn't written twice"),
    ]


def test_broken_json_lines_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"a": 1}\n[2]\n\n{"a": 3\n{"a": "x"}\n{"a": {"b": 1}}\n\xff\n')
    good, broken = taken(path, 100)
    assert good == [(0, {"a": "1"}), (3, {"a": "x"}), (4, {"a": '{"b": 1}'})]
    assert [at for at, _ in broken] == [1, 2, 5]
    assert broken[0][1] == "it is no object"


VALUES = st.text(st.sampled_from('ab",\n é'), max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=2, max_size=3), min_size=1, max_size=12))
def test_csv_is_read_as_pythons_own_reader_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([["c1", "c2"], *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(content.getvalue(), newline="")
    for step in (1, 3, 100):
        good, broken = taken(path, step)
        fitting = [(i, row) for i, row in enumerate(rows) if len(row) == 2]
        assert good == [(i, {"c1": a or None, "c2": b or None}) for i, (a, b) in fitting]
        assert [at for at, _ in broken] == [i for i, row in enumerate(rows) if len(row) != 2]


def test_half_of_a_surrogate_pair_concerns_its_own_row(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": "x"}\nnot json\n{"a": "\\ud800"}\n{"a": "\\ud83d\\ude00"}\n')
    good, broken = taken(path, 100)
    assert [at for at, _ in good] == [0, 3]
    assert [at for at, _ in broken] == [1, 2]


def test_separator_encoding_and_null_values_are_those_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("a;b\né;-\n1;2\n".encode("cp1252"))
    good, _ = taken(path, 1, TextOptions(";", "cp1252", ("-",)))
    assert [row for _, row in good] == [{"a": "é", "b": None}, {"a": "1", "b": "2"}]
    with pytest.raises(BadParams, match="'nosuch' is not an encoding"):
        open_row_file(path, TextOptions(";", "nosuch"))


def test_missing_values_may_be_named_by_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n-,-\n1,"x ""y"\n')
    good, _ = taken(path, 10, TextOptions(null_values={"a": ("-",)}))
    assert [row for _, row in good] == [{"a": None, "b": "-"}, {"a": "1", "b": 'x "y'}]


@pytest.mark.parametrize("step", [1, 7, 100])
def test_no_row_is_lost_where_quotes_are_escaped_by_backslashes(tmp_path: Path, step: int) -> None:
    path = tmp_path / "t.csv"
    lines = ["size,weight,sold", *(f"{i % 9} mm,{i},yes" for i in range(40))]
    lines[6], lines[31] = r'"5\" bolt",5,yes', r'"6\" bolt",30,no'
    path.write_text("\n".join(lines) + "\n")
    good, broken = taken(path, step)
    assert len(good) + len(broken) == 40
    assert [reason for _, reason in broken] == ["a quote inside of a value isn't written twice"] * 2


def test_one_column_may_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('\ufeffa\n1\n""\n2')
    assert [row["a"] for _, row in taken(path, 10)[0]] == ["1", None, "2"]


def test_mixed_numbers_and_texts_of_json_stay_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    values = [1, "x", True, None, 2.5, 10**30]
    path.write_text("\n".join(json.dumps({"a": v}) for v in values))
    found = [row["a"] for _, row in taken(path, 10)[0]]
    assert found == ["1", "x", "true", None, "2.5", "1" + "0" * 30]


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(text_records, "_LONGEST", 1000)
    monkeypatch.setattr(text_records, "_BLOCK", 100)
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"2\n' + "3,4\n" * 1000)
    with pytest.raises(SourceUnreadable, match="from byte 4 on, has no end"):
        taken(path, 10)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", b"a,a\n1,2\n", "is named 'a' like another one"),
        ("t.csv", b"\n\r\n", "every line of .* is blank"),
        ("t.csv", b"a,\xe9\n1,2\n", "the first line of .* is not UTF-8: byte 0xe9"),
        ("t.csv", b"PK\3\4\0\0", "is not CSV but binary"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"0123456789" * 999, mtime=0)[:-20], "damaged gzip"),
        ("t.parquet", b"PAR1 and so on PAR1", "damaged Parquet"),
        ("t.xlsx", b"x", "cannot be told by its name"),
    ],
)
def test_files_that_are_none_are_refused(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceUnreadable, match=told):
        taken(tmp_path / name, 1)


def test_a_damaged_page_of_parquet_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame().write_parquet(path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[40:80] = bytes(40)
    path.write_bytes(bytes(content))
    with pytest.raises(SourceUnreadable, match="damaged Parquet"):
        taken(path, 100)


def test_files_that_are_not_there_are_told() -> None:
    with pytest.raises(NotFound, match="no file nosuch"):
        find_files("nosuch.csv")


def test_a_row_nested_deeply_is_set_apart_at_once(tmp_path: Path) -> None:
    deep = '{"n": ' + '{"a": ' * 500 + "1" + "}" * 500 + "}"
    deeper = '{"n": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path = tmp_path / "deep.jsonl"
    lines = ['{"n": 1}', "\n\n", '{"n": "x', deep, '{"n": 2}', deeper]
    path.write_text("\n".join(lines))
    begun = time.process_time()
    good, broken = taken(path, 10)
    assert time.process_time() - begun < 2
    assert [row["n"] for _, row in good] == [1, 2]
    assert [reason for _, reason in broken][1:] == ["it is nested deeper than 64"] * 2


def test_what_looks_packed_inside_of_csv_is_text(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\nx\x01,2\nx\x01,3\n")
    assert taken(path, 1)[0] == [(0, {"a": "x\x01", "b": "2"}), (1, {"a": "x\x01", "b": "3"})]
    path.write_bytes(b"a,b\n" + gzip.compress(b"1,2\n" * 1_000))
    assert taken(path, 10)[0] == []


def test_blank_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbf\r\n\na,b\n1,2\n")
    assert taken(path, 10)[0] == [(0, {"a": "1", "b": "2"})]


def test_utf_16_without_its_mark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SourceUnreadable, match="is not utf-16"):
        open_row_file(path, TextOptions(encoding="utf-16"))


def test_a_header_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a\rb,c\n1,2\n", newline="")
    with pytest.raises(SourceUnreadable, match="is no header"):
        open_row_file(path, TextOptions())
    path.write_text("a" * 200_000 + ",b\n1,2\n")
    assert open_row_file(path, TextOptions()).schema.keys() == {"a" * 200_000, "b"}


def test_a_moment_beyond_all_years_is_shown_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"at": pl.Series([2**63 - 1]).cast(pl.Datetime("us"))}).write_parquet(path)
    (part,) = RowFiles([open_row_file(path, TextOptions())], ["at"]).read_batches(1)
    assert part.full_rows([0]) == [{"at": 2**63 - 1}]
