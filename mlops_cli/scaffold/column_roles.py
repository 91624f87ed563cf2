"""Role of each column in a new project: feature, target, time, group, or left out and why."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.data.column_names import feature_name, quote
from mlops_cli.scaffold.column_profile import SAMPLE, ColumnProfile

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.ingest import TypeName
    from mlops_cli.scaffold.infer_task import Target

__all__ = ["ColumnRole", "Role", "decide", "leaks"]

Role = Literal["target", "feature", "time", "group", "left out"]

LONG_TEXT = 40
"""Texts with more characters on average are prose, not categories."""
MOSTLY_UNIQUE = 0.5
ENOUGH_ROWS = 20
"""With fewer rows, all values may differ by chance."""


@dataclass(frozen=True)
class ColumnRole:
    """Role of one column, and what the project states about it.

    Attributes
    ----------
    type
        None if the pipeline has no name for it.
    reason
        Why it is left out; empty if it isn't.
    features
        Name -> SQL expression.
    low, high
        Limits of a number: the observed range, widened by its width on both sides.
    categories
        All values of a text that has few of them.
    text
        Whether it is prose, whose words become features.
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
    """Columns that leak the target -> how; a bounded sample is tested."""
    import polars as pl

    others = [n for n in facts if n != aim.name]
    sample = frame.filter(pl.col(aim.name).is_not_null()).head(SAMPLE).collect()
    labels, classes = sample[aim.name], sample[aim.name].n_unique()
    leaking = {}
    for name in others:
        column = sample[name]
        numbers = column.dtype.is_numeric() and labels.dtype.is_numeric()
        common_type = pl.Float64 if numbers else pl.String
        if column.cast(common_type).eq_missing(labels.cast(common_type)).all():
            leaking[name] = f"it equals the target {aim.name}"
        elif aim.classes and sample.height >= ENOUGH_ROWS and column.n_unique() == classes:
            pairs = pl.struct(aim.name, name).n_unique()
            if sample.select(pairs).item() == classes:
                leaking[name] = f"each of its values goes with one value of the target {aim.name}"
    return leaking


def decide(fact: ColumnProfile, given: Role | None, leak: str, taken: set[str]) -> ColumnRole:
    """Decide the role of a column.

    Parameters
    ----------
    given
        The role that the user chose, if any.
    leak
        How it leaks the target; empty if it doesn't.
    taken
        Names that are no longer free for features.
    """
    low, high = _limits(fact)
    reason = (leak or _why_useless(fact)) if given is None else ""
    role: Role = given or ("left out" if reason else "feature")
    return ColumnRole(
        name=fact.name,
        type=fact.type,
        role=role,
        reason=reason,
        features=_make_features(fact, taken, is_clock=role == "time")
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


def _why_useless(fact: ColumnProfile) -> str:
    """Why a column is useless for predicting new rows; empty if it may be useful."""
    if fact.distinct == 0 and fact.low is None:
        return "it has no values"
    if fact.low == fact.high and fact.low is not None and not fact.missing:
        return f"it always has the value {fact.low}"
    if fact.type == "integer" and fact.unique and _is_named_like_id(fact):
        return "its numbers only tell the rows apart"
    return _why_useless_text(fact) if fact.type == "string" and fact.present >= ENOUGH_ROWS else ""


def _why_useless_text(fact: ColumnProfile) -> str:
    share = fact.distinct / fact.present
    if _is_prose(fact):
        return ""
    if fact.unique:
        return "its texts only tell the rows apart"
    return f"{share:.0%} of its texts differ" if share > MOSTLY_UNIQUE else ""


def _is_named_like_id(fact: ColumnProfile) -> bool:
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


def _make_features(
    fact: ColumnProfile, used_names: set[str], *, is_clock: bool
) -> tuple[tuple[str, str], ...]:
    sql = quote(fact.name)
    if fact.type in ("date", "datetime"):
        return _make_date_features(fact, sql, used_names, is_clock=is_clock)
    return ((feature_name(fact.name, used_names), sql),)


def _make_date_features(
    fact: ColumnProfile, sql: str, used_names: set[str], *, is_clock: bool
) -> tuple[tuple[str, str], ...]:
    parts = {"month": f"EXTRACT(month FROM {sql})", "weekday": f"EXTRACT(isodow FROM {sql})"}
    if fact.type == "datetime":
        parts["hour"] = f"EXTRACT(hour FROM {sql})"
    # If rows are split by this column, later rows have years and days that were never seen.
    if not is_clock:
        days = f"EXTRACT(epoch FROM CAST({sql} AS TIMESTAMP)) / 86400"
        parts["days"] = days
        if fact.low.year != fact.high.year:
            parts = {"year": f"EXTRACT(year FROM {sql})", **parts}
    features: dict[str, str] = {}
    for part, expression in parts.items():
        features[feature_name(f"{fact.name}_{part}", used_names | features.keys())] = expression
    return tuple(features.items())


def _limits(fact: ColumnProfile) -> tuple[float | int | None, float | int | None]:
    if fact.type not in ("integer", "number") or fact.low is None or fact.high is None:
        return None, None
    width = fact.high - fact.low or abs(fact.high) or 1
    low, high = (
        _round_outwards(fact.low - width, down=True),
        _round_outwards(fact.high + width, down=False),
    )
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    if fact.low >= 0:
        low = 0
    if fact.high <= 0:
        high = 0
    is_integer = fact.type == "integer"
    return (int(low), int(high)) if is_integer else (float(low), float(high))


def _round_outwards(value: Any, *, down: bool) -> float:
    """Round to two significant digits, outwards."""
    # A tenth of the smallest floats is 0.
    if abs(value) < sys.float_info.min or not math.isfinite(value):
        return float(value)
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.floor(value / unit) if down else math.ceil(value / unit)
    return float(f"{steps * unit:.6g}")
