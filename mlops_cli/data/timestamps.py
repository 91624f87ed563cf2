"""Parses timestamps of the command line, and formats them as in ``params.yaml``."""

from __future__ import annotations

import contextlib
import datetime as dt
import re

from mlops_cli.errors import Usage

__all__ = ["format_timestamp", "parse_timestamp"]

_SPAN = re.compile(r"\+([0-9]{1,9}(us|ms|s|m|h|d|w|mo|q|y))+")


def parse_timestamp(text: str, clock: dt.datetime | None, today: dt.date) -> dt.datetime:
    """Parse a timestamp to UTC.

    Parameters
    ----------
    text
        A date or time (ISO 8601), ``today``, or a span such as ``+1mo`` from the data clock.
    clock
        The current data clock.

    Raises
    ------
    Usage
        If it is none of these, or a span is given and the clock isn't set.
    """
    if text == "today":
        return dt.datetime.combine(today, dt.time(), dt.UTC)
    if text.startswith("+"):
        return _add_span(text, clock)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Usage(
            f"{text!r} is not a date or time",
            "Write it as 2013-11-01 or 2013-11-01T06:00:00Z, or as today, +7d or +1mo.",
        ) from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def format_timestamp(moment: dt.datetime) -> str:
    """Format as ISO 8601: a date if it is midnight UTC, else a date and time.

    Examples
    --------
    >>> format_timestamp(dt.datetime(2013, 11, 1, tzinfo=dt.UTC))
    '2013-11-01'
    """
    if moment.time() == dt.time():
        return moment.date().isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def _add_span(span: str, clock: dt.datetime | None) -> dt.datetime:
    import polars as pl

    if clock is None:
        raise Usage(
            f"{span!r} moves the data clock on, but ingest.until is not set (params.yaml)",
            "Give a date first, such as `mlops clock 2013-11-01`.",
        )
    moment: dt.datetime | None = None
    if _SPAN.fullmatch(span):
        # Months and years follow the calendar, as everywhere in params.yaml. A year that
        # Python's datetime doesn't have raises an error.
        with contextlib.suppress(pl.exceptions.PolarsError, ValueError, OverflowError):
            moment = pl.Series([clock]).dt.offset_by(span.removeprefix("+"))[0]
    if moment is None:
        raise Usage(
            f"{span!r} is not a span of time", "Write a number and a unit: +12h, +7d, +1mo, +1y."
        )
    return moment
