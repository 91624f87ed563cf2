"""Parses request bodies into rows: JSON, CSV, Arrow, Parquet.

A small body can expand to much more memory. So rows and values are counted before a body is parsed,
larger bodies are parsed one after the other outside of the event loop's thread, and all bodies that
are being parsed are together no larger than the limit of one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.data.json_text import MAX_DEPTH, may_be_deep, measure
from mlops_cli.errors import SourceUnreadable
from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.service.table_process import MAX_COLUMNS, MAX_NAME_LENGTH
from mlops_cli.serving.service.table_reader import TableReader, table_of

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.serve import Format, Limits
    from mlops_cli.serving.row_files import TextOptions

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["ARROW", "CONTENT_TYPES", "SMALL_BYTES", "Bodies", "json_of"]

ARROW = "application/vnd.apache.arrow.stream"
CONTENT_TYPES: dict[str, tuple[Format, str]] = {
    "application/json": ("json", "rows as objects, one object, or columns as lists"),
    "text/csv": ("csv", "with a header"),
    ARROW: ("arrow", "an Arrow IPC stream"),
    "application/vnd.apache.arrow.file": ("arrow", "an Arrow IPC file"),
    "application/vnd.apache.parquet": ("parquet", "a Parquet file"),
}
"""Content type -> its format in `serve.formats`, and a description."""
SMALL_BYTES = 16_384
"""Bytes up to which a body is parsed in the event loop: it can't hold much, whatever it is."""
_IN_PROCESS: frozenset[Format] = frozenset({"json", "csv"})
"""Formats that are parsed in this process; a crash in the others' parsers must not end it."""
_BYTES_A_VALUE = 16
"""Divisor of the body limit in bytes: the result is the most values of a body."""
_OBJECTS_A_ROW = 10
"""Lists and objects of a body that are allowed for each row of the row limit."""
_TABLE_GROWTH = 2
"""Size of a table's plain form, as a multiple of the body limit."""


