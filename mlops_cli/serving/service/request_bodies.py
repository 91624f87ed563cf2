"""Rows out of a request's body: JSON, CSV, Arrow, Parquet.

A body is small, and what is made of it may be large. So its rows and values are counted before it
is parsed, larger ones are parsed outside of the event's loop one after the other, and together the
bodies that are at work are no larger than one may be.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.data.json_text import DEEPEST, may_be_deep, measure
from mlops_cli.errors import SourceUnreadable
from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.service.table_process import LONGEST_NAME, WIDEST
from mlops_cli.serving.service.table_reader import TableReader, table_of

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.serving import Format, Limits
    from mlops_cli.serving.row_files import TextOptions

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["ARROW", "KINDS", "SMALL", "Bodies", "json_of"]

ARROW = "application/vnd.apache.arrow.stream"
KINDS: dict[str, tuple[Format, str]] = {
    "application/json": ("json", "rows as objects, one object, or columns as lists"),
    "text/csv": ("csv", "with a header"),
    ARROW: ("arrow", "an Arrow IPC stream"),
    "application/vnd.apache.arrow.file": ("arrow", "an Arrow IPC file"),
    "application/vnd.apache.parquet": ("parquet", "a Parquet file"),
}
"""Content type -> the format that `serve.formats` names, and what it is."""
SMALL = 16_384
"""Bytes of a body up to which it is parsed at once: it can't hold much, whatever it is."""
_PARSED: frozenset[Format] = frozenset({"json", "csv"})
"""Formats that are read in this process; a crash of the others' readers must not end it."""
_BYTES_A_VALUE = 16
"""How many of a body's largest size there must be for each value."""
_OBJECTS_A_ROW = 10
"""Lists and objects for each row that a request may have."""
_UNPACKED = 2
"""How much larger than the largest body a table may be."""


