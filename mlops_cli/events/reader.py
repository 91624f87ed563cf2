"""What was kept, in tables of bounded size: for monitoring, feedback and replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from mlops_cli.events.base import Label, Prediction

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EventCounts", "EventRows", "LabelConflicts", "Reader", "VersionCounts"]

By = Literal["at", "moment"]
"""Whether an interval is of when predictions were asked for, or of when what they are about is."""

_NEVER, _EVER = float("-inf"), float("inf")
_NUMBERS = {"at", "moment", "milliseconds"}
_DATED = (-62_135_596_800.0, 253_402_300_799.0)
"""Seconds since 1970 of the years 1 to 9999."""
_ASKED = 500
"""Ids that one question names."""


class EventCounts(NamedTuple):
    """Predictions and labels; a label that was changed is counted once for each value."""

    predictions: int
    labels: int


class VersionCounts(NamedTuple):
    """How many predictions one version made in one role."""

    version: str
    role: str
    rows: int


class LabelConflicts(NamedTuple):
    """Labels that say something else than one before of the same key, and those of nothing."""

    contradicting: int
    unknown: int


class EventRows(Protocol):
    """A database to ask.

    Attributes
    ----------
    mark
        What stands for a value in a statement.
    tie, lowest
        The column that orders predictions of the same time, and a value below all of it.
    empty
        Whether its tables were never made.
    """

    mark: str
    tie: str
    lowest: Any
    empty: bool

    def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Ask once."""

    def close(self) -> None:
        """Let go of files and connections."""


