"""Erase events by age or by entity: in batches, while services continue to write."""

from __future__ import annotations

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlops_cli.events.base import sqlite_file
from mlops_cli.events.postgres import PostgresEvents, PostgresRows
from mlops_cli.events.sqlite import SqliteEvents, SqliteRows, unusable_file

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["ErasedCounts", "Eraser", "PostgresEraser", "Selection", "SqliteEraser", "open_eraser"]

_BATCH = 500
"""Predictions erased in one transaction; a service that writes meanwhile waits milliseconds."""
_MAX_IDS = 100_000
"""Maximum number of row ids of an entity in memory."""
_TIMEOUT = 10.0
"""Seconds to wait for a lock, and for readers of the write-ahead log."""
_Row = tuple[str, str | None, float | None]
"""Id, entity and moment of a prediction."""


class Selection(NamedTuple):
    """Events to erase: either all before a time, or those of one entity.

    Attributes
    ----------
    before
        Request time or time of receipt (``at``), in seconds since 1970.
    entities
        All spellings of the entity as text.
    """

    before: float | None = None
    entities: tuple[str, ...] = ()


class ErasedCounts(NamedTuple):
    """Numbers of erased predictions and labels, and the ids of an entity's predictions."""

    predictions: int = 0
    labels: int = 0
    ids: tuple[str, ...] = ()


class Eraser(ABC):
    """Erases events from one database.

    Attributes
    ----------
    placeholder
        Placeholder of a value in a statement.
    entity_prefilter
        SQL condition that uses an index to preselect rows with ``p.entity = labels.entity``; the
        texts themselves are compared after it.
    """

    placeholder: str
    entity_prefilter: str

    def count(self, selection: Selection) -> ErasedCounts:
        """Count what would be erased."""
        predictions = labels = 0
        for condition, values in self._conditions(selection, "p"):
            ((count,),) = self.query(
                f"SELECT count(*) FROM predictions p WHERE {condition}",  # noqa: S608
                values,
            )
            predictions += count
            own, own_values = self._label_condition(selection, values)
            ((count,),) = self.query(
                f"SELECT count(*) FROM labels WHERE {own} OR prediction IN "  # noqa: S608
                f"(SELECT p.id FROM predictions p WHERE {condition}) OR (entity IS NOT NULL AND "
                f"EXISTS (SELECT 1 FROM predictions p WHERE {self._match} AND {condition}) AND NOT "
                f"EXISTS (SELECT 1 FROM predictions p WHERE {self._match} AND NOT ({condition})))",
                [*own_values, *values, *values, *values],
            )
            labels += count
        return ErasedCounts(predictions, labels)

    def erase_batches(self, selection: Selection) -> Iterator[ErasedCounts]:
        """Erase in batches, one transaction each, until nothing is left."""
        for condition, values in self._conditions(selection, "predictions"):
            for rows in self.prediction_batches(condition, values):
                with self.transaction():
                    erased = self._erase(rows)
                yield erased if selection.entities else erased._replace(ids=())
            own, own_values = self._label_condition(selection, values)
            while True:
                with self.transaction():
                    count = self.execute(
                        f"DELETE FROM labels WHERE seq IN (SELECT seq FROM labels WHERE {own} "  # noqa: S608
                        f"LIMIT {_BATCH})",
                        own_values,
                    )
                if not count:
                    break
                yield ErasedCounts(labels=count)

    @abstractmethod
    def prediction_batches(self, condition: str, values: Sequence[Any]) -> Iterator[list[_Row]]:
        """Batches of predictions to erase; each batch is erased before the next one is queried."""

    @abstractmethod
    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Query rows."""

    @abstractmethod
    def execute(self, statement: str, values: Sequence[Any]) -> int:
        """Change rows; return their number."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Transaction as a context manager."""

    @abstractmethod
    def clean_files(self) -> str | None:
        """Remove erased values from the files too; if that fails, return the reason."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    @abstractmethod
    def entity_condition(self, column: str) -> str:
        """SQL condition for a column to equal an entity, with two placeholders for the entity."""

    @abstractmethod
    def label_entity_condition(self, entity: str) -> tuple[str, list[Any]]:
        """SQL condition for labels of an entity (it uses an index), and its values."""

    @property
    def _match(self) -> str:
        """SQL condition for a label's entity and moment to be those of prediction p."""
        return f"{self.entity_prefilter} AND p.moment = labels.moment AND p.entity = labels.entity"

    def _conditions(self, selection: Selection, table: str) -> Iterator[tuple[str, list[Any]]]:
        """SQL conditions for the selected predictions, with their values."""
        if selection.before is not None:
            yield f"{table}.at < {self.placeholder}", [selection.before]
        for entity in selection.entities:
            yield self.entity_condition(f"{table}.entity"), [entity, entity]

    def _label_condition(
        self, selection: Selection, values: Sequence[Any]
    ) -> tuple[str, list[Any]]:
        """SQL condition for the labels selected by their own time or entity, with its values."""
        if selection.before is not None:
            return f"labels.at < {self.placeholder}", [selection.before]
        return self.label_entity_condition(str(values[0]))

    def _erase(self, rows: Sequence[_Row]) -> ErasedCounts:
        """Erase predictions with their labels."""
        ids = [row[0] for row in rows]
        marks = ",".join([self.placeholder] * len(ids))
        labels = self.execute(f"DELETE FROM labels WHERE key IN ({marks})", ids)  # noqa: S608
        predictions = self.execute(f"DELETE FROM predictions WHERE id IN ({marks})", ids)  # noqa: S608
        # Labels by entity and moment, unless another prediction remains that they are about.
        keys = {f"{e}|{m!r}" for _, e, m in rows if e is not None and m is not None}
        if keys:
            marks = ",".join([self.placeholder] * len(keys))
            labels += self.execute(
                f"DELETE FROM labels WHERE key IN ({marks}) AND NOT EXISTS "  # noqa: S608
                f"(SELECT 1 FROM predictions p WHERE {self._match})",
                [*keys],
            )
        return ErasedCounts(predictions, labels, tuple(ids))


