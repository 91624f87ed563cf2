"""Hostile request bodies generated from a seed, and a campaign that sends them to a service.

The same seed makes the same body. A valid body of each format is bent in a few places (bits, bytes,
lengths, splices, cuts), or is a bomb; it is sent as a client would, in chunks, in a pipeline, or by
one that leaves. ``benchmarks/hostile_bodies.py`` sends many of them, the suite some.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import http.client
import io
import json
import random
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

JSON, CSV = "application/json", "text/csv"
STREAM = "application/vnd.apache.arrow.stream"
FILE = "application/vnd.apache.arrow.file"
PARQUET = "application/vnd.apache.parquet"
KINDS = (JSON, CSV, STREAM, FILE, PARQUET)
INTENDED = {503, 504}
"""Allowed statuses from 500 on."""
LENGTHS = [
    b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8, b"\xff" * 7 + b"\x7f", b"\0" * 8,
    b"\x00\x00\x10\x00", b"\xff\xff\xff\xff\x0f",
]  # fmt: skip
TOKENS = [
    b"[" * 70, b"]" * 70, b'{"a":' * 70, b"1e999", b"-0", b"9" * 400, b"null", b"true",
    b'"\\ud800"',
    b'"\\u0000"', b"NaN", b"1" * 5_000, b'"' + b"x" * 70_000 + b'"', b"\xff", b",,", b"{}", b"[]",
    b'"2024-13-45"', b'"9999-12-31T23:59:59-12:00"', b"\xef\xbb\xbf", b"\n", b'"', b";",
    b"\r", b"\0",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes
    ----------
    way
        plain, chunked, pipelined, aborted or alone (on a connection of its own).
    """

    kind: str
    body: bytes
    path: str
    way: str


