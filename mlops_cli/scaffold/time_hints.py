"""What a new project should know of time: which moments there are, and what is known only later."""

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

_MOSTLY = 0.5
"""Rows in which a moment lies after another, of those that have both."""
_NAMED = 5


def time_hints(
    frame: pl.LazyFrame,
    columns: Sequence[ColumnRole],
    target: str,
    *,
    time: str | None,
    group: str | None,
    parts: DateParts | None,
) -> list[str]:
    """Sentences on moments that split rows, and on columns that are known only later.

    Parameters
    ----------
    time, group
        What the rows are split by.
    parts
        A date that lies in several columns.
    """
    dates = {c.name: c.missing for c in columns if c.type in ("date", "datetime")}
    later = _later(frame, list(dates))
    complete = [name for name, missing in dates.items() if not missing]
    first = time or next((n for n in complete if n not in later), None)
    said = []
    if time is None and group is None and first is not None:
        said.append(
            f"{first} has a moment in every row, and rows are split without regard to it: if they "
            "came about then, rows from after a test row teach, which flatters; "
            f"`--time {first}` lets the latest rows judge"
        )
    elif time is None and group is None and parts is not None:
        said.append(parts_hint(parts))
    elif time is None and group is None and not dates:
        said += _order_hint(frame, columns, target)
    said += [
        f"{name} is never before {first}, and mostly after it: if it is known only then, say so by "
        f"`known_at: {{{name}: {name}}}` in the source (and `{target}: {name}` where the target "
        "is), or no feature may be made of it"
        for name, before in later.items()
        if first in before
    ]
    return said


def parts_hint(parts: DateParts) -> str:
    """How to split by a date that lies in several columns."""
    *others, last = parts.columns
    year = "" if len(parts.columns) > 2 or "2000 *" not in parts.sql else " (of one year)"  # noqa: PLR2004
    return (
        f"{', '.join(others)} and {last} make a date{year}, and rows are split without regard to "
        "it: rows from between the test rows teach, which flatters; "
        f"`--time {parts.name}` lets the latest rows judge, or `time: {parts.name}` in the source, "
        "`strategy: time` under `split`, and under the source's `derive:` "
        f"`{parts.name}: {parts.sql}`"
    )


def _later(frame: pl.LazyFrame, dates: Sequence[str]) -> Mapping[str, set[str]]:
    """Date -> the other ones that it is never before, and mostly after."""
    import polars as pl

    pairs = list(permutations(dates, 2))
    if not pairs:
        return {}
    asked = []
    for at, (late, early) in enumerate(pairs):
        one, other = (pl.col(c).cast(pl.Datetime("us", "UTC")) for c in (late, early))
        asked += [(one >= other).all().alias(f"{at} never"), (one > other).mean().alias(f"{at} n")]
    found = frame.select(asked).collect(engine="streaming").row(0, named=True)
    later: dict[str, set[str]] = {}
    for at, (late, early) in enumerate(pairs):
        if found[f"{at} never"] and (found[f"{at} n"] or 0) > _MOSTLY:
            later.setdefault(late, set()).add(early)
    return later


def _order_hint(frame: pl.LazyFrame, columns: Sequence[ColumnRole], target: str) -> list[str]:
    named = [c.name for c in columns if c.role == "feature" and c.type != "string"]
    counting = [c.name for c in columns if c.role == "left out"]
    found = columns_that_drift(frame, [target, *named], counting)
    if not found:
        return []
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return [
        (
            f"rows next to each other are alike (by {', '.join(found[:_NAMED])}{more}): they seem "
            "to lie in the order of a time or group that no column names, and a random split, in "
            "which a test row's neighbours teach, flatters; add that column and name it by --time "
            "or --group"
        )
    ]
