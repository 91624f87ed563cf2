"""The process that reads Arrow and Parquet for the service: `python -m` this module.

Foreign binary formats can end the process that reads them, or unpack to any size. So each body is
read in a fork of this process, with limits of its own. What ends a fork ends nothing else, and what
a body made of its fork's memory doesn't reach the next body. Only plain JSON comes back.

A question on stdin is a ``QUESTION`` and the body; an answer on stdout an ``ANSWER`` and lines of
JSON: ``{"name", "type", "values"}`` of each column, and ``{"status", "detail"}`` at the end.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

    _Writer = Callable[[str, Any], tuple[str, list[Any]]]

__all__ = ["ANSWER", "DAYS", "FORMATS", "LONGEST_NAME", "MOMENTS", "QUESTION", "WIDEST", "main"]

QUESTION = struct.Struct("!BIIII")
"""Format (an index of ``FORMATS``), bytes of the body, most rows, most values, most bytes."""
ANSWER = struct.Struct("!BI")
"""Whether the fork came to an end by itself, and bytes of the JSON."""
FORMATS = (
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.parquet",
)
WIDEST = 10_000
"""Columns of a table."""
LONGEST_NAME = 1_000
"""Characters of a column's name."""
DAYS = (-719_162, 2_932_896)
"""The first day of the year 1 and the last one of 9999, from 1970 on: what Python has, too."""
MOMENTS = (DAYS[0] * 86_400_000_000, (DAYS[1] + 1) * 86_400_000_000 - 1)
"""The same in microseconds."""
_CPU_SECONDS = 1
_SECONDS = 5.0
"""Until a fork is ended that neither works nor answers."""
_MEMORY = 160 << 20
"""Bytes of address space that a fork may take besides what it begins with."""


class RefusedBody(Exception):
    """Why a body isn't taken.

    Parameters
    ----------
    status
        The HTTP status code.
    detail
        One sentence.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def main() -> int:
    """Answer questions until stdin ends."""
    import gc

    # Arrow would load it, if it is there, and needs it for nothing that is done here.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    import pyarrow.compute
    import pyarrow.ipc
    import pyarrow.parquet  # noqa: F401 - once here, and not in each fork

    gc.freeze()
    while len(head := _exactly(0, QUESTION.size)) == QUESTION.size:
        form, size, *limits = QUESTION.unpack(head)
        body = _exactly(0, size)
        if len(body) < size:
            break
        whole, content = _in_fork(body, FORMATS[form], *limits)
        _write(1, ANSWER.pack(whole, len(content)) + content)
    return 0


def _in_fork(body: bytes, form: str, rows: int, values: int, most: int) -> tuple[bool, bytes]:
    """Whether a fork came to its own end, and what it wrote."""
    near, far = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for own in (near, 0, 1):
                os.close(own)
            _limit()
            for line in _answer(body, form, rows, values, most):
                _write(far, line + b"\n")
            code = 0
        finally:
            os._exit(code)
    os.close(far)
    content = bytearray()
    until = time.monotonic() + _SECONDS
    while select.select([near], [], [], max(0.0, until - time.monotonic()))[0]:
        part = os.read(near, 1 << 20)
        content += part
        if not part or len(content) > most + 1_000:
            break
    os.close(near)
    # Dead or alive: its time is over.
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    whole = status == 0 and len(content) <= most + 1_000
    return whole, bytes(content) if whole else b""


def _limit() -> None:
    """Hold this process to its limits: memory, time, files, no core."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - nothing more is loaded here
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(body: bytes, form: str, rows: int, values: int, most: int) -> Iterator[bytes]:
    """A line for each column, and one that says how it ended."""
    import pyarrow as pa

    readers = dict(zip(FORMATS, (_stream, _file, _parquet), strict=True))
    status, detail = 200, ""
    try:
        yield from _lines(readers[form](body, rows, most), values, most)
    except RefusedBody as error:
        status, detail = error.status, error.detail
    except (MemoryError, pa.ArrowMemoryError):
        status, detail = 413, "the body unpacks to more than is taken"
    except Exception as error:  # noqa: BLE001 - readers of foreign formats raise many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        status, detail = 400, f"the body is not {form}: {first[:200]}"
    detail = detail.encode(errors="replace").decode()
    yield orjson.dumps({"status": status, "detail": detail})