def open_eraser(url: str | None, layout: Layout) -> Eraser:
    """Open the eraser of the event database that ``open_events`` opens.

    Raises
    ------
    NotFound
        If the SQLite file doesn't exist.
    SourceUnreadable
        If the database can't be read or written.
    """
    path = sqlite_file(url, layout)
    return PostgresEraser(str(url)) if path is None else SqliteEraser(path)


class SqliteEraser(Eraser):
    """Erases events from a SQLite file.

    Raises
    ------
    NotFound
        If the file doesn't exist.
    SourceUnreadable
        If it can't be read or written.
    """

    placeholder, entity_prefilter = "?", "TRUE"

    def __init__(self, path: Path) -> None:
        SqliteRows(path).close()
        events = SqliteEvents(path)
        try:
            events.write((), ())  # migrates format 2, which has a second table with entities
        finally:
            events.close()
        self._path = path
        self._db = sqlite3.connect(
            path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA secure_delete = ON")

    def prediction_batches(self, condition: str, values: Sequence[Any]) -> Iterator[list[_Row]]:
        """See ``Eraser.prediction_batches``."""
        if "entity" in condition:
            # The index begins with the moment (cheap inserts), so it is scanned once as a whole.
            for source in ("INDEXED BY predictions_moment WHERE moment IS NOT NULL",
                           "WHERE moment IS NULL"):  # fmt: skip
                query = f"SELECT rowid FROM predictions {source} AND entity = ? LIMIT {_MAX_IDS}"  # noqa: S608
                while row_ids := [p for (p,) in self.query(query, values[:1])]:
                    for start in range(0, len(row_ids), _BATCH):
                        batch = row_ids[start : start + _BATCH]
                        yield self._rows(f"rowid IN ({','.join('?' * len(batch))})", batch)
            return
        while rows := self._rows(f"{condition} ORDER BY at LIMIT {_BATCH}", values):
            yield rows

    def _rows(self, condition: str, values: Sequence[Any]) -> list[_Row]:
        query = f"SELECT id, entity, moment FROM predictions WHERE {condition}"  # noqa: S608
        return self.query(query, values)

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """See ``Eraser.query``."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise unusable_file(self._path, error) from None

    def execute(self, statement: str, values: Sequence[Any]) -> int:
        """See ``Eraser.execute``."""
        return self._db.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See ``Eraser.transaction``."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise unusable_file(self._path, error) from None

    def clean_files(self) -> str | None:
        """See ``Eraser.clean_files``.

        When SQLite rearranges pages, copies of a row's bytes may remain in their unused parts,
        where nothing overwrites them. Only rewriting the file (VACUUM) removes them.
        """
        try:
            self._db.execute("VACUUM")
        except sqlite3.Error as error:
            return f"{self._path} couldn't be rewritten: {error}"
        if not self.truncate_log():
            return f"{self._path}-wal is held by a reader, and still has what was erased"
        return None

    def truncate_log(self) -> bool:
        """Checkpoint and truncate the write-ahead log; False if a reader prevents it."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            with suppress(sqlite3.Error):
                ((busy, *_),) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                if not busy:
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def close(self) -> None:
        """See ``Eraser.close``."""
        self._db.close()

    def entity_condition(self, column: str) -> str:
        """See ``Eraser.entity_condition``."""
        return f"{column} = ? AND {column} = ?"

    def label_entity_condition(self, entity: str) -> tuple[str, list[Any]]:
        """See ``Eraser.label_entity_condition``."""
        # The range of keys that start with entity and bar: a brace is the character after the bar.
        return "labels.key > ? AND labels.key < ? AND labels.entity = ?", [
            f"{entity}|", f"{entity}}}", entity,
        ]  # fmt: skip


class PostgresEraser(Eraser):
    """Erases events from a PostgreSQL database.

    Raises
    ------
    SourceUnreadable
        If the database can't be reached, or the role may not delete.
    """

    placeholder = "%s"
    entity_prefilter = "hashtextextended(p.entity, 0) = hashtextextended(labels.entity, 0)"

    def __init__(self, url: str) -> None:
        events = PostgresEvents(url)
        try:
            events.write((), ())  # migrates format 1, which has no index on entities' hashes
        finally:
            events.close()
        self._rows = PostgresRows(url)
        self._db = self._rows.connection

    def prediction_batches(self, condition: str, values: Sequence[Any]) -> Iterator[list[_Row]]:
        """See ``Eraser.prediction_batches``."""
        query = (
            f"SELECT id, entity, moment FROM predictions WHERE {condition} "  # noqa: S608
            f"{'' if 'entity' in condition else 'ORDER BY at'} LIMIT {_BATCH}"
        )
        while rows := self.query(query, values):
            yield rows

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """See ``Eraser.query``."""
        return self._rows.query(statement, values)

    def execute(self, statement: str, values: Sequence[Any]) -> int:
        """See ``Eraser.execute``."""
        return int(self._db.execute(statement, values).rowcount)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See ``Eraser.transaction``."""
        with self._rows.convert_errors(), self._db.transaction():
            yield

    def clean_files(self) -> str | None:
        """See ``Eraser.clean_files``; docs/personal-data.md says what VACUUM doesn't remove."""
        with suppress(Exception):  # a role that may delete doesn't always own the tables
            self._db.execute("VACUUM predictions, labels")
        return None

    def close(self) -> None:
        """See ``Eraser.close``."""
        self._rows.close()

    def entity_condition(self, column: str) -> str:
        """See ``Eraser.entity_condition``."""
        return f"hashtextextended({column}, 0) = hashtextextended(%s, 0) AND {column} = %s"

    def label_entity_condition(self, entity: str) -> tuple[str, list[Any]]:
        """See ``Eraser.label_entity_condition``."""
        return self.entity_condition("labels.entity"), [entity, entity]
