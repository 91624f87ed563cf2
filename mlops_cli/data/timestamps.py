"""Moments as people give them on a command line, and as ``params.yaml`` states them."""

from __future__ import annotations

import contextlib
import datetime as dt
import re

from mlops_cli.errors import Usage

__all__ = ["format_timestamp", "parse_timestamp"]

_SPAN = re.compile(r"\+([0-9]{1,9}(us|ms|s|m|h|d|w|mo|q|y))+")


def parse_timestamp(text: str, clock: dt.datetime | None, today: dt.date) -> dt.datetime:
    """The moment that a text means, in UTC.

    Parameters
    ----------
    text
        A date or time (ISO 8601), ``today``, or a span such as ``+1mo`` from the clock on.
    clock
        Where the data clock stands now.

    Raises
    ------
    Usage
        If it means none.
    """
    if text == "today":
        return dt.datetime.combine(today, dt.time(), dt.UTC)
    if text.startswith("+"):
        return _later(text, clock)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Usage(
            f"{text!r} is not a date or time",
            "Write it as 2013-11-01 or 2013-11-01T06:00:00Z, or as today, +7d or +1mo.",
        ) from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def format_timestamp(moment: dt.datetime) -> str:
    """ISO 8601: a date where it is midnight UTC, else a time.

    Examples
    --------
    >>> as_text(dt.datetime(2013, 11, 1, tzinfo=dt.UTC))
    '2013-11-01'
    """
    if moment.time() == dt.time():
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def _later(span: str, clock: dt.datetime | None) -> dt.datetime:
    import polars as pl

    if clock is None:
        raise Usage(
            f"{span!r} moves the data clock on, but ingest.until is not set (params.yaml)",
            "Give a date first, such as `mlops clock 2013-11-01`.",
        )
    moment: dt.datetime | None = None
    if _SPAN.fullmatch(span):
        # Months and years are the calendar's, as everywhere in params.yaml. A year that no
        # calendar here has cannot be given back.
        with contextlib.suppress(pl.exceptions.PolarsError, ValueError, OverflowError):
            moment = pl.Series([clock]).dt.offset_by(span.removeprefix("+"))[0]
    if moment is None:
        raise Usage(
            f"{span!r} is not a span of time", "Write a number and a unit: +12h, +7d, +1mo, +1y."
        )
    return moment
