"""Counts records, separators and quotes of a CSV file without parsing its values.

The counts are independent of the reader that parses the file, so comparing the two reveals a row
that one of them misses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.ingestion.sources.csv_blank_lines import BLOCK_BYTES, skip_mark

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["Survey", "survey", "survey_file"]

_NEWLINE, _RETURN, _QUOTE = b'\n\r"'


@dataclass(frozen=True)
class Survey:
    """Counts of one CSV file.

    Attributes
    ----------
    records
        Number of lines outside of quotes, including the header.
    separators
        Number of separators outside of quotes.
    stray_quote
        Line, from 1, of the first quote that neither begins nor ends a value; None if all do.
    open_quote
        Whether the file ends within quotes.
    lone_return
        Record, from 1, with the first carriage return outside of quotes that no line feed follows;
        None if there is none.
    """

    records: int
    separators: int
    stray_quote: int | None
    open_quote: bool
    lone_return: int | None = None

    def may_be_ragged(self, width: int) -> bool:
        """Whether a record may have another number of fields than the header's ``width``."""
        return width > 1 and self.separators != self.records * (width - 1)


def survey_file(path: Path, separator: str, size: int = BLOCK_BYTES) -> Survey:
    """Count a UTF-8 file, in blocks of ``size`` bytes."""
    with path.open("rb") as file:
        skip_mark(file)
        return survey(iter(lambda: file.read(size), b""), separator)


def survey(blocks: Iterable[bytes], separator: str) -> Survey:
    """Count the bytes of a UTF-8 text without a byte order mark, given in blocks.

    A byte is within quotes if an odd number of quotes precedes it. A quote begins a value if a
    separator, a line end or a closing quote precedes it, and ends one if any of these follows it.
    """
    edge = np.zeros(256, bool)
    edge[[ord(separator), _NEWLINE, _RETURN, _QUOTE]] = True
    records = separators = lines = 0
    inside, stray_quote, lone_return = False, None, None
    last = _NEWLINE  # the file begins like a new line
    for block in blocks:
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == _QUOTE)
        if stray_quote is None:
            # Whether the block before ended with a closing quote.
            closed = last == _QUOTE and not inside
            position = _find_stray_quote(data, quotes, last, edge, inside=inside, closed=closed)
            if position is not None:
                stray_quote = lines + block.count(b"\n", 0, position) + 1
        outside = b"".join(block.split(b'"')[int(inside) :: 2])
        if lone_return is None:
            position = _find_lone_return(outside, 0 if inside else last)
            lone_return = (
                None if position is None else records + outside.count(b"\n", 0, position) + 1
            )
        records += outside.count(b"\n")
        separators += outside.count(separator.encode())
        inside ^= bool(len(quotes) & 1)
        lines += block.count(b"\n")
        last = int(data[-1])
    if lone_return is None and last == _RETURN and not inside:
        lone_return = records + 1
    records += last != _NEWLINE
    return Survey(records, separators, stray_quote, open_quote=inside, lone_return=lone_return)


def _find_lone_return(outside: bytes, before: int) -> int | None:
    """Position of a carriage return that no line feed follows; None if there is none.

    ``before`` is the byte before the block. A carriage return at the end isn't reported, as the
    next block may begin with its line feed.
    """
    if before == _RETURN and not outside.startswith(b"\n"):
        return 0
    if outside.count(b"\r", 0, -1) <= outside.count(b"\r\n"):
        return None
    match = re.search(rb"\r(?!\n|\Z)", outside)
    return None if match is None else match.start()


def _find_stray_quote(
    data: npt.NDArray[np.uint8],
    quotes: npt.NDArray[np.int64],
    before: int,
    edge: npt.NDArray[np.bool_],
    *,
    inside: bool,
    closed: bool,
) -> int | None:
    """Position in the block of a quote inside of a value; None if there is none."""
    if closed and not edge[data[0]]:
        return 0
    if not len(quotes):
        return None
    begins = (np.arange(len(quotes)) + inside) % 2 == 0
    previous = np.where(quotes > 0, data[quotes - 1], before)
    following = data[np.minimum(quotes + 1, len(data) - 1)]
    # For a quote at the block's end, the next block's first byte decides.
    ends = ~begins & (quotes < len(data) - 1)
    misplaced = np.flatnonzero((begins & ~edge[previous]) | (ends & ~edge[following]))
    return int(quotes[misplaced[0]]) if len(misplaced) else None
