"""A body that crashes its reader or unpacks without end fails only its own request."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_services import RunningService, ServedModel, run_service
from mutated_bodies import Campaign

STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
FORMATS = json.dumps({"formats": ["json", "csv", "arrow", "parquet"]})


@pytest.fixture(scope="module")
def open_service(binary: ServedModel) -> Iterator[RunningService]:
    """A service that takes every format."""
    with run_service(binary.environment(MLOPS_SERVE=FORMATS)) as service:
        yield service


def resident(pid: int) -> float:
    """Resident megabytes of a process and of those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6 + sum(map(resident, map(int, children)))


@contextlib.contextmanager
def within_bounds(served_model: ServedModel, service: RunningService) -> Iterator[None]:
    """The service answers all the while, stays small, and says the same afterwards."""
    known = service.predict(served_model.rows[:3])
    ended, slowest, largest = threading.Event(), [0.0], [0.0]

    def probe() -> None:
        while not ended.is_set():
            begun = time.monotonic()
            assert service.request("GET", "/livez")[0] == 200
            slowest[0] = max(slowest[0], time.monotonic() - begun)
            with contextlib.suppress(OSError):  # a fork that has just ended
                largest[0] = max(largest[0], resident(service.process.pid))
            time.sleep(0.02)

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    # On a machine that does something else besides; alone, it is a tenth of it.
    assert slowest[0] < 5
    assert largest[0] < 700, "the service, its reader and a fork of that"
    answers = service.predict(served_model.rows[:3])
    assert [{**a, "id": ""} for a in answers] == [{**k, "id": ""} for k in known]


def readers(service: RunningService) -> list[int]:
    """The processes in which a service has tables read."""
    pid = service.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"table_process" in Path(f"/proc/{c}/cmdline").read_bytes()]


def parquet(table: pa.Table, **options: Any) -> bytes:
    """A table as Parquet."""
    body = io.BytesIO()
    pq.write_table(table, body, **options)
    return body.getvalue()


def stream(table: pa.Table, compression: str | None = None, batches: int = 1) -> bytes:
    """A table as an Arrow stream."""
    body = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(body, table.schema, options=options) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return body.getvalue()


def nested(depth: int) -> pa.DataType:
    """Structs inside each other."""
    dtype: pa.DataType = pa.int64()
    for _ in range(depth):
        dtype = pa.struct([("a", dtype)])
    return dtype


def ones(rows: int) -> pa.Table:
    """A column of zeros, which take no memory until they are looked at."""
    return pa.table({"a": np.zeros(rows, np.int8)})


def texts(rows: int, size: int) -> pa.Table:
    """One long text in each row."""
    one = pa.array(["x" * size])
    return pa.table({"a": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), one)})


