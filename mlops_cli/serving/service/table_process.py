"""Isolated process that parses Arrow and Parquet bodies: `python -m` this module.

A body in these binary formats can crash its parser, or unpack to any size. So each body is parsed
in a fork of this process, with resource limits of its own. A crash ends only the fork, and a body
that corrupts its fork's memory can't affect the next body. Only plain JSON comes back.

A request on stdin is a ``QUESTION`` header and the body. A response on stdout is an ``ANSWER``
header and lines of JSON: ``{"name", "type", "values"}`` for each column, then ``{"status",
"detail"}``.
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

__all__ = [
    "ANSWER",
    "DAY_RANGE",
    "FORMATS",
    "MAX_COLUMNS",
    "MAX_NAME_LENGTH",
    "MICROSECOND_RANGE",
    "QUESTION",
    "main",
]

QUESTION = struct.Struct("!BIIII")
"""Format (an index of ``FORMATS``), bytes of the body; limits of rows, values and bytes."""
ANSWER = struct.Struct("!BI")
"""Whether the fork completed, and bytes of the JSON."""
FORMATS = (
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.parquet",
)
MAX_COLUMNS = 10_000
"""Most columns of a table."""
MAX_NAME_LENGTH = 1_000
"""Most characters of a column's name."""
DAY_RANGE = (-719_162, 2_932_896)
"""First day of year 1 and last day of 9999, in days since 1970: the range of Python's dates."""
MICROSECOND_RANGE = (DAY_RANGE[0] * 86_400_000_000, (DAY_RANGE[1] + 1) * 86_400_000_000 - 1)
"""The same in microseconds."""
_CPU_SECONDS = 1
_WALL_SECONDS = 5.0
"""Seconds until a fork is killed that neither responds nor uses CPU time."""
_FORK_BYTES = 160 << 20
"""Bytes of address space that a fork may allocate in addition to what it starts with."""


class RefusedBody(Exception):
    """The reason why a body is refused.

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
    """Process requests until stdin ends."""
    import gc

    # Arrow would load pandas if it is installed, and doesn't need it here.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    import pyarrow.compute
    import pyarrow.ipc
    import pyarrow.parquet  # noqa: F401 - loaded once here, not in each fork

    gc.freeze()
    while len(head := _read_exactly(0, QUESTION.size)) == QUESTION.size:
        form, size, *limits = QUESTION.unpack(head)
        body = _read_exactly(0, size)
        if len(body) < size:
            break
        completed, content = _in_fork(body, FORMATS[form], *limits)
        _write_all(1, ANSWER.pack(completed, len(content)) + content)
    return 0


def _in_fork(body: bytes, form: str, rows: int, values: int, max_bytes: int) -> tuple[bool, bytes]:
    """Parse a body in a fork; returns whether the fork completed, and its output."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for inherited in (read_end, 0, 1):
                os.close(inherited)
            _set_limits()
            for line in _response_lines(body, form, rows, values, max_bytes):
                _write_all(write_end, line + b"\n")
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    content = bytearray()
    deadline = time.monotonic() + _WALL_SECONDS
    while select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(read_end, 1 << 20)
        content += part
        if not part or len(content) > max_bytes + 1_000:
            break
    os.close(read_end)
    # Killed in any case, as it may hang.
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    completed = status == 0 and len(content) <= max_bytes + 1_000
    return completed, bytes(content) if completed else b""


