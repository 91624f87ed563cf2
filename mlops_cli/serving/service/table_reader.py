"""Reads Arrow and Parquet bodies as tables, in a process that may crash (`table_process`)."""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.service.table_process import (
    ANSWER,
    DAY_RANGE,
    FORMATS,
    MAX_COLUMNS,
    MICROSECOND_RANGE,
    QUESTION,
)

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FORMATS", "TableReader", "table_of"]

_TIMEOUT = 10.0
"""Seconds until the process itself is replaced; before that, it ends a fork that takes too long."""
_MAX_WAITING = 32
"""Bodies that may wait for the process."""
_REFUSALS = {400, 413, 422}


class TableReader:
    """Client of the process, which is started on demand and again after it ended.

    Parameters
    ----------
    max_rows, max_values, max_bytes
        Limits of a table: rows, values, and bytes of its plain form.
    """

    def __init__(self, max_rows: int, max_values: int, max_bytes: int) -> None:
        self._limits = max_rows, max_values, max_bytes
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._waiting = 0

    @property
    def pid(self) -> int | None:
        """The id of the process, if it was started."""
        return None if self._process is None else self._process.pid

    async def read(self, body: bytes, content_type: str) -> bytes:
        """Parse a body to the table's plain form, for ``table_of``.

        Raises
        ------
        Problem
            400, 413 or 422 if the body doesn't match its content type or is too large; 503 if too
            many bodies wait.
        """
        if self._waiting >= _MAX_WAITING:
            raise Problem(503, "too many tables are waiting to be read", {"retry-after": "1"})
        self._waiting += 1
        try:
            async with self._lock:
                # Tried twice: a process that ended between two bodies is no fault of either.
                response = await self._send(body, content_type)
                if response is None:
                    response = await self._send(body, content_type)
                ok, content = response or (False, b"")
        finally:
            self._waiting -= 1
        if not ok:
            raise Problem(
                400, f"the body is not {content_type}: its reader ended, or took too long"
            )
        return content

    async def start(self) -> None:
        """Start the process before it is needed."""
        async with self._lock:
            await self._ensure_running()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _send(self, body: bytes, form: str) -> tuple[bool, bytes] | None:
        """Send a body to the process; its response, or None if the process was gone."""
        process = await self._ensure_running()
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await self._exchange(process, body, form)
        except (TimeoutError, ValueError):
            await self.close()
            return False, b""
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return None
        except BaseException:
            # The client is gone: its response would be read as that to the next body.
            await asyncio.shield(self.close())
            raise

    async def _exchange(
        self, process: asyncio.subprocess.Process, body: bytes, form: str
    ) -> tuple[bool, bytes]:
        assert process.stdin is not None  # noqa: S101 - pipes
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(QUESTION.pack(FORMATS.index(form), len(body), *self._limits))
        process.stdin.write(body)
        await process.stdin.drain()
        completed, size = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
        if size > self._limits[2] + 1_000:
            raise ValueError(size)
        return bool(completed), await process.stdout.readexactly(size)

    async def _ensure_running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-s", "-P", "-m", "mlops_cli.serving.service.table_process",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                # The parsers' error messages may contain values of a payload.
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True, cwd="/", env=_environment(),
            )  # fmt: skip
        return self._process


def table_of(content: bytes, max_rows: int, max_values: int) -> pl.DataFrame:
    """Build a table from its plain form, which is untrusted input.

    Raises
    ------
    Problem
        With the status of the process if it refused the body; 400 for an invalid response.
    """
    import polars as pl

    from mlops_cli.data.column_types import table_of

    *lines, last = content.removesuffix(b"\n").split(b"\n", MAX_COLUMNS + 1)
    try:
        end = orjson.loads(last)
        if end["status"] in _REFUSALS:
            raise Problem(int(end["status"]), str(end["detail"])[:1_000])
        if end["status"] == 200:  # noqa: PLR2004 - OK
            return table_of(list(_columns(lines, max_rows, max_values)))
    # The process parsed an untrusted body, so its output may be anything.
    except (ArithmeticError, LookupError, TypeError, ValueError, pl.exceptions.PolarsError):
        pass
    raise Problem(400, "the body can't be read as a table")


def _columns(lines: list[bytes], rows: int, values: int) -> Iterator[pl.Series]:
    height: int | None = None
    for line in lines:
        column = orjson.loads(line)
        cells = column["values"]
        height = len(cells) if height is None else height
        if not isinstance(cells, list) or len(cells) != height:
            raise ValueError(height)
        if height > rows or height * len(lines) > values:
            raise ValueError(height)
        yield _column(str(column["name"]), column["type"], cells)


def _column(name: str, kind: str, values: list[Any]) -> pl.Series:
    import polars as pl

    if kind == "number":
        values = [float(v) if isinstance(v, str) else v for v in values]
    elif kind == "binary":
        values = [None if v is None else b64decode(v) for v in values]
    elif kind in {"date", "moment", "clock"}:
        low, high = DAY_RANGE if kind == "date" else MICROSECOND_RANGE
        if any(v is not None and not low <= v <= high for v in values):
            raise ValueError(name)
    stored, final = {
        "text": (pl.String(), pl.String()),
        "number": (pl.Float64(), pl.Float64()),
        "integer": (pl.Int64(), pl.Int64()),
        "unsigned": (pl.UInt64(), pl.UInt64()),
        "boolean": (pl.Boolean(), pl.Boolean()),
        "binary": (pl.Binary(), pl.Binary()),
        "date": (pl.Int32(), pl.Date()),
        "moment": (pl.Int64(), pl.Datetime("us", "UTC")),
        "clock": (pl.Int64(), pl.Datetime("us")),
    }[kind]
    column = pl.Series(name, values, dtype=stored, strict=True)
    return column if stored == final else column.cast(final)


def _environment() -> dict[str, str]:
    """Environment of the process: what it needs to find its modules, and no secrets."""
    return {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "LANG": "C.UTF-8",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        # A malloc arena for each thread would use up a fork's memory limit.
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