class Bodies:
    """Parser of request bodies, with the service's limits and formats.

    Parameters
    ----------
    text_options
        The project's CSV dialect.
    """

    def __init__(
        self, limits: Limits, formats: Sequence[Format], text_options: TextOptions
    ) -> None:
        self._max_rows = limits.rows
        self._seconds = limits.seconds
        self._max_bytes = int(limits.megabytes * 1e6)
        self._max_values = max(MAX_COLUMNS, self._max_bytes // _BYTES_A_VALUE)
        self._formats: dict[str, Format] = {
            kind: form for kind, (form, _) in CONTENT_TYPES.items() if form in formats
        }
        self._text = text_options
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parse")
        self._tables = TableReader(
            self._max_rows, self._max_values, _TABLE_GROWTH * self._max_bytes
        )
        self._bytes = _ByteSemaphore(self._max_bytes)

    @property
    def content_types(self) -> frozenset[str]:
        """The accepted content types."""
        return frozenset(self._formats)

    async def start(self) -> None:
        """Start what the first request needs, the table reader's process."""
        if not {"arrow", "parquet"}.isdisjoint(self._formats.values()):
            await self._tables.start()

    async def close(self) -> None:
        """Stop the threads and processes."""
        self._parser.shutdown(wait=False, cancel_futures=True)
        await self._tables.close()

    def parse_small(self, body: bytes, content_type: str) -> Rows | pl.DataFrame | None:
        """Parse a small body at once; None if parsing may take longer.

        Raises
        ------
        Problem
            As for ``parse``.
        """
        form = self.format_of(content_type)
        if len(body) > SMALL_BYTES or form not in _IN_PROCESS:
            return None
        return self._parse(body, form)

    @asynccontextmanager
    async def parse(self, body: bytes, content_type: str) -> AsyncIterator[Rows | pl.DataFrame]:
        """Parse a body of a content type: to a table, or to objects if it is JSON.

        Raises
        ------
        Problem
            400 if the body doesn't match its content type, 413 if it has too many rows or values,
            415 if the type isn't accepted, 422 for invalid rows, 503 or 504 if too many bodies
            wait.
        """
        form, small = self.format_of(content_type), self.parse_small(body, content_type)
        if small is not None:
            yield small
            return
        await self._bytes.enter(len(body), self._seconds)
        try:
            if form in _IN_PROCESS:
                yield await self._in_parser_thread(self._parse, body, form)
            else:
                plain = await self._tables.read(body, content_type)
                yield await self._in_parser_thread(self._parse_table, plain)
        finally:
            self._bytes.leave(len(body))

    async def parse_document(self, body: bytes) -> Any:
        """Parse a JSON document; see ``parse`` for what it raises."""
        if len(body) <= SMALL_BYTES:
            return self._parse_json(body)
        await self._bytes.enter(len(body), self._seconds)
        try:
            return await self._in_parser_thread(self._parse_json, body)
        finally:
            self._bytes.leave(len(body))

    async def _in_parser_thread(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._parser, call, *arguments)

    def format_of(self, content_type: str) -> Format:
        """The format of a content type.

        Raises
        ------
        Problem
            415 if it is unknown or not accepted.
        """
        if content_type in self._formats:
            return self._formats[content_type]
        accepted = ", ".join(sorted(self._formats))
        if content_type not in CONTENT_TYPES:
            raise Problem(
                415, f"the content type {content_type[:200]!r} is not known; there are {accepted}"
            )
        raise Problem(
            415,
            f"this service doesn't take {content_type}, as serve.formats of params.yaml doesn't "
            f"name {CONTENT_TYPES[content_type][0]!r}; there are {accepted}",
        )

    def _parse(self, body: bytes, form: Format) -> Rows | pl.DataFrame:
        try:
            return self._json_rows(body) if form == "json" else self._csv_table(body)
        except (Problem, KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - Polars' panics aren't even Exceptions
            raise Problem(400, f"the body is not {form} ({type(error).__name__})") from None

    def _parse_table(self, plain: bytes) -> pl.DataFrame:
        table = table_of(plain, self._max_rows, self._max_values)
        self._check_count(len(table))
        return table

    def _check_count(self, rows: int) -> None:
        if rows > self._max_rows:
            raise Problem(
                413, f"there are {rows} rows, and at most {self._max_rows} are taken at once"
            )
        if not rows:
            raise Problem(422, "there are no rows to predict")

    # -- JSON --------------------------------------------------------------------------------

    def _json_rows(self, body: bytes) -> Rows:
        rows = self._rows_of_document(self._parse_json(body))
        # A small body can't have that many columns.
        if len(body) > SMALL_BYTES and any(len(row) > MAX_COLUMNS for row in rows):
            raise Problem(422, f"a row has more than {MAX_COLUMNS} columns")
        return rows

    def _parse_json(self, body: bytes) -> Any:
        """Parse JSON, unless it has too many values or is nested too deeply."""
        if len(body) <= SMALL_BYTES and not may_be_deep(body):
            return json_of(body)
        size = measure(body)
        if size.values > self._max_values:
            raise Problem(413, f"there are more than {self._max_values} values")
        # A list or object takes as much memory as many values.
        if size.containers > MAX_COLUMNS + _OBJECTS_A_ROW * self._max_rows:
            raise Problem(413, f"there are {size.containers} lists and objects")
        if size.depth > MAX_DEPTH:
            raise Problem(422, f"a value is nested deeper than {MAX_DEPTH}")
        return json_of(body)

    def _rows_of_document(self, content: Any) -> Rows:
        if isinstance(content, dict):
            if "rows" in content and isinstance(content["rows"], list):
                content = content["rows"]
            elif "columns" in content and isinstance(content["columns"], dict):
                return self._transpose(content["columns"])
            elif "rows" in content or "columns" in content:
                raise Problem(422, "`rows` is a list of objects, and `columns` an object of lists")
            else:
                content = [content]
        if not isinstance(content, list):
            raise Problem(422, "the rows are neither a list nor an object")
        self._check_count(len(content))
        if set(map(type, content)) - {dict}:
            raise Problem(422, "a row is not an object of column and value")
        return content

    def _transpose(self, columns: Mapping[str, Any]) -> Rows:
        """Turn columns into rows."""
        if not all(isinstance(values, list) for values in columns.values()):
            raise Problem(422, "a column is not a list")
        if len({len(values) for values in columns.values()}) > 1:
            raise Problem(422, "the columns are not of the same length")
        self._check_count(len(next(iter(columns.values()), ())))
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    # -- CSV ---------------------------------------------------------------------------------

    def _csv_table(self, body: bytes) -> pl.DataFrame:
        """Parse CSV, with all values as text: the model's schema types them."""
        from mlops_cli.serving.row_files import csv_rows

        if body.startswith(csv_rows.COMPRESSED_PREFIXES):
            raise Problem(415, "the body is compressed, and text/csv is plain text")
        if body.count(self._text.separator.encode()) > self._max_values:
            raise Problem(413, f"there are more than {self._max_values} values")
        try:
            file = csv_rows.open_body(body, self._text)
        except SourceUnreadable as error:
            raise Problem(400, f"the body is not text/csv: {error.message}") from None
        if len(file.names) > MAX_COLUMNS or max(map(len, file.names)) > MAX_NAME_LENGTH:
            raise Problem(
                422,
                f"at most {MAX_COLUMNS} columns are taken, with at most "
                f"{MAX_NAME_LENGTH} characters",
            )
        rows = file.count(self._max_rows + 1)
        if rows > self._max_rows:
            raise Problem(413, f"there are more rows than {self._max_rows}, the most at once")
        if rows * len(file.names) > self._max_values:
            raise Problem(413, f"there are more than {self._max_values} values")
        chunk = file.cursor(0, file.names).read_batch(rows + 1)
        if chunk is None:
            raise Problem(422, "there are no rows to predict")
        if chunk.broken:
            raise _broken_rows(chunk.broken)
        return chunk.frame


class _ByteSemaphore:
    """Semaphore that counts bytes, first come, first served."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int, seconds: float) -> None:
        """Wait until ``size`` bytes are free, and take them.

        Raises
        ------
        Problem
            504 if that takes longer than ``seconds``.
        """
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(size)
            else:
                self._waiting.remove((size, turn))
                self._admit()
            if isinstance(error, TimeoutError):
                detail = f"the request was not read in {seconds:g} s"
                raise Problem(504, detail, {"retry-after": "1"}) from None
            raise

    def leave(self, size: int) -> None:
        """Free ``size`` bytes."""
        self._free += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


def json_of(body: bytes) -> Any:
    """Parse a JSON document.

    Raises
    ------
    Problem
        400 if it isn't one.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def _broken_rows(broken: Sequence[Any]) -> Problem:
    """422: lines of a CSV body aren't rows."""
    from mlops_cli.online.request_rows import shorten_value

    errors = [
        {"row": b.row, "column": "", "value": shorten_value(b.content), "message": b.reason}
        for b in broken[:100]
    ]
    first = f"row {broken[0].row}: {broken[0].reason}"
    return Problem(422, f"{len(broken)} rows can't be read, the first: {first}", errors=errors)