# -- reading --------------------------------------------------------------------------------


def _stream(body: bytes, rows: int, most: int) -> Any:
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(use_threads=False)
    reader = pa.ipc.open_stream(pa.py_buffer(body), options=options)
    return _table(reader.schema, iter(reader), rows, most)


def _file(body: bytes, rows: int, most: int) -> Any:
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(use_threads=False)
    reader = pa.ipc.open_file(pa.py_buffer(body), options=options)
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    return _table(reader.schema, batches, rows, most)


def _table(schema: Any, batches: Iterator[Any], rows: int, most: int) -> Any:
    import pyarrow as pa

    _check_schema(schema)
    kept, height, size = [], 0, 0
    for batch in batches:
        height += batch.num_rows
        size += batch.get_total_buffer_size()
        _check_size(height, rows, size, most)
        kept.append(batch)
    return pa.Table.from_batches(kept, schema)


def _parquet(body: bytes, rows: int, most: int) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(body), pre_buffer=False)
    found = file.metadata
    _check_width(found.num_columns)
    groups = [found.row_group(i) for i in range(found.num_row_groups)]
    height = max(found.num_rows, sum(g.num_rows for g in groups))
    _check_size(height, rows, sum(g.total_byte_size for g in groups), most)
    _check_schema(file.schema_arrow)
    return file.read(use_threads=False)


def _check_size(height: int, rows: int, size: int, most: int) -> None:
    if height > rows:
        raise RefusedBody(413, f"there are {height} rows, and at most {rows} are taken at once")
    if size > most:
        raise RefusedBody(413, f"the body unpacks to more than {most / 1e6:g} MB")


def _check_width(width: int) -> None:
    if width > WIDEST:
        raise RefusedBody(422, f"there are {width} columns, and at most {WIDEST} are taken")


def _check_schema(schema: Any) -> None:
    _check_width(len(schema))
    names = set()
    for field in schema:
        name = field.name
        if len(name) > LONGEST_NAME:
            raise RefusedBody(422, f"the name of column {name[:80]!r} has {len(name)} characters")
        if name in names:
            raise RefusedBody(422, f"there are two columns {name!r}")
        names.add(name)
        if _writer(field.type) is None:
            raise RefusedBody(
                422,
                f"column {name!r} is of type {str(field.type)[:80]}, and only numbers, texts, "
                "booleans and moments are taken",
            )


# -- writing --------------------------------------------------------------------------------


def _lines(table: Any, values: int, most: int) -> Iterator[bytes]:
    """A table's columns, in a form that needs no more than a look at each value."""
    import pyarrow as pa

    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        first = str(error).strip().splitlines()[0][:200]
        raise RefusedBody(422, f"a value of the table can't be read: {first}") from None
    if table.num_rows * table.num_columns > values:
        raise RefusedBody(413, f"there are more than {values} values")
    size = 0
    for field, column in zip(table.schema, table.columns, strict=True):
        writer = _writer(field.type)
        assert writer is not None  # noqa: S101 - looked at before anything was read
        kind, plain = writer(field.name, column)
        line = orjson.dumps({"name": field.name, "type": kind, "values": plain})
        size += len(line)
        _check_size(0, 0, size, most)
        yield line


