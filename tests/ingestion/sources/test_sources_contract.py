"""Contract of all kinds of sources; a new kind is tested when it is listed."""

import contextlib
import datetime as dt
import gzip
import http.server
import threading
from functools import partial

import polars as pl
import pytest

from mlops_cli.data.atomic_files import sha256
from mlops_cli.data.data_clock import in_utc
from mlops_cli.data.urls import mask_url
from mlops_cli.errors import BadParams, DiskFull, MlopsError, SourceUnreadable
from mlops_cli.ingestion.source_table import SourceTable
from mlops_cli.ingestion.sources import KINDS, SourceRequest, source_kind
from mlops_cli.params.ingest import Source

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3],
        "size": [0.5, None, 2.5],
        "name": ["a, b", None, 'c "d"'],
        "ok": [True, False, True],
        "at": ["2020-01-01T00:00:00Z", "2020-01-02 03:00:00", "2020-01-03"],
    }
)
TYPES = {"at": "datetime"}
UTC = pl.Datetime("us", "UTC")
READ = ROWS.with_columns(
    at=pl.Series([dt.datetime(2020, 1, d, h, tzinfo=dt.UTC) for d, h in ((1, 0), (2, 3), (3, 0))])
)


@contextlib.contextmanager
def serving(folder, handler=None):
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = handler or partial(quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def offer(kind, rows, root):
    """The rows as a source of this kind: its URI."""
    if kind == "csv":
        rows.write_csv(root / "t.csv")
        yield "t.csv"
    elif kind == "parquet":
        rows.write_parquet(root / "t.parquet")
        yield "t.parquet"
    elif kind == "jsonl":
        rows.write_ndjson(root / "t.jsonl")
        yield "t.jsonl"
    elif kind == "http":
        rows.write_csv(root / "remote.csv")
        with serving(root) as address:
            yield f"{address}/remote.csv?token=secret"
    else:
        module = f"given_{root.name}".replace("-", "_")
        rows.write_parquet(root / "given.parquet")
        read = f"polars.read_parquet({str(root / 'given.parquet')!r})"
        code = f"import polars\n\ndef table():\n    return {read}\n"
        (root / f"{module}.py").write_text(code)
        yield f"python:{module}:table"


def ingest(root, uri, until=None, **settings):
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    request = SourceRequest("s", Source(uri=uri, **settings), root, scratch)
    path = root / "out.parquet"
    tally = SourceTable.open(request, None if until is None else in_utc(until)).write(path)
    return pl.read_parquet(path), tally, path


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_every_kind_gives_the_same_table(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri:
        table, tally, _ = ingest(tmp_path, uri, types=TYPES)
    assert table.equals(READ)
    assert table.schema == {
        "id": pl.Int64,
        "size": pl.Float64,
        "name": pl.String,
        "ok": pl.Boolean,
        "at": UTC,
    }
    assert (tally.input_rows, tally.rows) == (3, 3)


def test_not_a_number_and_infinity_are_missing_values_that_are_counted(tmp_path):
    values = pl.DataFrame({"a": [1.0, float("inf"), float("-inf"), float("nan"), None]})
    values.write_parquet(tmp_path / "t.parquet")
    table, tally, _ = ingest(tmp_path, "t.parquet")
    assert table["a"].to_list() == [1.0, None, None, None, None]
    assert tally.infinite == {"a": 2}


def test_every_kind_is_recognised_by_its_uri(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri:
        assert source_kind(Source(uri=uri)) in {kind, "file"}


def test_the_same_rows_give_the_same_bytes(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri:
        hashes = {sha256(ingest(tmp_path, uri, types=TYPES)[2]) for _ in range(3)}
    assert len(hashes) == 1


def test_derived_columns_come_in_order_and_the_clock_cuts(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri:
        table, tally, _ = ingest(
            tmp_path,
            uri,
            dt.date(2020, 1, 3),
            types=TYPES,
            time="at",
            derive={"twice": "id * 2", "four": "twice * 2", "none": "(id - 1) / (id - 1)"},
        )
    assert table["four"].to_list() == [4, 8]
    assert table["none"].to_list() == [None, 1]  # nothing by nothing is missing
    assert tally.dropped == 1


def test_a_value_of_another_type_is_named(kind, tmp_path):
    rows = ROWS.with_columns(at=pl.Series(["2020-01-01", "soon", None]))
    with offer(kind, rows, tmp_path) as uri, pytest.raises(SourceUnreadable) as error:
        ingest(tmp_path, uri, types=TYPES)
    assert "'soon' in column 'at'" in error.value.message
    assert "is not of type datetime" in error.value.message
    if kind != "python":
        assert "row 2" in error.value.message


def test_a_type_for_an_unknown_column_suggests_the_nearest(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri, pytest.raises(BadParams) as error:
        ingest(tmp_path, uri, types={"nam": "string"})
    assert "ingest.sources.s.types names the column 'nam'" in error.value.message
    assert error.value.hint == "Did you mean 'name'?"


def test_an_expression_that_names_no_column_suggests_the_nearest(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri, pytest.raises(BadParams) as error:
        ingest(tmp_path, uri, derive={"big": "siz > 1"})
    assert "ingest.sources.s.derive.big" in error.value.message
    assert "Did you mean 'size'?" in error.value.hint


def test_an_expression_that_does_not_parse_is_shown(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri, pytest.raises(BadParams, match="siz >>> "):
        ingest(tmp_path, uri, derive={"big": "siz >>> "})


def test_a_source_that_is_not_there_is_unreadable(kind, tmp_path):
    with offer(kind, ROWS, tmp_path) as uri:
        missing = {"python": "python:no_such_module_here:x"}.get(kind, uri.replace("t.", "u."))
        if kind == "http":
            missing = uri.replace("remote", "absent")
        with pytest.raises(SourceUnreadable) as error:
            ingest(tmp_path, missing)
    assert error.value.exit_code == 6
    assert error.value.hint
    assert "secret" not in error.value.message


# -- Files ------------------------------------------------------------------------------------


def refused(root, name, content, kind=SourceUnreadable, **settings):
    (root / name).write_bytes(content)
    with pytest.raises(MlopsError) as error:
        ingest(root, name, **settings)
    assert isinstance(error.value, kind)
    assert name in error.value.message or kind is BadParams
    return f"{error.value.message} | {error.value.hint}"


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
def test_an_empty_file_is_refused(tmp_path, name):
    assert "is empty" in refused(tmp_path, name, b"")


def test_a_truncated_parquet_is_refused(tmp_path):
    ROWS.write_parquet(tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    assert "truncated Parquet" in refused(tmp_path, "t.parquet", content[:-40])


def test_a_damaged_parquet_is_refused(tmp_path):
    ROWS.write_parquet(tmp_path / "whole.parquet")
    content = bytearray((tmp_path / "whole.parquet").read_bytes())
    content[4:60] = b"\xff" * 56
    assert "damaged Parquet" in refused(tmp_path, "t.parquet", bytes(content))


@pytest.mark.parametrize(("row", "says"), [("4,5", "has 2 fields"), ("4,5,6,7", "has 4 fields")])
def test_a_ragged_row_is_refused_with_its_line(tmp_path, row, says):
    text = f'a,b,c\n1,"x, y\nz",3\n{row}\n7,8,9\n'
    said = refused(tmp_path, "t.csv", text.encode())
    assert f"line 4 of t.csv of source 's' {says}" in said


def test_separators_and_line_ends_in_quotes_are_no_fields(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n"1,2\n3","say ""x, y"""\n4,5\n')
    table, *_ = ingest(tmp_path, "t.csv")
    assert table.rows() == [("1,2\n3", 'say "x, y"'), ("4", "5")]


def test_another_encoding_is_refused_with_its_place(tmp_path):
    said = refused(tmp_path, "t.csv", "a,b\n1,x\n2,é\n".encode("latin-1"))
    assert "byte 0xe9 at offset 10, line 3" in said
    assert "encoding: latin-1" in said


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_a_stated_encoding_is_read(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("é,b\n1,ü\n".encode(encoding))
    table, *_ = ingest(tmp_path, "t.csv", encoding=encoding)
    assert table.to_dicts() == [{"é": 1, "b": "ü"}]


def test_an_unknown_encoding_is_a_bad_setting(tmp_path):
    assert "'uft-8'" in refused(tmp_path, "t.csv", b"a\n1\n", BadParams, encoding="uft-8")


def test_two_columns_of_one_name_are_refused(tmp_path):
    assert "two columns named 'a'" in refused(tmp_path, "t.csv", b"a,b,a\n1,2,3\n")


def test_a_header_without_rows_is_empty(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n")
    assert ingest(tmp_path, "t.csv")[1].input_rows == 0


def test_a_late_value_of_another_type_is_named(tmp_path):
    text = "a,b\n" + "1,2\n" * 12_000 + "x,2\n"
    said = refused(tmp_path, "t.csv", text.encode())
    assert "'x' in column 'a' of t.csv, row 12001 is not an integer" in said
    assert "types: {a: string}" in said


def escaped_by_backslashes():
    """Forty rows, two of them with a quote as MySQL and Spark write it."""
    lines = ["size,weight,sold"]
    lines += [f"{i % 9} mm,{i},{'yes' if i % 3 else 'no'}" for i in range(40)]
    lines[6], lines[31] = '"5\\" bolt",5,yes', '"6\\" bolt",30,no'
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n5" pipe,2\n6,3\n', 2),
        ('a,b\n6,3\n5" pipe,2\n6" pipe,3\n', 3),
        ('a,b,y\n"x" y,1,0\nz,2,1\n', 2),
        ('a,b\n1, "x"\n', 2),
        ('a,b\n"1\n2",x\n3,"x"y\n', 4),
        (escaped_by_backslashes(), 7),
    ],
)
def test_a_quote_inside_of_a_value_is_refused_with_its_line(tmp_path, text, line):
    said = refused(tmp_path, "t.csv", text.encode())
    assert f"line {line} of t.csv of source 's' has a quote without its pair" in said


def test_a_quote_that_is_never_closed_is_refused(tmp_path):
    assert "has a quote without its pair" in refused(tmp_path, "t.csv", b'a,b\n1,"x\n2,y\n')


def test_blank_lines_are_no_rows(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\na,b\n1,"x\n\ny"\n\r\n\n2,\n\n')
    assert ingest(tmp_path, "t.csv")[0].rows() == [(1, "x\n\ny"), (2, None)]


def test_a_blank_line_in_a_table_of_one_column_is_a_missing_value(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n1\n\n2\n")
    assert ingest(tmp_path, "t.csv")[0].rows() == [(1,), (None,), (2,)]


def test_rows_that_the_reader_lost_are_noticed(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n3,4\n")
    request = SourceRequest("s", Source(uri="t.csv"), tmp_path, tmp_path / "scratch")
    (tmp_path / "scratch").mkdir()
    intake = SourceTable.open(request, None)
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(SourceUnreadable, match="has 2 rows by its lines, and 1 were read"):
        intake.write(tmp_path / "out.parquet")


def test_a_misfit_of_somebody_is_shown_by_its_shape(tmp_path):
    mail = "ann@example.org"
    said = refused(tmp_path, "t.csv", b"a\n" + b"1\n" * 12_000 + f"{mail}\n".encode())
    assert "'aaa@aaaaaaa.aaa' in column 'a' of t.csv, row 12001" in said
    (tmp_path / "u.csv").write_text(f"a\n{mail}\n")
    with pytest.raises(MlopsError) as error:
        ingest(tmp_path, "u.csv", types={"a": "datetime"})
    assert mail not in error.value.message + error.value.hint
    assert "row 1" in error.value.message


def test_a_wrong_format_is_refused(tmp_path):
    ROWS.write_parquet(tmp_path / "p.parquet")
    content = (tmp_path / "p.parquet").read_bytes()
    assert "is Parquet, not CSV" in refused(tmp_path, "t.csv", content)
    assert "is not Parquet" in refused(tmp_path, "t.parquet", b"a,b\n1,2\n")
    assert "is not JSON Lines" in refused(tmp_path, "t.jsonl", b"a,b\n1,2\n")
    assert "cannot be told by its name" in refused(tmp_path, "t.dat", b"a,b\n1,2\n")


@pytest.mark.parametrize("line", ['{"a":', "[1]", "{'a': 1}"])
def test_a_broken_json_line_is_named(tmp_path, line):
    said = refused(tmp_path, "t.jsonl", f'{{"a": 1}}\n{line}\n{{"a": 3}}\n'.encode())
    assert "line 2 of t.jsonl" in said


def test_a_json_key_that_comes_late_is_a_column(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": 1}\n' * 2000 + '{"a": 2, "b": "x"}\n')
    assert ingest(tmp_path, "t.jsonl")[0]["b"].drop_nulls().to_list() == ["x"]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
def test_gzip_is_read_and_a_damaged_one_refused(tmp_path, name):
    content = b'{"a": 1}\n' if "jsonl" in name else b"a\n1\n"
    (tmp_path / name).write_bytes(gzip.compress(content))
    assert ingest(tmp_path, name)[0].to_dicts() == [{"a": 1}]
    assert "damaged gzip" in refused(tmp_path, name, gzip.compress(content * 99)[:-9])


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz"])
def test_gzip_that_unpacks_to_far_more_than_a_table_is_refused(tmp_path, name):
    line = b'{"a": 1}\n' if "jsonl" in name else b"a\n"
    content = gzip.compress(line * (80_000_000 // len(line)), compresslevel=9)
    said = refused(tmp_path, name, content)
    assert "it unpacks to over 250 times its size" in said
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [name]


def test_unpacking_stops_before_the_disk_is_full(tmp_path, monkeypatch):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    monkeypatch.setattr("mlops_cli.data.unpacking._MIN_FREE", 1 << 60)
    with pytest.raises(DiskFull, match=r"unpacking t\.csv\.gz leaves less than"):
        ingest(tmp_path, "t.csv.gz")


def test_files_of_a_folder_or_glob_come_in_order(tmp_path):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    for name, rows in {
        "b.csv": "3,x\n4,y\n",
        "a.csv": "1,p\n2.5,q\n",
        "sub/c.csv": "5,r\n",
    }.items():
        (tmp_path / "d" / name).write_text("n,s\n" + rows)
    (tmp_path / "d" / ".gitignore").write_text("*.csv\n")
    assert ingest(tmp_path, "d")[0]["n"].to_list() == [1, 2.5, 3, 4, 5]
    assert ingest(tmp_path, "d/*.csv")[0]["n"].to_list() == [1, 2.5, 3, 4]


def test_files_of_other_columns_are_refused_by_name(tmp_path):
    (tmp_path / "a.csv").write_text("n,s\n1,2\n")
    (tmp_path / "b.csv").write_text("n,t\n1,2\n")
    with pytest.raises(SourceUnreadable, match=r"b\.csv has no 's', unlike a\.csv"):
        ingest(tmp_path, "*.csv")


def test_the_file_with_the_ragged_row_is_named_among_many(tmp_path):
    (tmp_path / "a.csv").write_text("n,s\n1,2\n")
    (tmp_path / "b.csv").write_text("n,s\n1,2\n3\n")
    with pytest.raises(SourceUnreadable, match=r"line 3 of b\.csv"):
        ingest(tmp_path, "*.csv")


def test_folders_that_state_a_value_make_a_column(tmp_path):
    for region, year, value in (("north", "2024", 1), ("sou%74h", "2023", 2)):
        folder = tmp_path / "sales" / f"region={region}" / f"year={year}"
        folder.mkdir(parents=True)
        pl.DataFrame({"a": [value]}).write_parquet(folder / "part-0.parquet")
    table, *_ = ingest(tmp_path, "sales")
    assert table.rows(named=True) == [
        {"a": 1, "region": "north", "year": 2024},
        {"a": 2, "region": "south", "year": 2023},
    ]


def test_null_values_of_one_column_are_values_of_another(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,None\nNone,x\n,None\n")
    table, *_ = ingest(tmp_path, "t.csv", null_values={"a": ["None"]}, types={"a": "integer"})
    assert table.rows() == [(1, "None"), (None, "x"), (None, "None")]


def test_null_values_and_separator_are_heeded(tmp_path):
    (tmp_path / "t.csv").write_text("a;b\n1;NA\n2;3\n")
    table, *_ = ingest(tmp_path, "t.csv", separator=";", null_values=["NA"])
    assert table.rows() == [(1, None), (2, 3)]


def test_integers_written_as_floats_are_integers_when_stated(tmp_path):
    pl.DataFrame({"a": [1.0, None, float("nan")]}).write_parquet(tmp_path / "t.parquet")
    assert ingest(tmp_path, "t.parquet", types={"a": "integer"})[0]["a"].to_list() == [
        1,
        None,
        None,
    ]


# -- Python and HTTP --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import pandas as pd\nt = pd.DataFrame({'a': [1.0, float('nan')], 'b': ['x', None]})",
        "import pyarrow as pa\nt = pa.table(DATA)",
        "import pyarrow as pa\ndef t():\n    return pa.table(DATA).to_reader()",
        "import polars as pl\nclass t:\n    x = staticmethod(lambda: pl.LazyFrame(DATA))",
    ],
)
def test_python_gives_pandas_polars_or_arrow(tmp_path, code):
    module = f"mod_{abs(hash(code))}_{tmp_path.name}"
    data = "DATA = {'a': [1.0, None], 'b': ['x', None]}\n"
    (tmp_path / f"{module}.py").write_text(data + code)
    attribute = "t.x" if "class" in code else "t"
    table, *_ = ingest(tmp_path, f"python:{module}:{attribute}")
    assert table.rows() == [(1.0, "x"), (None, None)]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("t = 5", "gives a int, not a table"),
        ("def t():\n    raise OSError('no line')", "OSError: no line"),
        ("u = 5", "no 't'"),
    ],
)
def test_python_that_gives_no_table_is_unreadable(tmp_path, code, says):
    module = f"bad_{abs(hash(code))}_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(code)
    with pytest.raises(SourceUnreadable, match=says):
        ingest(tmp_path, f"python:{module}:t")


def test_http_says_the_status_and_hides_credentials(tmp_path):
    with serving(tmp_path) as address:
        uri = address.replace("//", "//me:secret@") + "/absent.csv?key=secret"
        with pytest.raises(SourceUnreadable) as error:
            ingest(tmp_path, uri)
    assert "status 404" in error.value.message
    assert "secret" not in error.value.message + error.value.hint


def test_http_without_an_answer_is_unreadable(tmp_path):
    with serving(tmp_path) as address:
        pass
    with pytest.raises(SourceUnreadable, match=r"cannot be fetched: .*refused"):
        ingest(tmp_path, f"{address}/t.csv")


@contextlib.contextmanager
def responding(*responses):
    """A server that responds with these, one after the other; its address and the requests."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = responses[len(requests)]
            requests.append(self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with serving(".", Handler) as address:
        yield address, requests


TABLE = b"id,name\n1,ann\n"


def test_a_download_is_repeated_after_a_passing_error_and_a_broken_body(tmp_path):
    responses = [
        (503, {"Retry-After": "0"}, b""),
        (200, {"Content-Length": str(len(TABLE))}, TABLE[:9]),
        (200, {}, TABLE),
    ]
    with responding(*responses) as (address, requests):
        table, *_ = ingest(tmp_path, f"{address}/t.csv")
    assert table.height == 1
    assert len(requests) == 3


def test_a_server_that_fails_each_time_gets_three_requests(tmp_path):
    with (
        responding(*[(503, {"Retry-After": "0"}, b"")] * 4) as (address, requests),
        pytest.raises(SourceUnreadable, match="status 503 Service Unavailable"),
    ):
        ingest(tmp_path, f"{address}/t.csv")
    assert len(requests) == 3


def test_credentials_are_sent_to_their_host_only(tmp_path):
    with responding((200, {}, TABLE)) as (other, others):
        elsewhere = other.replace("127.0.0.1", "localhost")
        with responding((302, {"Location": f"{elsewhere}/t.csv"}, b"")) as (address, requests):
            ingest(tmp_path, address.replace("//", "//me:p%C3%A9@") + "/t.csv")
    assert requests[0]["Authorization"] == "Basic bWU6cMOp"
    assert others[0]["Authorization"] is None


def test_credentials_may_stand_in_netrc(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with responding((200, {}, TABLE)) as (address, requests):
        ingest(tmp_path, f"{address}/t.csv")
    assert requests[0]["Authorization"] == "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize(
    ("location", "reason"), [("file:///etc/passwd", "file:///etc/passwd"), ("/t.csv", "redirects")]
)
def test_redirects_are_limited_in_number_and_scheme(tmp_path, location, reason):
    with (
        responding(*[(302, {"Location": location}, b"")] * 11) as (address, _),
        pytest.raises(SourceUnreadable, match=rf"cannot be fetched: .*{reason}"),
    ):
        ingest(tmp_path, f"{address}/t.csv")


def test_only_urls_are_masked():
    assert mask_url("data/part-?.csv") == "data/part-?.csv"
    assert mask_url("https://me:pw@host/a.csv?key=1#x") == "https://***@host/a.csv?***"


def test_an_unknown_scheme_is_unreadable(tmp_path):
    with pytest.raises(SourceUnreadable, match="s3://"):
        ingest(tmp_path, "s3://bucket/t.csv")


def test_a_new_project_names_a_line_that_is_nested_deeply(tmp_path):
    from mlops_cli.scaffold.data_file import open_data_file

    path = tmp_path / "rows.jsonl"
    deep = '{"a": ' * 500 + "1" + "}" * 500
    path.write_text('{"a": 1}\n' + '{"a": ' + deep + "}\n")
    with (
        pytest.raises(SourceUnreadable, match=r"line 2 of rows\.jsonl is nested deeper than 64"),
        open_data_file(path, tmp_path),
    ):
        pass
