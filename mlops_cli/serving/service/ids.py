"""Ids of predictions: unique over processes and restarts, in order of time, cheap to make."""

from __future__ import annotations

import itertools
import secrets
import time
import uuid

__all__ = ["Ids"]


class Ids:
    """A source of UUIDs of version 7 (RFC 9562).

    The first part is the millisecond at which the source was made or renewed, then come 62 random
    bits of the process, to which a counter is added: two never meet.
    """

    _RENEWED = 4096

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._renew()

    def some(self, count: int) -> list[str]:
        """The next ids."""
        return [self._next() for _ in range(count)]

    def _next(self) -> str:
        number = next(self._numbers)
        if number % self._RENEWED == 0:
            self._renew()
        return f"{self._prefix}{number & 0xFFF:03x}{self._suffix}"

    def _renew(self) -> None:
        text = str(
            uuid.UUID(
                int=(time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80
                | 0x7 << 76
                | 0b10 << 62
                | secrets.randbits(62)
            )
        )
        # The twelve bits after the version count.
        self._prefix, self._suffix = text[:15], text[18:]
