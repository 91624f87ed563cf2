"""Structured logs: one JSON object a line on stderr, never with values of a payload."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import suppress
from typing import Any

import orjson

__all__ = ["log"]


def log(event: str, **facts: Any) -> None:
    """Write a log line: time, event, and facts such as version, status and milliseconds."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = orjson.dumps({"time": now, "event": event, **facts}, default=str)
    # A closed stderr must not end what is logged.
    with suppress(OSError, ValueError):
        sys.stderr.buffer.write(line + b"\n")
        sys.stderr.buffer.flush()