class Bodies:
    """What a service takes as a request's body.

    Parameters
    ----------
    text
        How the project writes CSV.
    """

    def __init__(self, limits: Limits, formats: Sequence[Format], text: TextOptions) -> None:
        self._rows = limits.rows
        self._seconds = limits.seconds
        self._most = int(limits.megabytes * 1e6)
        self._values = max(WIDEST, self._most // _BYTES_A_VALUE)
        self._formats: dict[str, Format] = {
            kind: form for kind, (form, _) in KINDS.items() if form in formats
        }
        self._text = text
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="parse")
        self._tables = TableReader(self._rows, self._values, _UNPACKED * self._most)
        self._room = _Room(self._most)

    @property
    def kinds(self) -> frozenset[str]:
        """The content types that are taken."""
        return frozenset(self._formats)

    async def start(self) -> None:
        """Have everything ready that a first request needs."""
        if not {"arrow", "parquet"}.isdisjoint(self._formats.values()):
            await self._tables.start()

    async def close(self) -> None:
        """Let go of threads and processes."""
        self._parser.shutdown(wait=False, cancel_futures=True)
        await self._tables.close()

    def small(self, body: bytes, kind: str) -> Rows | pl.DataFrame | None:
        """The rows of a small body, at once; None where it takes a while.

        Raises
        ------
        Problem
            As for ``opened``.
        """
        form = self.format_of(kind)
        if len(body) > SMALL or form not in _PARSED:
            return None
        return self._parsed(body, form)

    @asynccontextmanager
    async def opened(self, body: bytes, kind: str) -> AsyncIterator[Rows | pl.DataFrame]:
        """Rows of a body of a content type: a table, or objects where it is JSON.

        Raises
        ------
        Problem
            400 if the body isn't what its type says, 413 if it has too many rows or values, 415 if
            the type is not taken, 422 for rows that can't be, 503 or 504 if too many wait.
        """
        form, small = self.format_of(kind), self.small(body, kind)
        if small is not None:
            yield small
            return
        await self._room.enter(len(body), self._seconds)
        try:
            if form in _PARSED:
                yield await self._aside(self._parsed, body, form)
            else:
                plain = await self._tables.read(body, kind)
                yield await self._aside(self._table, plain)
        finally:
            self._room.leave(len(body))

    async def document(self, body: bytes) -> Any:
        """A JSON document; it raises what ``opened`` does."""
        if len(body) <= SMALL:
            return self._document(body)
        await self._room.enter(len(body), self._seconds)
        try:
            return await self._aside(self._document, body)
        finally:
            self._room.leave(len(body))

    async def _aside(self, call: Any, *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._parser, call, *given)

    def format_of(self, kind: str) -> Format:
        """The format of a content type.

        Raises
        ------
        Problem
            415 if it isn't known, or not taken.
        """
        if kind in self._formats:
            return self._formats[kind]
        taken = ", ".join(sorted(self._formats))
        if kind not in KINDS:
            raise Problem(415, f"the content type {kind[:200]!r} is not known; there are {taken}")
        raise Problem(
            415,
            f"this service doesn't take {kind}, as serve.formats of params.yaml doesn't name "
            f"{KINDS[kind][0]!r}; there are {taken}",
        )

    def _parsed(self, body: bytes, form: Format) -> Rows | pl.DataFrame:
        try:
            return self._json(body) if form == "json" else self._csv(body)
        except (Problem, KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001 - Polars' panics aren't even Exceptions
            raise Problem(400, f"the body is not {form} ({type(error).__name__})") from None

    def _table(self, plain: bytes) -> pl.DataFrame:
        table = table_of(plain, self._rows, self._values)
        self._count(len(table))
        return table

    def _count(self, rows: int) -> None:
        if rows > self._rows:
            raise Problem(413, f"there are {rows} rows, and at most {self._rows} are taken at once")
        if not rows:
            raise Problem(422, "there are no rows to predict")

    # -- JSON --------------------------------------------------------------------------------

    def _json(self, body: bytes) -> Rows:
        rows = self._from_json(self._document(body))
        # A small body has no room for so many.
        if len(body) > SMALL and any(len(row) > WIDEST for row in rows):
            raise Problem(422, f"a row has more than {WIDEST} columns")
        return rows

    def _document(self, body: bytes) -> Any:
        """What a JSON text says, where that isn't too much to keep, and not too deep to look at."""
        if len(body) <= SMALL and not may_be_deep(body):
            return json_of(body)
        size = measure(body)
        if size.values > self._values:
            raise Problem(413, f"there are more than {self._values} values")
        # Each takes as much memory as many values.
        if size.containers > WIDEST + _OBJECTS_A_ROW * self._rows:
            raise Problem(413, f"there are {size.containers} lists and objects")
        if size.depth > DEEPEST:
            raise Problem(422, f"a value is nested deeper than {DEEPEST}")
        return json_of(body)

    def _from_json(self, content: Any) -> Rows:
        if isinstance(content, dict):
            if "rows" in content and isinstance(content["rows"], list):
                content = content["rows"]
            elif "columns" in content and isinstance(content["columns"], dict):
                return self._turned(content["columns"])
            elif "rows" in content or "columns" in content:
                raise Problem(422, "`rows` is a list of objects, and `columns` an object of lists")
            else:
                content = [content]
        if not isinstance(content, list):
            raise Problem(422, "the rows are neither a list nor an object")
        self._count(len(content))
        if set(map(type, content)) - {dict}:
            raise Problem(422, "a row is not an object of column and value")
        return content

    def _turned(self, columns: Mapping[str, Any]) -> Rows:
        """Rows of columns."""
        if not all(isinstance(values, list) for values in columns.values()):
            raise Problem(422, "a column is not a list")
        if len({len(values) for values in columns.values()}) > 1:
            raise Problem(422, "the columns are not of the same length")
        self._count(len(next(iter(columns.values()), ())))
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    # -- CSV ---------------------------------------------------------------------------------

    def _csv(self, body: bytes) -> pl.DataFrame:
        """As text: the types are the model's business."""
        from mlops_cli.serving.row_files import csv_rows

        if body.startswith(csv_rows.PACKED):
            raise Problem(415, "the body is compressed, and text/csv is plain text")
        if body.count(self._text.separator.encode()) > self._values:
            raise Problem(413, f"there are more than {self._values} values")
        try:
            file = csv_rows.of_body(body, self._text)
        except SourceUnreadable as error:
            raise Problem(400, f"the body is not text/csv: {error.message}") from None
        if len(file.names) > WIDEST or max(map(len, file.names)) > LONGEST_NAME:
            raise Problem(
                422, f"at most {WIDEST} columns are taken, with at most {LONGEST_NAME} characters"
            )
        rows = file.count(self._rows + 1)
        if rows > self._rows:
            raise Problem(413, f"there are more rows than {self._rows}, the most at once")
        if rows * len(file.names) > self._values:
            raise Problem(413, f"there are more than {self._values} values")
        taken = file.cursor(0, file.names).take(rows + 1)
        if taken is None:
            raise Problem(422, "there are no rows to predict")
        if taken.broken:
            raise _broken(taken.broken)
        return taken.frame


class _Room:
    """Room for so many bytes at once; who comes first enters first."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int, seconds: float) -> None:
        """Wait until there is room.

        Raises
        ------
        Problem
            504 if there is none for so long.
        """
        if not self._waiting and size <= self._left:
            self._left -= size
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
        """Make room."""
        self._left += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._left -= size
                turn.set_result(None)


def json_of(body: bytes) -> Any:
    """A JSON document.

    Raises
    ------
    Problem
        400 if it isn't one.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error}") from None


def _broken(broken: Sequence[Any]) -> Problem:
    """What is said of lines that are no rows."""
    from mlops_cli.online.request_rows import shorten_value

    errors = [
        {"row": b.row, "column": "", "value": shorten_value(b.given), "message": b.reason}
        for b in broken[:100]
    ]
    first = f"row {broken[0].row}: {broken[0].reason}"
    return Problem(422, f"{len(broken)} rows can't be read, the first: {first}", errors=errors)
