"""The online store in Redis, for services on several machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from mlops_cli.data.urls import check_url, mask_url
from mlops_cli.errors import BadParams, SourceUnreadable, install_hint
from mlops_cli.online.store.base import Entry

__all__ = ["RedisStore"]

_FORM = "redis://USER:PASSWORD@HOST:PORT/0"
_PREFIX = "mlops:online"
_BATCH = 1_000
"""Entries of one write, and keys of one scan."""
_EXPIRY_SECONDS = 3_600
"""Seconds after which a replaced generation is deleted; readers may still use it meanwhile."""


class RedisStore:
    """Stores each table of a generation as a hash; a program's key names its current generation."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ModuleNotFoundError:
            raise BadParams(
                "MLOPS_ONLINE_URL names a Redis, but its client isn't installed",
                install_hint("redis"),
            ) from None
        check_url(url, "MLOPS_ONLINE_URL", _FORM)
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._url = mask_url(url)
        try:
            # Any, because its methods have types for the blocking and the asynchronous client.
            self._db: Any = redis.Redis.from_url(
                url, decode_responses=True, socket_timeout=5, socket_connect_timeout=5
            )
        except (ValueError, TypeError):
            # The error's text isn't shown: it quotes a part of the URL, which may have a password.
            raise BadParams(
                "MLOPS_ONLINE_URL is not a URL that Redis can read", f"Give {_FORM}."
            ) from None
        try:
            self._db.ping()
        except self._errors as error:
            raise self._unreachable(error) from None

    def metadata(self, program: str) -> dict[str, Any] | None:
        """See ``OnlineStore.metadata``."""
        try:
            text = self._db.get(f"{_PREFIX}:{program}")
        except self._errors as error:
            raise self._unreachable(error) from None
        return None if text is None else dict(json.loads(str(text)))

    def get(self, generation: int, table: str, keys: Sequence[str]) -> list[str | None]:
        """See ``OnlineStore.get``."""
        if not keys:
            return []
        try:
            return list(self._db.hmget(_table(generation, table), list(keys)))
        except self._errors as error:
            raise self._unreachable(error) from None

    def keys(self, generation: int, table: str, limit: int) -> list[str]:
        """See ``OnlineStore.keys``."""
        try:
            pairs = self._db.hscan_iter(_table(generation, table), count=_BATCH)
            return [key for key, _ in islice(pairs, limit)]
        except self._errors as error:
            raise self._unreachable(error) from None

    def replace(self, program: str, metadata: Mapping[str, Any], entries: Iterable[Entry]) -> int:
        """See ``OnlineStore.replace``."""
        count = 0
        try:
            former = self.metadata(program)
            generation = int(self._db.incr(f"{_PREFIX}:generations"))
            tables: dict[str, dict[str, str]] = {}
            for table, key, entry in entries:
                count += 1
                batch = tables.setdefault(table, {})
                batch[key] = entry
                if len(batch) >= _BATCH:
                    self._db.hset(_table(generation, table), mapping=tables.pop(table))
            for table, batch in tables.items():
                self._db.hset(_table(generation, table), mapping=batch)
            stored_facts = {**metadata, "generation": generation}
            self._db.set(f"{_PREFIX}:{program}", json.dumps(stored_facts))
            if former is not None:
                for key in self._db.scan_iter(_table(former["generation"], "*"), count=100):
                    self._db.expire(key, _EXPIRY_SECONDS)
        except self._errors as error:
            raise self._unreachable(error) from None
        return count

    def count(self, keys: Sequence[str]) -> int:
        """See ``OnlineStore.count``."""
        try:
            tables = list(self._db.scan_iter(f"{_PREFIX}:*:*", count=100))
            return sum(bool(self._db.hexists(table, key)) for table in tables for key in keys)
        except self._errors as error:
            raise self._unreachable(error) from None

    def erase(self, keys: Sequence[str]) -> int:
        """See ``OnlineStore.erase``."""
        try:
            tables = list(self._db.scan_iter(f"{_PREFIX}:*:*", count=100))
            return sum(int(self._db.hdel(table, *keys)) for table in tables if keys)
        except self._errors as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        """See ``OnlineStore.close``."""
        self._db.close()

    def _unreachable(self, error: Exception) -> SourceUnreadable:
        return SourceUnreadable(
            f"the online store at {self._url} can't be reached: {type(error).__name__}",
            "Start the Redis, or correct MLOPS_ONLINE_URL.",
        )


def _table(generation: int, table: str) -> str:
    return f"{_PREFIX}:{generation}:{table}"