BOMBS: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "parquet of equal values": (PARQUET, lambda: parquet(ones(100_000_000)), 413),
    "parquet of 2e8 nulls": (PARQUET, lambda: parquet(pa.table({"a": pa.nulls(200_000_000)})), 413),
    "parquet of long texts": (
        PARQUET, lambda: parquet(texts(9_000, 1_000_000), compression="zstd"), 413
    ),
    "parquet of 20,000 columns": (
        PARQUET, lambda: parquet(pa.table({f"c{i}": [1] for i in range(20_000)})), 422
    ),
    "parquet of depth 5": (PARQUET, lambda: parquet(pa.table({"a": pa.nulls(3, nested(5))})), 422),
    "parquet of depth 300": (
        PARQUET, lambda: parquet(pa.table({"a": pa.nulls(3, nested(300))})), 400
    ),
    "parquet of depth 600": (
        PARQUET, lambda: parquet(pa.table({"a": pa.nulls(3, nested(600))})), 400
    ),
    "arrow zstd of 3e8 values": (STREAM, lambda: stream(ones(300_000_000), "zstd"), 413),
    "arrow lz4 of 1e8 values": (STREAM, lambda: stream(ones(100_000_000), "lz4"), 413),
    "arrow of 1e9 nulls": (STREAM, lambda: stream(pa.table({"a": pa.nulls(10**9)})), 413),
    "arrow of a dictionary": (STREAM, lambda: stream(texts(9_000, 1_000_000), "zstd"), 413),
    "arrow of empty batches": (STREAM, lambda: stream(ones(1).slice(1), batches=90_000), 422),
    "arrow of a long name": (STREAM, lambda: stream(pa.table({"c" * 5_000: [1]})), 422),
    "arrow of one name twice": (
        STREAM, lambda: stream(pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"])), 422
    ),
    "arrow cut short": (FILE, lambda: stream(ones(10))[:-20], 400),
    "csv that is gzip": ("text/csv", lambda: gzip.compress(b"a\n" + b"1\n" * 50_000_000, 1), 415),
    "csv that is zlib": ("text/csv", lambda: zlib.compress(b"a\n" + b"1\n" * 1_000_000), 415),
    "csv of many rows": ("text/csv", lambda: b"a,b\n" + b",\n" * 5_000_000, 413),
    "csv of many blanks": ("text/csv", lambda: b"a,b\n" + b"\n" * 15_000_000, 413),
    "csv of short rows and a wide header": (
        "text/csv", lambda: b",".join(b"c%d" % i for i in range(9_000)) + b"\n1" * 9_000, 413
    ),
    "csv of many columns": ("text/csv", lambda: b"," * 15_000_000, 413),
    "csv of 20,000 columns": (
        "text/csv", lambda: b",".join(b"c%d" % i for i in range(20_000)) + b"\n", 422
    ),
    "csv without an end": ("text/csv", lambda: b'a,b\n"' + b"x" * 15_000_000, 422),
    "json columns": (
        "application/json", lambda: b'{"columns":{"a":[' + b"1," * 7_900_000 + b"1]}}", 413
    ),
    "json of empty objects": ("application/json", lambda: b"[" + b"{}," * 5_000_000 + b"{}]", 413),
    "json of one key": ("application/json", lambda: b"[" + b'{"a":1},' * 900_000 + b"{}]", 413),
    "json of lists in a cell": (
        "application/json", lambda: b'[{"a":[' + b"[]," * 5_000_000 + b"[]]}]", 413
    ),
    "json of 100,000 columns": (
        "application/json", lambda: json.dumps([{f"c{i}": 1 for i in range(100_000)}]).encode(), 422
    ),
    "json of depth 65": (
        "application/json", lambda: b'[{"a":' + b"[" * 63 + b"]" * 63 + b"}]", 422
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(
    binary: ServedModel, open_service: RunningService, name: str
) -> None:
    kind, make, status = BOMBS[name]
    body = make()
    assert len(body) < 16_000_000
    with within_bounds(binary, open_service):
        found, content, _ = open_service.request("POST", "/predict", body, kind)
    assert (found, content["status"]) == (status, status), content
    assert content["detail"]


def test_bombs_at_once_keep_others_waiting_for_moments_only(
    binary: ServedModel, open_service: RunningService
) -> None:
    bodies = [(kind, make()) for kind, make, _ in list(BOMBS.values())[:14]]
    found: list[int] = []

    def ask(kind: str, body: bytes) -> None:
        found.append(open_service.request("POST", "/predict", body, kind)[0])

    threads = [threading.Thread(target=ask, args=one) for one in bodies]
    with within_bounds(binary, open_service):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == len(bodies)
    assert set(found) <= {400, 413, 422, 503, 504}


def test_a_reader_that_dies_is_replaced(binary: ServedModel, open_service: RunningService) -> None:
    frame = pl.DataFrame(binary.rows[:2])
    body = io.BytesIO()
    frame.write_ipc_stream(body)
    known = open_service.predict(binary.rows[:2])
    for _ in range(3):
        status, content, _ = open_service.request("POST", "/predict", body.getvalue(), STREAM)
        assert status == 200, content
        assert [{**p, "id": ""} for p in content["predictions"]] == [{**k, "id": ""} for k in known]
        (reader,) = readers(open_service)
        assert b"MLOPS" not in Path(f"/proc/{reader}/environ").read_bytes()
        os.kill(reader, signal.SIGKILL)


def test_formats_are_off_until_they_are_asked_for(binary: ServedModel) -> None:
    with run_service(binary.environment()) as service:
        for kind, form in ((STREAM, "arrow"), (FILE, "arrow"), (PARQUET, "parquet")):
            status, content, _ = service.request("POST", "/predict", b"x", kind)
            assert status == 415
            assert "serve.formats" in content["detail"]
            assert repr(form) in content["detail"]
        document = service.request("GET", "/docs.json")[1]
        taken = document["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert set(taken) == {"application/json", "text/csv"}
        assert not readers(service)


@pytest.mark.parametrize("moment", [2**63 - 1, 2**62, -(2**62), 253_402_300_800_000_000])
def test_a_moment_beyond_all_years_is_refused(
    binary: ServedModel, open_service: RunningService, moment: int
) -> None:
    frame = pl.DataFrame(binary.rows[:2]).to_arrow()
    moments = pa.array([moment, 0], pa.timestamp("us"))
    for column in ("at", "extra"):
        table = frame.drop_columns(["at"]) if column == "at" else frame
        table = table.append_column(column, moments)
        for kind, body in ((PARQUET, parquet(table)), (STREAM, stream(table))):
            with within_bounds(binary, open_service):
                status, content, _ = open_service.request("POST", "/predict", body, kind)
            assert status == 422, content
            assert repr(column) in content["detail"]


@pytest.mark.parametrize(
    "moment",
    [
        "+10000-01-01T00:00:00Z",
        "10000-01-01",
        "-0001-01-01",
        "0000-01-01",
        "9999-12-31T23:59:59-10:00",
        "0001-01-01T00:00:00+10:00",
    ],
)
def test_a_moment_in_text_beyond_all_years_is_refused(
    binary: ServedModel, open_service: RunningService, moment: str
) -> None:
    row = {**binary.rows[1], "at": moment}
    csv = pl.DataFrame([row]).write_csv().encode()
    for body, kind in ((row, "application/json"), (csv, "text/csv")):
        status, content, _ = open_service.request("POST", "/predict", body, kind)
        assert status == 422, content
        assert content["errors"][0]["column"] == "at"


def test_csv_is_read_as_the_projects_files_are(binary: ServedModel) -> None:
    csv = pl.DataFrame(binary.rows[:3]).with_columns(kind=pl.lit("NA")).write_csv(separator=";")
    with run_service(
        binary.environment(MLOPS_CSV='{"separator": ";", "null_values": ["NA", "-"]}')
    ) as service:
        status, content, _ = service.request("POST", "/predict", csv.encode(), "text/csv")
        assert status == 200, content
        wanted = service.predict([{**row, "kind": None} for row in binary.rows[:3]])
        assert [{**p, "id": ""} for p in content["predictions"]] == [
            {**w, "id": ""} for w in wanted
        ]
        lines = csv.splitlines()
        short = "\n".join([*lines[:2], lines[2].rpartition(";")[0]]).encode()
        status, content, _ = service.request("POST", "/predict", short, "text/csv")
        assert status == 422
        assert content["errors"][0]["row"] == 1
        assert "fields" in content["errors"][0]["message"]


def test_a_body_without_what_is_needed_keeps_nobody_waiting(
    binary: ServedModel, open_service: RunningService
) -> None:
    other = {f"other_{i}": i for i in range(90)}
    wrong = {**binary.rows[0], "width": "wide", "height": [1], "at": {}}
    good = {"rows": binary.rows[:100]}
    for rows in ([other] * 10_000, [wrong] * 10_000, [{}] * 10_000):
        with within_bounds(binary, open_service):
            status, content, _ = open_service.request("POST", "/predict", rows)
            assert status == 422, content
            assert len(content["errors"]) == 100
            begun = time.monotonic()
            assert open_service.request("POST", "/predict", good)[0] == 200
            assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000_000, "\ud800", 10**400, -(10**400), 1e308, "9" * 5_000, True, [], {"": {}}],
    ids=lambda v: str(v)[:8],
)
@pytest.mark.parametrize("column", ["width", "height", "at", "shop", "kind", "order", "extra"])
def test_no_value_is_a_fault_of_the_service(
    binary: ServedModel, open_service: RunningService, column: str, value: Any
) -> None:
    row = {**binary.rows[1], column: value}
    text = json.dumps([row]).encode()
    double = text.replace(b'"width"', b'"width": 5, "width"')
    for body in (text, double):
        status, content, _ = open_service.request("POST", "/predict", body)
        assert status in {200, 400, 422}, content
        assert len(json.dumps(content)) < 10_000
    csv = io.BytesIO()
    pl.DataFrame({c: [str(v).encode(errors="replace").decode()] for c, v in row.items()}).write_csv(
        csv
    )
    status, content, _ = open_service.request("POST", "/predict", csv.getvalue(), "text/csv")
    assert status in {200, 422}, content


@pytest.mark.parametrize("query", ["", "?explain=true"])
def test_ten_thousand_rows_are_answered_within_bounds(
    binary: ServedModel, open_service: RunningService, query: str
) -> None:
    rows = (binary.rows * 25)[:10_000]
    body = io.BytesIO()
    pl.DataFrame(rows).write_parquet(body)
    with within_bounds(binary, open_service):
        found = [
            open_service.request("POST", f"/predict{query}", *one)
            for one in ((rows,), (body.getvalue(), PARQUET))
        ]
    for status, content, _ in found:
        assert status == 200, content
        assert len(content["predictions"]) == 10_000
    ours, theirs = ([{**p, "id": ""} for p in c["predictions"]] for _, c, _ in found)
    assert ours == theirs


def test_mutated_bodies_break_nothing(binary: ServedModel, open_service: RunningService) -> None:
    report = Campaign(open_service.port, open_service.process.pid, binary.rows[:20]).run(range(250))
    assert not report.faults
    assert open_service.process.poll() is None
    assert report.largest < 512
    assert report.slowest_probe < 5, "a second, where the machine does nothing else"
    assert {200, 400, 422} <= set(report.statuses)
