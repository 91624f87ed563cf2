"""Prediction ids: UUIDv7, unique across processes and restarts, ordered by time, cheap to make."""

from __future__ import annotations

import itertools
import secrets
import time
import uuid

__all__ = ["Ids"]


class Ids:
    """Generator of UUIDs of version 7 (RFC 9562).

    An id consists of the millisecond at which the generator was created or renewed, a counter of 12
    bits, and 62 random bits, which are renewed with the millisecond. So two ids never collide.
    """

    _IDS_PER_RENEWAL = 4096

    def __init__(self) -> None:
        self._counter = itertools.count()
        self._renew()

    def next_ids(self, count: int) -> list[str]:
        """The next ``count`` ids."""
        return [self._next() for _ in range(count)]

    def _next(self) -> str:
        number = next(self._counter)
        if number % self._IDS_PER_RENEWAL == 0:
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
        # The twelve bits after the version are the counter.
        self._prefix, self._suffix = text[:15], text[18:]