def _set_limits() -> None:
    """Set resource limits of this process: memory, CPU time, no file writes, no core dump."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib isn't needed otherwise
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _FORK_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _response_lines(
    body: bytes, form: str, rows: int, values: int, max_bytes: int
) -> Iterator[bytes]:
    """JSON lines of a body: one for each column, and a last one with the status."""
    import pyarrow as pa

    readers = dict(zip(FORMATS, (_read_stream, _read_file, _read_parquet), strict=True))
    status, detail = 200, ""
    try:
        yield from _column_lines(readers[form](body, rows, max_bytes), values, max_bytes)
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


def _read_stream(body: bytes, rows: int, max_bytes: int) -> Any:
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(use_threads=False)
    reader = pa.ipc.open_stream(pa.py_buffer(body), options=options)
    return _read_table(reader.schema, iter(reader), rows, max_bytes)


def _read_file(body: bytes, rows: int, max_bytes: int) -> Any:
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(use_threads=False)
    reader = pa.ipc.open_file(pa.py_buffer(body), options=options)
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    return _read_table(reader.schema, batches, rows, max_bytes)


def _read_table(schema: Any, batches: Iterator[Any], rows: int, max_bytes: int) -> Any:
    import pyarrow as pa

    _check_schema(schema)
    parts, height, size = [], 0, 0
    for batch in batches:
        height += batch.num_rows
        size += batch.get_total_buffer_size()
        _check_size(height, rows, size, max_bytes)
        parts.append(batch)
    return pa.Table.from_batches(parts, schema)


def _read_parquet(body: bytes, rows: int, max_bytes: int) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(body), pre_buffer=False)
    metadata = file.metadata
    _check_width(metadata.num_columns)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    height = max(metadata.num_rows, sum(g.num_rows for g in groups))
    _check_size(height, rows, sum(g.total_byte_size for g in groups), max_bytes)
    _check_schema(file.schema_arrow)
    return file.read(use_threads=False)


def _check_size(height: int, rows: int, size: int, max_bytes: int) -> None:
    if height > rows:
        raise RefusedBody(413, f"there are {height} rows, and at most {rows} are taken at once")
    if size > max_bytes:
        raise RefusedBody(413, f"the body unpacks to more than {max_bytes / 1e6:g} MB")


def _check_width(width: int) -> None:
    if width > MAX_COLUMNS:
        raise RefusedBody(422, f"there are {width} columns, and at most {MAX_COLUMNS} are taken")


def _check_schema(schema: Any) -> None:
    _check_width(len(schema))
    names = set()
    for field in schema:
        name = field.name
        if len(name) > MAX_NAME_LENGTH:
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


def _column_lines(table: Any, values: int, max_bytes: int) -> Iterator[bytes]:
    """A table's columns as lines of plain JSON, which are easy to check value by value."""
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
        assert writer is not None  # noqa: S101 - the schema was checked before
        kind, plain = writer(field.name, column)
        line = orjson.dumps({"name": field.name, "type": kind, "values": plain})
        size += len(line)
        _check_size(0, 0, size, max_bytes)
        yield line


def _writer(dtype: Any) -> _Writer | None:
    """The writer for values of a type; None for unsupported types, such as nested ones."""
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
        ((kinds.is_time, kinds.is_duration), _times),
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
    if inner is None or kinds.is_string_view(dtype):  # Arrow can't cast a dictionary of these
        return None if inner is None else lambda _, c: ("text", c.to_pylist())
    return lambda name, c: inner(name, c.cast(dtype))


def _floats(_name: str, column: Any) -> tuple[str, list[Any]]:
    """Numbers; NaN and infinities as text, as JSON doesn't have them."""
    import pyarrow as pa

    numbers = column.cast(pa.float64()).to_pylist()
    return "number", [v if v is None or v - v == 0 else repr(v) for v in numbers]


def _moments(name: str, column: Any) -> tuple[str, list[Any]]:
    import pyarrow as pa

    unit, zone = column.type.unit, column.type.tz
    try:
        exact = column.cast(pa.timestamp("us", zone), safe=unit != "ns").cast(pa.int64())
    except pa.ArrowInvalid:
        raise _out_of_range(name) from None
    _check_range(name, exact, MICROSECOND_RANGE)
    return "clock" if zone is None else "moment", exact.to_pylist()


def _dates(name: str, column: Any) -> tuple[str, list[Any]]:
    import pyarrow as pa

    days = column.cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64())
    _check_range(name, days, DAY_RANGE)
    return "date", days.to_pylist()


def _times(name: str, column: Any) -> tuple[str, list[Any]]:
    """Times of the day and durations, as text in Python's format."""
    import pyarrow as pa

    is_time = pa.types.is_time(column.type)
    try:
        exact = column.cast(pa.time64("us") if is_time else pa.duration("us"), safe=False)
        if is_time:
            _check_range(name, exact.cast(pa.int64()), (0, 86_399_999_999))
        return "text", [None if v is None else str(v) for v in exact.to_pylist()]
    except (pa.ArrowInvalid, OverflowError):
        raise _out_of_range(name) from None


def _check_range(name: str, numbers: Any, limits: tuple[int, int]) -> None:
    import pyarrow.compute as pc

    bounds = pc.min_max(numbers).as_py()
    if bounds["min"] is not None and not limits[0] <= bounds["min"] <= bounds["max"] <= limits[1]:
        raise _out_of_range(name)


def _out_of_range(name: str) -> RefusedBody:
    return RefusedBody(422, f"a moment in column {name!r} lies outside of the years 1 to 9999")


# -- pipes ----------------------------------------------------------------------------------


def _read_exactly(file: int, size: int) -> bytes:
    """Read ``size`` bytes; fewer at the end of the file."""
    parts, left = [], size
    while left and (part := os.read(file, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


if __name__ == "__main__":
    sys.exit(main())
