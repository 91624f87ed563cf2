"""Counts of a CSV file's records, separators and quotes."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.ingestion.sources.csv_survey import survey_file

VALUES = st.text(alphabet='ab,"\n é', max_size=6)


def write(path, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    path.write_text(text.getvalue(), newline="")


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=8))
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_what_the_csv_module_writes_is_counted_whatever_the_block(tmp_path_factory, block, rows):
    path = tmp_path_factory.getbasetemp() / f"rows-{block}.csv"
    write(path, rows)
    counts = survey_file(path, ",", block)
    assert counts.records == len(rows)
    assert not counts.may_be_ragged(3)
    assert counts.stray_quote is None
    assert not counts.open_quote


@pytest.mark.parametrize("block", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'"a","b"\r\n"c","d"\r\n', None),
        (b'\xef\xbb\xbf"a",b\n', None),
        (b'a,b\n"c"d,e\n', 2),
        (b'a,b\nc,d"e"\n', 2),
        (b'a,b\n"c\nd",e\nf"\n', 4),
        (b'a,"b"" c"\n', None),
    ],
)
def test_the_line_of_a_stray_quote_doesnt_depend_on_the_block(tmp_path, block, text, line):
    (tmp_path / "t.csv").write_bytes(text)
    assert survey_file(tmp_path / "t.csv", ",", block).stray_quote == line
