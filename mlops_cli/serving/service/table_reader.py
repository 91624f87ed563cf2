"""Arrow and Parquet as tables, by way of a process that may die of them (`table_process`)."""

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
from mlops_cli.serving.service.table_process import ANSWER, DAYS, FORMATS, MOMENTS, QUESTION, WIDEST

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FORMATS", "TableReader", "table_of"]

_SECONDS = 10.0
"""Until the process itself is replaced; it ends what takes long by itself before that."""
_WAITING = 32
"""Bodies that may wait for it."""
_REFUSALS = {400, 413, 422}


class TableReader:
    """The process, started with the first body and anew when it is gone.

    Parameters
    ----------
    rows, values, size
        The most of a table: rows, values, and bytes of its plain form.
    """

    def __init__(self, rows: int, values: int, size: int) -> None:
        self._limits = rows, values, size
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    @property
    def pid(self) -> int | None:
        """Of the process, if it runs."""
        return None if self._process is None else self._process.pid

    async def read(self, body: bytes, form: str) -> bytes:
        """The table's plain form, for ``table_of``.

        Raises
        ------
        Problem
            400, 413 or 422 if the body isn't what its type says, or is too much; 503 if too many
            wait.
        """
        if self._waiting >= _WAITING:
            raise Problem(503, "too many tables are waiting to be read", {"retry-after": "1"})
        self._waiting += 1
        try:
            async with self._turn:
                # What ended between two bodies ended of neither.
                whole, content = await self._ask(body, form) or await self._ask(body, form) or (
                    False, b""
                )  # fmt: skip
        finally:
            self._waiting -= 1
        if not whole:
            raise Problem(400, f"the body is not {form}: its reader ended, or took too long")
        return content

    async def start(self) -> None:
        """Have the process ready before it is needed."""
        async with self._turn:
            await self._running()

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ask(self, body: bytes, form: str) -> tuple[bool, bytes] | None:
        """What the process answers; None where it was gone."""
        process = await self._running()
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._exchange(process, body, form)
        except (TimeoutError, ValueError):
            await self.close()
            return False, b""
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return None
        except BaseException:
            # Who asked is gone: what comes would be taken for the next one's.
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
        whole, size = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
        if size > self._limits[2] + 1_000:
            raise ValueError(size)
        return bool(whole), await process.stdout.readexactly(size)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-s", "-P", "-m", "mlops_cli.serving.service.table_process",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                # Its readers' last words may hold a payload's values.
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True, cwd="/", env=_environment(),
            )  # fmt: skip
        return self._process


def table_of(content: bytes, rows: int, values: int) -> pl.DataFrame:
    """A table of its plain form, which is believed in nothing.

    Raises
    ------
    Problem
        As the process refused the body; 400 where its answer is none.
    """
    import polars as pl

    from mlops_cli.data.column_types import table_of

    *lines, last = content.removesuffix(b"\n").split(b"\n", WIDEST + 1)
    try:
        end = orjson.loads(last)
        if end["status"] in _REFUSALS:
            raise Problem(int(end["status"]), str(end["detail"])[:1_000])
        if end["status"] == 200:  # noqa: PLR2004 - all is well
            return table_of(list(_columns(lines, rows, values)))
    # Whatever it wrote: it had read a stranger's body.
    except (ArithmeticError, LookupError, TypeError, ValueError, pl.exceptions.PolarsError):
        pass
    raise Problem(400, "the body can't be read as a table")


def _columns(lines: list[bytes], rows: int, values: int) -> Iterator[pl.Series]:
    height: int | None = None
    for line in lines:
        column = orjson.loads(line)
        its = column["values"]
        height = len(its) if height is None else height
        if not isinstance(its, list) or len(its) != height:
            raise ValueError(height)
        if height > rows or height * len(lines) > values:
            raise ValueError(height)
        yield _column(str(column["name"]), column["type"], its)


def _column(name: str, kind: str, values: list[Any]) -> pl.Series:
    import polars as pl

    if kind == "number":
        values = [float(v) if isinstance(v, str) else v for v in values]
    elif kind == "binary":
        values = [None if v is None else b64decode(v) for v in values]
    elif kind in {"date", "moment", "clock"}:
        low, high = DAYS if kind == "date" else MOMENTS
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
    made = pl.Series(name, values, dtype=stored, strict=True)
    return made if stored == final else made.cast(final)


def _environment() -> dict[str, str]:
    """What the process needs to find its modules, and nothing that is secret."""
    return {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "LANG": "C.UTF-8",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        # A thread's own arena would take up a fork's limit.
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