def _writer(dtype: Any) -> _Writer | None:
    """What writes values of a type; None for types that aren't taken, such as nested ones."""
    import pyarrow.types as kinds

    if kinds.is_dictionary(dtype):
        return _dictionary_writer(dtype.value_type)
    texts = (kinds.is_null, kinds.is_string, kinds.is_large_string, kinds.is_string_view)
    bytes_ = (kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view,
              kinds.is_fixed_size_binary)  # fmt: skip
    writers: list[tuple[tuple[Callable[[Any], bool], ...], _Writer]] = [
        (texts, lambda _, c: ("text", c.to_pylist())),
        ((kinds.is_floating,), _floats),
        ((kinds.is_uint64,), lambda _, c: ("unsigned", c.to_pylist())),
        ((kinds.is_integer,), lambda _, c: ("integer", c.to_pylist())),
        ((kinds.is_boolean,), lambda _, c: ("boolean", c.to_pylist())),
        ((kinds.is_timestamp,), _moments),
        ((kinds.is_date,), _dates),
        ((kinds.is_time, kinds.is_duration), _spans),
        ((kinds.is_decimal,), lambda _, c: ("text", [v if v is None else f"{v:f}"
                                                     for v in c.to_pylist()])),
        (bytes_, lambda _, c: ("binary", [v if v is None else b64encode(v).decode()
                                          for v in c.to_pylist()])),
    ]  # fmt: skip
    fitting = (writer for tests, writer in writers if any(fits(dtype) for fits in tests))
    return next(fitting, None)


def _dictionary_writer(dtype: Any) -> _Writer | None:
    import pyarrow.types as kinds

    inner = None if kinds.is_dictionary(dtype) else _writer(dtype)
    if inner is None or kinds.is_string_view(dtype):  # what Arrow can't look up by itself
        return None if inner is None else lambda _, c: ("text", c.to_pylist())
    return lambda name, c: inner(name, c.cast(dtype))


def _floats(_name: str, column: Any) -> tuple[str, list[Any]]:
    """Numbers; as text where JSON has no form for them."""
    import pyarrow as pa

    numbers = column.cast(pa.float64()).to_pylist()
    return "number", [v if v is None or v - v == 0 else repr(v) for v in numbers]


def _moments(name: str, column: Any) -> tuple[str, list[Any]]:
    import pyarrow as pa

    unit, zone = column.type.unit, column.type.tz
    try:
        exact = column.cast(pa.timestamp("us", zone), safe=unit != "ns").cast(pa.int64())
    except pa.ArrowInvalid:
        raise _beyond(name) from None
    _check_range(name, exact, MOMENTS)
    return "clock" if zone is None else "moment", exact.to_pylist()


def _dates(name: str, column: Any) -> tuple[str, list[Any]]:
    import pyarrow as pa

    days = column.cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64())
    _check_range(name, days, DAYS)
    return "date", days.to_pylist()


def _spans(name: str, column: Any) -> tuple[str, list[Any]]:
    """Times of the day and durations, as Python writes them."""
    import pyarrow as pa

    is_time = pa.types.is_time(column.type)
    try:
        exact = column.cast(pa.time64("us") if is_time else pa.duration("us"), safe=False)
        if is_time:
            _check_range(name, exact.cast(pa.int64()), (0, 86_399_999_999))
        return "text", [None if v is None else str(v) for v in exact.to_pylist()]
    except (pa.ArrowInvalid, OverflowError):
        raise _beyond(name) from None


def _check_range(name: str, numbers: Any, limits: tuple[int, int]) -> None:
    import pyarrow.compute as pc

    found = pc.min_max(numbers).as_py()
    if found["min"] is not None and not limits[0] <= found["min"] <= found["max"] <= limits[1]:
        raise _beyond(name)


def _beyond(name: str) -> RefusedBody:
    return RefusedBody(422, f"a moment in column {name!r} lies outside of the years 1 to 9999")


# -- pipes ----------------------------------------------------------------------------------


def _exactly(file: int, size: int) -> bytes:
    """So many bytes; fewer at the end."""
    parts, left = [], size
    while left and (part := os.read(file, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


if __name__ == "__main__":
    sys.exit(main())