class Maker:
    """Makes cases from valid rows."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._valid = list(_valid(rows))
        self._bombs = list(_bombs())

    def case(self, seed: int) -> Case:
        """Make the case of a seed."""
        rng = random.Random(seed)  # noqa: S311 - bodies, not secrets
        if rng.random() < 0.01:
            kind, body = rng.choice(self._bombs)
        else:
            kind, body = rng.choice(self._valid)
            body = self._mutate(rng, body, text=kind in {JSON, CSV})
        if rng.random() < 0.03:
            kind = rng.choice([*KINDS, "text/plain", "application/json; charset=x", "x"])
        path = "/predict?explain=true" if rng.random() < 0.05 else "/predict"
        ways = ["plain", "chunked", "pipelined", "aborted", "alone"]
        return Case(kind, body, path, rng.choices(ways, [75, 8, 5, 5, 7])[0])

    def _mutate(self, rng: random.Random, body: bytes, *, text: bool) -> bytes:
        bent = bytearray(body)
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 8])):
            place, way = rng.randrange(len(bent) + 1), rng.random()
            if text and way < 0.5:
                bent[place : place + rng.choice([0, 1, 3])] = rng.choice(TOKENS)
            elif way < 0.6 and place < len(bent):
                bent[place] ^= 1 << rng.randrange(8)
            elif way < 0.75 and place < len(bent):
                bent[place] = rng.choice([0, 1, 127, 128, 255])
            elif way < 0.85:
                length = rng.choice(LENGTHS)
                bent[place : place + len(length)] = length
            elif way < 0.93:
                other = rng.choice(self._valid)[1]
                begin = rng.randrange(len(other))
                bent[place : place + rng.choice([0, 64])] = other[begin : begin + 64]
            else:
                del bent[place:]
            if not bent:
                break
        return bytes(bent)


def _valid(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Valid bodies in every format and encoding."""
    frame = pl.DataFrame(rows)
    frame = frame.with_columns(
        moment=pl.lit("2024-05-01T00:00:00").str.to_datetime(time_zone="UTC"),
        flag=pl.lit(value=True), day=pl.lit("2024-05-01").str.to_date(),
        cents=pl.lit("1.50").cast(pl.Decimal(10, 2)), raw=pl.lit(b"\xff"),
        town=pl.col(frame.columns[-1]).cast(pl.Categorical),
    )  # fmt: skip
    columns = {c: [row[c] for row in rows] for c in rows[0]}
    for content in (rows, {"rows": rows}, rows[0], {"columns": columns}):
        yield JSON, json.dumps(content).encode()
    yield CSV, pl.DataFrame(rows).write_csv().encode()
    yield CSV, pl.DataFrame(rows).write_csv(quote_style="always").encode()
    for compression in ("uncompressed", "zstd", "lz4"):
        for kind, write in ((STREAM, frame.write_ipc_stream), (FILE, frame.write_ipc)):
            body = io.BytesIO()
            write(body, compression=compression)
            yield kind, body.getvalue()
    table = frame.to_arrow()
    for options in (
        *({"compression": c} for c in ("none", "snappy", "zstd", "gzip", "brotli", "lz4")),
        {"use_dictionary": False, "data_page_version": "2.0"},
        {"use_dictionary": False, "compression": "none", "row_group_size": 3},
    ):
        body = io.BytesIO()
        pq.write_table(table, body, **options)
        yield PARQUET, body.getvalue()


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Decompression bombs."""
    zeros = pa.table({"a": np.zeros(50_000_000, np.int8)})
    dtype: pa.DataType = pa.int64()
    for _ in range(600):
        dtype = pa.struct([("a", dtype)])
    for table in (
        zeros,
        pa.table({"a": pa.nulls(100_000_000)}),
        pa.table({"a": pa.nulls(2, dtype)}),
    ):
        body = io.BytesIO()
        pq.write_table(table, body)
        yield PARQUET, body.getvalue()
    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * 9_000, pa.int32()), pa.array(["x" * 10**6])
    )
    for table in (zeros, pa.table({"a": text}), pa.table({"a": pa.nulls(10**9)})):
        body = io.BytesIO()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(body, table.schema, options=options) as writer:
            writer.write_table(table)
        yield STREAM, body.getvalue()
    yield CSV, gzip.compress(b"a\n" + b"1\n" * 5_000_000, 1)
    yield CSV, zlib.compress(b"a\n" + b"1\n" * 1_000_000)
    yield CSV, b"a,b\n" + b",\n" * 1_000_000
    yield JSON, b'{"columns":{"a":[' + b"1," * 7_000_000 + b"1]}}"
    yield JSON, b"[" + b"{}," * 2_000_000 + b"{}]"
    yield JSON, b'{"a":' * 100_000
    yield JSON, b"[" * 1_000_000


@dataclass
class Report:
    """Results of a campaign."""

    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)
    slowest_probe: float = 0.0
    largest: float = 0.0
    """Megabytes of the service's own process."""
    largest_with_children: float = 0.0
    aborted: int = 0


