"""Reader of the event log, in pages of limited size: for monitoring, feedback and replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from mlops_cli.events.base import Label, Prediction

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EventCounts", "EventRows", "LabelConflicts", "Reader", "VersionCounts"]

TimeColumn = Literal["at", "moment"]
"""Whether an interval is of request times (at) or of times of predicted events (moment)."""

_MIN_TIME, _MAX_TIME = float("-inf"), float("inf")
_FLOAT_COLUMNS = {"at", "moment", "milliseconds"}
_CALENDAR = (-62_135_596_800.0, 253_402_300_799.0)
"""First and last time of the years 1 to 9999, in seconds since 1970."""
_MAX_VALUES = 500
"""Maximum number of ids or keys in one query."""


class EventCounts(NamedTuple):
    """Numbers of predictions and labels; a changed label counts once for each of its values."""

    predictions: int
    labels: int


class VersionCounts(NamedTuple):
    """Number of predictions of one version in one role."""

    version: str
    role: str
    rows: int


class LabelConflicts(NamedTuple):
    """Numbers of labels that contradict an earlier one of their key, and that lack a prediction."""

    contradicting: int
    unknown: int


class EventRows(Protocol):
    """An event database, for queries.

    Attributes
    ----------
    placeholder
        Placeholder of a value in a statement.
    tiebreaker, min_tiebreaker
        The column that orders predictions of the same time, and a value below all of its values.
    empty
        Whether the tables don't exist yet.
    """

    placeholder: str
    tiebreaker: str
    min_tiebreaker: Any
    empty: bool

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one query."""

    def close(self) -> None:
        """Close files and connections."""