class Reader:
    """Reads predictions and labels page by page, while others write.

    Times are given as seconds since 1970, and come as ``Datetime[us, UTC]``. Intervals are
    ``[since, until)``. An event is kept a moment after the time it bears; until its service has
    acknowledged it, it isn't found.
    """

    def __init__(self, rows: EventRows) -> None:
        self._rows = rows

    def predictions(
        self,
        since: float | None = None,
        until: float | None = None,
        *,
        version: str | None = None,
        role: str | None = None,
        columns: Sequence[str] = Prediction._fields,
        by: By = "at",
        batch: int = 50_000,
    ) -> Iterator[pl.DataFrame]:
        """Predictions in order of time, at most ``batch`` in a table; none comes empty.

        With ``by="moment"`` the interval is of their moments, and the order still of time.
        """
        given = {"version": version, "role": role}
        where: dict[str, Any] = {
            f"{name} =": value for name, value in given.items() if value is not None
        }
        interval = (since, until)
        if by == "moment":
            first, last = _interval(since, until)
            where |= {"moment >=": first, "moment <": last}
            interval = (None, None)
        return self._pages("predictions", self._rows.tie, columns, where, interval, batch)

    def mix(
        self, since: float | None = None, until: float | None = None, *, by: By = "at"
    ) -> list[VersionCounts]:
        """How many predictions each version made in each role, most first."""
        if self._rows.empty:
            return []
        mark = self._rows.mark
        rows = self._rows.rows(
            f"SELECT version, role, count(*) FROM predictions WHERE {by} >= {mark} "  # noqa: S608
            f"AND {by} < {mark} GROUP BY version, role ORDER BY 3 DESC, 1, 2",
            _interval(since, until),
        )
        return [VersionCounts(*row) for row in rows]

    def newest(self, until: float | None = None, *, by: By = "at") -> float | None:
        """The time of the last prediction before ``until``."""
        if self._rows.empty:
            return None
        mark = self._rows.mark
        ((found,),) = self._rows.rows(
            f"SELECT max({by}) FROM predictions WHERE {by} < {mark}",  # noqa: S608
            [_EVER if until is None else until],
        )
        return None if found is None else float(found)

    def oldest(self) -> float | None:
        """The time of the first prediction; None: there is none."""
        if self._rows.empty:
            return None
        ((found,),) = self._rows.rows("SELECT min(at) FROM predictions", ())
        return None if found is None else float(found)

    def apart(self, since: float | None = None, until: float | None = None) -> LabelConflicts:
        """Labels received in an interval that contradict another one, or whose prediction lacks."""
        if self._rows.empty:
            return LabelConflicts(0, 0)
        mark = self._rows.mark
        ((contradicting,),) = self._rows.rows(
            f"SELECT count(*) FROM labels t WHERE t.at >= {mark} AND t.at < {mark} AND EXISTS "  # noqa: S608
            "(SELECT 1 FROM labels l WHERE l.key = t.key AND (l.at, l.seq) < (t.at, t.seq))",
            _interval(since, until),
        )
        ((unknown,),) = self._rows.rows(
            f"SELECT count(*) FROM labels t WHERE t.at >= {mark} AND t.at < {mark} AND NOT EXISTS "  # noqa: S608
            "(SELECT 1 FROM predictions p WHERE p.id = t.prediction) AND (t.entity IS NULL OR NOT "
            "EXISTS (SELECT 1 FROM predictions m WHERE m.moment = t.moment AND "
            "m.entity = t.entity))",
            _interval(since, until),
        )
        return LabelConflicts(int(contradicting), int(unknown))

    def labels(
        self,
        since: float | None = None,
        until: float | None = None,
        *,
        history: bool = False,
        batch: int = 50_000,
    ) -> Iterator[pl.DataFrame]:
        """Labels in order of receipt; of several with one key only the last, or the history.

        The last is the last of those received before ``until``, so a past state can be read.
        """
        return self._pages(
            "labels", "seq", Label._fields, {}, (since, until), batch, last=not history
        )

    def find(self, ids: Sequence[str]) -> pl.DataFrame:
        """The predictions with these ids, in no particular order; those that aren't there lack."""
        found: list[tuple[Any, ...]] = []
        for start in range(0, 0 if self._rows.empty else len(ids), _ASKED):
            some = ids[start : start + _ASKED]
            marks = ",".join([self._rows.mark] * len(some))
            found += self._rows.rows(
                f"SELECT {','.join(Prediction._fields)} FROM predictions WHERE id IN ({marks})",  # noqa: S608
                some,
            )
        return _frame(found, Prediction._fields)

    def labelled(self, keys: Sequence[str]) -> pl.DataFrame:
        """The last label of each of these keys; those that have none lack."""
        import polars as pl

        found: list[tuple[Any, ...]] = []
        for start in range(0, 0 if self._rows.empty else len(keys), _ASKED):
            some = keys[start : start + _ASKED]
            marks = ",".join([self._rows.mark] * len(some))
            found += self._rows.rows(
                f"SELECT key, value, at, seq FROM labels WHERE key IN ({marks})",  # noqa: S608
                some,
            )
        schema = {"key": pl.String(), "value": pl.String(), "at": pl.Float64(), "seq": pl.Int64()}
        rows = pl.DataFrame(found, schema=schema, orient="row").sort("at", "seq")
        return rows.unique("key", keep="last", maintain_order=True).drop("seq")

    def count(self, since: float | None = None, until: float | None = None) -> EventCounts:
        """How many there are."""
        if self._rows.empty:
            return EventCounts(0, 0)
        mark, counts = self._rows.mark, []
        for table in ("predictions", "labels"):
            ((count,),) = self._rows.rows(
                f"SELECT count(*) FROM {table} WHERE at >= {mark} AND at < {mark}",  # noqa: S608
                _interval(since, until),
            )
            counts.append(count)
        return EventCounts(*counts)

    def close(self) -> None:
        """Let go of files and connections."""
        self._rows.close()

    def _pages(
        self,
        table: str,
        tie: str,
        columns: Sequence[str],
        where: dict[str, Any],
        interval: tuple[float | None, float | None],
        batch: int,
        *,
        last: bool = False,
    ) -> Iterator[pl.DataFrame]:
        if self._rows.empty:
            return
        mark = self._rows.mark
        start, end = _interval(*interval)
        conditions = [f"t.at < {mark}", *(f"t.{asked} {mark}" for asked in where)]
        values: list[Any] = [end, *where.values()]
        if last:
            conditions.append(
                f"NOT EXISTS (SELECT 1 FROM {table} l WHERE l.key = t.key AND l.at < {mark} "  # noqa: S608
                "AND (l.at, l.seq) > (t.at, t.seq))"
            )
            values.append(end)
        statement = (
            f"SELECT {','.join(f't.{c}' for c in columns)}, t.at, t.{tie} FROM {table} t "  # noqa: S608
            f"WHERE (t.at, t.{tie}) > ({mark}, {mark}) AND {' AND '.join(conditions)} "
            f"ORDER BY t.at, t.{tie} LIMIT {mark}"
        )
        # Each page goes on after the last row of the one before: nothing is held between them.
        place = (start, self._rows.lowest if tie != "seq" else -1)
        while True:
            rows = self._rows.rows(statement, [*place, *values, batch])
            if rows:
                yield _frame([row[:-2] for row in rows], columns)
            if len(rows) < batch:
                return
            place = rows[-1][-2:]


def _interval(since: float | None, until: float | None) -> tuple[float, float]:
    return (_NEVER if since is None else since, _EVER if until is None else until)


def _frame(rows: list[tuple[Any, ...]], columns: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    types = {name: pl.Float64() if name in _NUMBERS else pl.String() for name in columns}
    frame = pl.DataFrame(rows, schema=types, orient="row")
    times = pl.col([name for name in ("at", "moment") if name in columns])
    # What no calendar has would end whoever reads it; it counts as not there.
    dated = pl.when(times.is_between(*_DATED)).then(times)
    return frame.with_columns(
        (dated * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC")).name.keep()
    )