class Campaign:
    """Sends cases to a running service.

    Parameters
    ----------
    rows
        Whose answers are the same before, between and afterwards.
    """

    def __init__(self, port: int, pid: int, rows: Sequence[dict[str, Any]]) -> None:
        self._port, self._pid, self._rows = port, pid, rows
        self._maker = Maker(rows)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.report = Report()

    def run(self, seeds: Sequence[int], jobs: int = 3) -> Report:
        """Send the cases of seeds."""
        expected = self._predictions()
        prober = threading.Thread(target=self._probe)
        prober.start()
        threads = [
            threading.Thread(
                target=self._send, args=(seeds[job::jobs], expected if job == 0 else None)
            )
            for job in range(jobs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._ended.set()
        prober.join()
        if self._predictions() != expected:
            self._add_fault("known rows are answered differently afterwards")
        until = time.monotonic() + 10
        while (left := _connections(self._port)) and time.monotonic() < until:
            time.sleep(0.2)
        if left:
            self._add_fault(f"{left} connections were left behind")
        return self.report

    def _send(self, seeds: Sequence[int], expected: Any) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        for number, seed in enumerate(seeds):
            case = self._maker.case(seed)
            if case.way in {"alone", "pipelined", "aborted"}:
                self._send_raw(seed, case)
                continue
            try:
                self._send_case(connection, case)
            except (OSError, http.client.HTTPException):
                connection.close()
                # A kept connection may end between two requests; a new one may not.
                try:
                    self._send_case(connection, case)
                except (OSError, http.client.HTTPException) as error:
                    self._add_fault(f"seed {seed}: no answer to {case.kind}, {case.way}: {error!r}")
                    connection.close()
            if expected is not None and number % 200 == 0 and self._predictions() != expected:
                self._add_fault(f"seed {seed}: known rows are answered differently")
        connection.close()

    def _send_case(self, connection: http.client.HTTPConnection, case: Case) -> None:
        parts = [case.body[i : i + 1_000] for i in range(0, len(case.body), 1_000)]
        chunked = case.way == "chunked" and len(parts) < 1_000
        content: Any = iter(parts) if chunked else case.body
        headers = {"content-type": case.kind}
        with contextlib.suppress(BrokenPipeError):  # refused while it was sent: there is an answer
            connection.request("POST", case.path, content, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        answer.read()
        self._count_status(answer.status, case)

    def _send_raw(self, seed: int, case: Case) -> None:
        """Send raw bytes: one request, two at once, or half of one."""
        close = b"" if case.way == "pipelined" else b"connection: close\r\n"
        head = (
            f"POST {case.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {case.kind}\r\n"
            f"content-length: {len(case.body)}\r\n"
        ).encode()
        one = head + close + b"\r\n" + case.body
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=60) as client:
                if case.way == "aborted":
                    client.sendall(one[: len(one) // 2] if seed % 2 else one)
                    self.report.aborted += 1
                    return
                again = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(one + (again if case.way == "pipelined" else b""))
                answer = http.client.HTTPResponse(client, method="POST")
                answer.begin()
                answer.read()
                self._count_status(answer.status, case)
        except (OSError, http.client.HTTPException) as error:
            self._add_fault(f"seed {seed}: no answer to {case.kind}, {case.way}: {error!r}")

    def _count_status(self, status: int, case: Case) -> None:
        with self._lock:
            self.report.statuses[status] += 1
        if status >= 500 and status not in INTENDED:
            self._add_fault(f"{status} to {case.kind}, {case.way}: {case.body[:60]!r}")

    def _add_fault(self, text: str) -> None:
        with self._lock:
            self.report.faults.append(text)

    def _predictions(self) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        body = json.dumps({"rows": self._rows})
        connection.request("POST", "/predict", body, {"content-type": JSON})
        content = json.load(connection.getresponse())
        connection.close()
        return [{**p, "id": ""} for p in content["predictions"]]

    def _probe(self) -> None:
        """Call /livez repeatedly, and measure the memory."""
        while not self._ended.is_set():
            begun = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
                connection.request("GET", "/livez")
                connection.getresponse().read()
                connection.close()
            except (OSError, http.client.HTTPException) as error:
                self._add_fault(f"/livez: {error!r}")
            spent = time.monotonic() - begun
            self.report.slowest_probe = max(self.report.slowest_probe, spent)
            with contextlib.suppress(OSError):  # a fork that has just ended
                own, all_ = _resident(self._pid, deep=False), _resident(self._pid, deep=True)
                self.report.largest = max(self.report.largest, own)
                self.report.largest_with_children = max(self.report.largest_with_children, all_)
            time.sleep(0.03)


def _resident(pid: int, *, deep: bool) -> float:
    """Megabytes of a process and its children; shared pages of forks count once for each."""
    megabytes = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    if deep:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        megabytes += sum(_resident(int(child), deep=True) for child in children)
    return megabytes


def _connections(port: int) -> int:
    """Number of open connections to a port, without those in TIME_WAIT."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    states = [line.split()[3] for line in lines if line.split()[1].endswith(f":{port:04X}")]
    return sum(state in {"01", "08", "04", "05", "09", "0B"} for state in states)