class Reader:
    """Reads predictions and labels page by page, while others write.

    Times in arguments are seconds since 1970, in tables ``Datetime[us, UTC]``. Intervals are
    ``[since, until)``. An event is written a moment after the time that it bears, and can't be
    read before.
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
        time_column: TimeColumn = "at",
        page_rows: int = 50_000,
    ) -> Iterator[pl.DataFrame]:
        """Predictions by request time, in tables of at most ``page_rows`` rows; no table is empty.

        With ``time_column="moment"`` the interval is of their moments, but the order is still by
        request time.
        """
        filters = {"version": version, "role": role}
        where: dict[str, Any] = {
            f"{name} =": value for name, value in filters.items() if value is not None
        }
        interval = (since, until)
        if time_column == "moment":
            first, last = _interval(since, until)
            where |= {"moment >=": first, "moment <": last}
            interval = (None, None)
        return self._pages(
            "predictions", self._rows.tiebreaker, columns, where, interval, page_rows
        )

    def count_by_version(
        self,
        since: float | None = None,
        until: float | None = None,
        *,
        time_column: TimeColumn = "at",
    ) -> list[VersionCounts]:
        """Count the predictions of each version in each role, largest count first."""
        if self._rows.empty:
            return []
        mark = self._rows.placeholder
        rows = self._rows.query(
            f"SELECT version, role, count(*) FROM predictions WHERE {time_column} >= {mark} "  # noqa: S608
            f"AND {time_column} < {mark} GROUP BY version, role ORDER BY 3 DESC, 1, 2",
            _interval(since, until),
        )
        return [VersionCounts(*row) for row in rows]

    def newest_time(
        self, until: float | None = None, *, time_column: TimeColumn = "at"
    ) -> float | None:
        """Time of the last prediction before ``until``; None if there is none."""
        if self._rows.empty:
            return None
        mark = self._rows.placeholder
        ((newest,),) = self._rows.query(
            f"SELECT max({time_column}) FROM predictions WHERE {time_column} < {mark}",  # noqa: S608
            [_MAX_TIME if until is None else until],
        )
        return None if newest is None else float(newest)

    def oldest_time(self) -> float | None:
        """Time of the first prediction; None if there is none."""
        if self._rows.empty:
            return None
        ((oldest,),) = self._rows.query("SELECT min(at) FROM predictions", ())
        return None if oldest is None else float(oldest)

    def count_conflicts(
        self, since: float | None = None, until: float | None = None
    ) -> LabelConflicts:
        """Count labels of an interval that contradict an earlier one, or that lack a prediction."""
        if self._rows.empty:
            return LabelConflicts(0, 0)
        mark = self._rows.placeholder
        ((contradicting,),) = self._rows.query(
            f"SELECT count(*) FROM labels t WHERE t.at >= {mark} AND t.at < {mark} AND EXISTS "  # noqa: S608
            "(SELECT 1 FROM labels l WHERE l.key = t.key AND (l.at, l.seq) < (t.at, t.seq))",
            _interval(since, until),
        )
        ((unknown,),) = self._rows.query(
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
        page_rows: int = 50_000,
    ) -> Iterator[pl.DataFrame]:
        """Labels in order of receipt: the last one of each key, or with ``history`` all of them.

        The last one is the last that was received before ``until``, so a past state can be read.
        """
        return self._pages(
            "labels", "seq", Label._fields, {}, (since, until), page_rows, last=not history
        )

    def predictions_by_id(self, ids: Sequence[str]) -> pl.DataFrame:
        """Predictions with the given ids, in no particular order; unknown ids are left out."""
        rows: list[tuple[Any, ...]] = []
        for start in range(0, 0 if self._rows.empty else len(ids), _MAX_VALUES):
            some_ids = ids[start : start + _MAX_VALUES]
            marks = ",".join([self._rows.placeholder] * len(some_ids))
            rows += self._rows.query(
                f"SELECT {','.join(Prediction._fields)} FROM predictions WHERE id IN ({marks})",  # noqa: S608
                some_ids,
            )
        return _frame(rows, Prediction._fields)

    def last_labels(self, keys: Sequence[str]) -> pl.DataFrame:
        """The last label of each of the given keys; keys without a label are left out."""
        import polars as pl

        values: list[tuple[Any, ...]] = []
        for start in range(0, 0 if self._rows.empty else len(keys), _MAX_VALUES):
            some_keys = keys[start : start + _MAX_VALUES]
            marks = ",".join([self._rows.placeholder] * len(some_keys))
            values += self._rows.query(
                f"SELECT key, value, at, seq FROM labels WHERE key IN ({marks})",  # noqa: S608
                some_keys,
            )
        schema = {"key": pl.String(), "value": pl.String(), "at": pl.Float64(), "seq": pl.Int64()}
        rows = pl.DataFrame(values, schema=schema, orient="row").sort("at", "seq")
        return rows.unique("key", keep="last", maintain_order=True).drop("seq")

    def count(self, since: float | None = None, until: float | None = None) -> EventCounts:
        """Count predictions and labels."""
        if self._rows.empty:
            return EventCounts(0, 0)
        mark, counts = self._rows.placeholder, []
        for table in ("predictions", "labels"):
            ((count,),) = self._rows.query(
                f"SELECT count(*) FROM {table} WHERE at >= {mark} AND at < {mark}",  # noqa: S608
                _interval(since, until),
            )
            counts.append(count)
        return EventCounts(*counts)

    def close(self) -> None:
        """Close files and connections."""
        self._rows.close()

    def _pages(
        self,
        table: str,
        tiebreaker: str,
        columns: Sequence[str],
        where: dict[str, Any],
        interval: tuple[float | None, float | None],
        page_rows: int,
        *,
        last: bool = False,
    ) -> Iterator[pl.DataFrame]:
        """Read a table in pages, in order of time; ``last``: only the last label of each key."""
        if self._rows.empty:
            return
        mark = self._rows.placeholder
        start, end = _interval(*interval)
        conditions = [f"t.at < {mark}", *(f"t.{condition} {mark}" for condition in where)]
        values: list[Any] = [end, *where.values()]
        if last:
            conditions.append(
                f"NOT EXISTS (SELECT 1 FROM {table} l WHERE l.key = t.key AND l.at < {mark} "  # noqa: S608
                "AND (l.at, l.seq) > (t.at, t.seq))"
            )
            values.append(end)
        statement = (
            f"SELECT {','.join(f't.{c}' for c in columns)}, t.at, t.{tiebreaker} FROM {table} t "  # noqa: S608
            f"WHERE (t.at, t.{tiebreaker}) > ({mark}, {mark}) AND {' AND '.join(conditions)} "
            f"ORDER BY t.at, t.{tiebreaker} LIMIT {mark}"
        )
        # Each page starts after the last row of the previous one, so no cursor stays open.
        position = (start, self._rows.min_tiebreaker if tiebreaker != "seq" else -1)
        while True:
            rows = self._rows.query(statement, [*position, *values, page_rows])
            if rows:
                yield _frame([row[:-2] for row in rows], columns)
            if len(rows) < page_rows:
                return
            position = rows[-1][-2:]


def _interval(since: float | None, until: float | None) -> tuple[float, float]:
    return (_MIN_TIME if since is None else since, _MAX_TIME if until is None else until)


def _frame(rows: list[tuple[Any, ...]], columns: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    types = {name: pl.Float64() if name in _FLOAT_COLUMNS else pl.String() for name in columns}
    frame = pl.DataFrame(rows, schema=types, orient="row")
    times = pl.col([name for name in ("at", "moment") if name in columns])
    # Python's datetime can't represent other times, so they become null.
    valid = pl.when(times.is_between(*_CALENDAR)).then(times)
    return frame.with_columns(
        (valid * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC")).name.keep()
    )
