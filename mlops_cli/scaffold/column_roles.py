"""What becomes of each column: a feature, the target, or left out and why."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.data.column_names import feature_name, quoted
from mlops_cli.scaffold.column_profile import SAMPLE, ColumnProfile

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.data import TypeName
    from mlops_cli.scaffold.infer_task import Target

__all__ = ["ColumnRole", "Role", "decide", "leaks"]

Role = Literal["target", "feature", "time", "group", "left out"]

LONG_TEXT = 40
"""Texts of more characters than this on average are prose, not categories."""
MOSTLY_UNIQUE = 0.5
ENOUGH_ROWS = 20
"""With fewer rows, that all values differ may be chance."""


@dataclass(frozen=True)
class ColumnRole:
    """What becomes of one column.

    Attributes
    ----------
    type
        None where the pipeline has no name for it.
    reason
        Why it is left out; empty for the others.
    features
        Name -> SQL expression.
    low, high
        Generous limits of a number: the observed range, widened by its width on both sides.
    categories
        All values of a text with few.
    text
        Whether it is prose, whose words count.
    """

    name: str
    type: TypeName | None
    role: Role
    reason: str = ""
    features: tuple[tuple[str, str], ...] = ()
    missing: int = 0
    low: float | int | None = None
    high: float | int | None = None
    categories: tuple[str, ...] = ()
    text: bool = False


def leaks(frame: pl.LazyFrame, aim: Target, facts: dict[str, ColumnProfile]) -> dict[str, str]:
    """Columns that say the target in other words -> how, judged by a bounded sample."""
    import polars as pl

    others = [n for n in facts if n != aim.name]
    sample = frame.filter(pl.col(aim.name).is_not_null()).head(SAMPLE).collect()
    truth, classes = sample[aim.name], sample[aim.name].n_unique()
    found = {}
    for name in others:
        column = sample[name]
        numbers = column.dtype.is_numeric() and truth.dtype.is_numeric()
        kind = pl.Float64 if numbers else pl.String
        if column.cast(kind).eq_missing(truth.cast(kind)).all():
            found[name] = f"it equals the target {aim.name}"
        elif aim.classes and sample.height >= ENOUGH_ROWS and column.n_unique() == classes:
            pairs = pl.struct(aim.name, name).n_unique()
            if sample.select(pairs).item() == classes:
                found[name] = f"each of its values goes with one value of the target {aim.name}"
    return found


def decide(fact: ColumnProfile, given: Role | None, leak: str, taken: set[str]) -> ColumnRole:
    """What becomes of a column.

    Parameters
    ----------
    given
        The role that the user gave it.
    leak
        How it gives the target away; empty if it doesn't.
    taken
        Names that features cannot have any more.
    """
    low, high = _limits(fact)
    reason = (leak or _useless(fact)) if given is None else ""
    role: Role = given or ("left out" if reason else "feature")
    return ColumnRole(
        name=fact.name,
        type=fact.type,
        role=role,
        reason=reason,
        features=_features(fact, taken, is_clock=role == "time")
        if role in ("feature", "time")
        else (),
        missing=fact.missing,
        low=low if role == "feature" else None,
        high=high if role == "feature" else None,
        categories=fact.categories if role in ("feature", "target") else (),
        text=role == "feature" and _is_prose(fact),
    )


def _is_prose(fact: ColumnProfile) -> bool:
    return (
        fact.type == "string"
        and fact.present >= ENOUGH_ROWS
        and fact.mean_length > LONG_TEXT
        and fact.distinct / fact.present > MOSTLY_UNIQUE
    )


def _useless(fact: ColumnProfile) -> str:
    """Why a column says nothing about further rows; empty if it may."""
    if fact.distinct == 0 and fact.low is None:
        return "it has no values"
    if fact.low == fact.high and fact.low is not None and not fact.missing:
        return f"it always has the value {fact.low}"
    if fact.type == "integer" and fact.unique and _named_like_id(fact):
        return "its numbers only tell the rows apart"
    return _useless_text(fact) if fact.type == "string" and fact.present >= ENOUGH_ROWS else ""


def _useless_text(fact: ColumnProfile) -> str:
    share = fact.distinct / fact.present
    if _is_prose(fact):
        return ""
    if fact.unique:
        return "its texts only tell the rows apart"
    return f"{share:.0%} of its texts differ" if share > MOSTLY_UNIQUE else ""


def _named_like_id(fact: ColumnProfile) -> bool:
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", fact.name).lower()
    parts = re.split(r"[\W_]+", words.strip())
    if {"id", "uuid", "guid", "key", "pk"} & set(parts) or words.endswith("id"):
        return True
    return fact.consecutive and parts[0] in {
        "",
        "index",
        "row",
        "unnamed",
        "no",
        "nr",
        "number",
        "x",
    }


def _features(
    fact: ColumnProfile, taken: set[str], *, is_clock: bool
) -> tuple[tuple[str, str], ...]:
    sql = quoted(fact.name)
    if fact.type in ("date", "datetime"):
        return _date_features(fact, sql, taken, is_clock=is_clock)
    return ((feature_name(fact.name, taken), sql),)


def _date_features(
    fact: ColumnProfile, sql: str, taken: set[str], *, is_clock: bool
) -> tuple[tuple[str, str], ...]:
    parts = {"month": f"EXTRACT(month FROM {sql})", "weekday": f"EXTRACT(isodow FROM {sql})"}
    if fact.type == "datetime":
        parts["hour"] = f"EXTRACT(hour FROM {sql})"
    # Of the column that the rows are split by, later rows have years and days never seen before.
    if not is_clock:
        days = f"EXTRACT(epoch FROM CAST({sql} AS TIMESTAMP)) / 86400"
        parts["days"] = days
        if fact.low.year != fact.high.year:
            parts = {"year": f"EXTRACT(year FROM {sql})", **parts}
    made: dict[str, str] = {}
    for part, expression in parts.items():
        made[feature_name(f"{fact.name}_{part}", taken | made.keys())] = expression
    return tuple(made.items())


def _limits(fact: ColumnProfile) -> tuple[float | int | None, float | int | None]:
    if fact.type not in ("integer", "number") or fact.low is None or fact.high is None:
        return None, None
    width = fact.high - fact.low or abs(fact.high) or 1
    low, high = _rounded(fact.low - width, down=True), _rounded(fact.high + width, down=False)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    if fact.low >= 0:
        low = 0
    if fact.high <= 0:
        high = 0
    whole = fact.type == "integer"
    return (int(low), int(high)) if whole else (float(low), float(high))


def _rounded(value: Any, *, down: bool) -> float:
    """Two significant digits, outwards."""
    # A tenth of the smallest floats is 0.
    if abs(value) < sys.float_info.min or not math.isfinite(value):
        return float(value)
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.floor(value / unit) if down else math.ceil(value / unit)
    return float(f"{steps * unit:.6g}")
