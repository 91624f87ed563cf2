"""Hints about time in a new project: dates to split by, and values known only later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING

from mlops_cli.data.row_order import columns_that_drift

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.scaffold.column_roles import ColumnRole
    from mlops_cli.scaffold.date_parts import DateParts

__all__ = ["parts_hint", "time_hints"]

_MIN_SHARE = 0.5
"""Minimum share of rows in which a date is after another one, of rows that have both."""
_MAX_NAMED = 5


def time_hints(
    frame: pl.LazyFrame,
    columns: Sequence[ColumnRole],
    target: str,
    *,
    time: str | None,
    group: str | None,
    parts: DateParts | None,
) -> list[str]:
    """Hints on dates to split rows by, and on columns that are known only later.

    Parameters
    ----------
    time, group
        What the rows are split by.
    parts
        A date that is split into several columns.
    """
    dates = {c.name: c.missing for c in columns if c.type in ("date", "datetime")}
    later = _later_dates(frame, list(dates))
    complete = [name for name, missing in dates.items() if not missing]
    first = time or next((n for n in complete if n not in later), None)
    hints = []
    if time is None and group is None and first is not None:
        hints.append(
            f"{first} has a moment in every row, and rows are split without regard to it: if they "
            "were created then, some training rows are later than test rows, which makes the "
            f"metrics too good; `--time {first}` makes the latest rows the test set"
        )
    elif time is None and group is None and parts is not None:
        hints.append(parts_hint(parts))
    elif time is None and group is None and not dates:
        hints += _order_hint(frame, columns, target)
    hints += [
        f"{name} is never before {first}, and mostly after it: if it is known only then, say so by "
        f"`known_at: {{{name}: {name}}}` in the source (and `{target}: {name}` where the target "
        "is), or no feature may be made of it"
        for name, before in later.items()
        if first in before
    ]
    return hints


def parts_hint(parts: DateParts) -> str:
    """Hint how to split rows by a date that is split into several columns."""
    *others, last = parts.columns
    year = "" if len(parts.columns) > 2 or "2000 *" not in parts.sql else " (of one year)"  # noqa: PLR2004
    return (
        f"{', '.join(others)} and {last} make a date{year}, and rows are split without regard to "
        "it: training rows lie between the test rows, which makes the metrics too good; "
        f"`--time {parts.name}` makes the latest rows the test set, or `time: {parts.name}` in the "
        "source, `strategy: time` under `split`, and under the source's `derive:` "
        f"`{parts.name}: {parts.sql}`"
    )


def _later_dates(frame: pl.LazyFrame, dates: Sequence[str]) -> Mapping[str, set[str]]:
    """Date -> the other dates that it is never before, and mostly after."""
    import polars as pl

    pairs = list(permutations(dates, 2))
    if not pairs:
        return {}
    queries = []
    for i, (late, early) in enumerate(pairs):
        one, other = (pl.col(c).cast(pl.Datetime("us", "UTC")) for c in (late, early))
        queries += [(one >= other).all().alias(f"{i} never"), (one > other).mean().alias(f"{i} n")]
    stats = frame.select(queries).collect(engine="streaming").row(0, named=True)
    later: dict[str, set[str]] = {}
    for i, (late, early) in enumerate(pairs):
        if stats[f"{i} never"] and (stats[f"{i} n"] or 0) > _MIN_SHARE:
            later.setdefault(late, set()).add(early)
    return later


def _order_hint(frame: pl.LazyFrame, columns: Sequence[ColumnRole], target: str) -> list[str]:
    features = [c.name for c in columns if c.role == "feature" and c.type != "string"]
    left_out = [c.name for c in columns if c.role == "left out"]
    drifting = columns_that_drift(frame, [target, *features], left_out)
    if not drifting:
        return []
    more = f" and {len(drifting) - _MAX_NAMED} more" if len(drifting) > _MAX_NAMED else ""
    return [
        (
            f"rows next to each other are alike (by {', '.join(drifting[:_MAX_NAMED])}{more}): "
            "they seem to be in the order of a time or group that no column has, and in a random "
            "split the neighbours of test rows are training rows, which makes the metrics too "
            "good; add that column and name it by --time or --group"
        )
    ]
