"""Finds a date that is split into several columns, such as year, month, day and hour.

A column's name, in several languages, says which part it may be. All its values must fit, and
together they must be dates that exist: no 30 February.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.data.column_names import feature_name, quote

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DateParts", "find_date_parts"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAMES = {
    "year": _words("year yr yyyy y jahr annee ano anno jaar rok"),
    "month": _words("month mon mnth mth mm m mo monat mois mes mese maand"),
    "day": _words("day dy dd d dom mday tag jour dia giorno dag dayofmonth"),
    "hour": _words("hour hr hrs hh h stunde std heure hora ora uur"),
    "minute": _words("minute minutes min mi minuto minuut"),
}
_AMBIGUOUS = frozenset("ymdh") | {
    "mm",
    "dd",
    "mi",
    "mo",
    "ano",
    "min",
    "mon",
    "dom",
    "mes",
    "ora",
    "std",
}
"""Ambiguous names: the column is a part only beside a year with four digits."""
_RANGES = {
    "year": (1900, 2100),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 23),
    "minute": (0, 59),
}
_FULL_YEARS, _SHORT_YEARS = (1900, 2100), (0, 99)
_MONTHS = (
    "jan januar janvier enero gennaio januari",
    "feb februar fevrier febrero febbraio februari fev",
    "mar marz maerz mars marzo maart mrz",
    "apr april avril abril aprile avr abr",
    "may mai mayo maggio mei mag maj",
    "jun juni juin junio giugno june giu",
    "jul juli juillet julio luglio july lug",
    "aug august aout agosto augustus ago",
    "sep september septembre septiembre settembre sept set",
    "oct oktober octobre octubre ottobre october okt ott",
    "nov november novembre noviembre",
    "dec dezember decembre diciembre dicembre december dez dic",
)
_LARGER = {"hour": "day", "minute": "hour"}
_MIN_DATES = 5
_WEEK, _MANY = 7, 100
"""If days go up to 7 only, in so many rows, they are days of the week."""
_LEAP_YEAR = 2000


@dataclass(frozen=True)
class DateParts:
    """Columns that together are a date.

    Attributes
    ----------
    columns
        The largest part first.
    name, sql
        The name and the SQL expression of the date.
    """

    columns: tuple[str, ...]
    name: str
    sql: str


def find_date_parts(frame: pl.LazyFrame, columns: Iterable[str]) -> DateParts | None:
    """Find the date that some columns make; None if there is none, or not in all rows."""
    import polars as pl

    columns = list(columns)
    schema = frame.collect_schema()
    for parts in _group_by_part(columns):
        # A day that is a text is a day of the week.
        parts = {p: c for p, c in parts.items() if schema[c].is_numeric() or p == "month"}  # noqa: PLW2901
        month = parts["month"]
        months = _month_numbers(frame, month) if schema[month] == pl.String else {}
        if not (months or schema[month].is_numeric()):
            continue
        fitting = _select_parts(frame, parts, months)
        if fitting is None:
            continue
        sql = _sql(fitting, months, short=_is_short(frame, fitting))
        if _makes_dates(frame, sql):
            name = feature_name("date", set(schema.names()))
            return DateParts(tuple(fitting.values()), name, sql)
    return None


def _group_by_part(columns: Iterable[str]) -> list[dict[str, str]]:
    """Part -> column, for each group of columns whose names differ only in the part."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for column in columns:
        words = _split_words(column)
        for part, names in _NAMES.items():
            part_words = [word for word in words if word in names]
            rest = tuple(word for word in words if word not in part_words)
            if len(part_words) == 1 and part not in groups.setdefault(rest, {}):
                groups[rest][part] = column
                break
    ordered = [{p: group[p] for p in _NAMES if p in group} for group in groups.values()]
    return [
        parts for parts in ordered if {"year", "month"} <= set(parts) or _has_month_and_day(parts)
    ]


def _has_month_and_day(parts: Mapping[str, str]) -> bool:
    """Whether there are a month and a day, named unambiguously, even without a year."""
    return {"month", "day"} <= set(parts) and not any(
        _split_words(parts[p])[-1] in _AMBIGUOUS for p in ("month", "day")
    )


def _split_words(name: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    plain = "".join(c for c in folded if not unicodedata.combining(c)).lower()
    plain = re.sub(r"day[\W_]*of[\W_]*month", "dayofmonth", plain)
    return [word for word in re.split(r"[\W_]+", plain) if word]


def _month_numbers(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    """Text -> number of the month, for all texts of a column; empty if one is no month."""
    import polars as pl

    texts = frame.select(pl.col(column).drop_nulls().unique().sort()).collect(engine="streaming")
    numbers = {}
    for text in texts[column].to_list()[: 10 * len(_MONTHS)]:
        words = _split_words(text)
        number = next(
            (n for n, names in enumerate(_MONTHS, 1) if words and words[0] in names.split()), None
        )
        if number is None or len(words) > 1:
            return {}
        numbers[text] = number
    return numbers if len(numbers) == texts.height else {}


def _select_parts(
    frame: pl.LazyFrame, parts: Mapping[str, str], months: Mapping[str, int]
) -> dict[str, str] | None:
    """The parts whose values fit, the largest first; None if these are no date."""
    import polars as pl

    numbers = {p: c for p, c in parts.items() if not (p == "month" and months)}
    queries = [pl.len().alias("rows")]
    for part, column in numbers.items():
        value = pl.col(column)
        is_whole = (value == value.cast(pl.Float64).round(0)).all() & value.is_not_null().all()
        queries += [is_whole.alias(f"{part} whole"), value.min().alias(f"{part} low")]
        queries.append(value.max().alias(f"{part} high"))
    stats = frame.select(queries).collect(engine="streaming").row(0, named=True)
    selected: dict[str, str] = {}
    for part, column in parts.items():
        # A part means nothing without the next larger one: a minute without an hour.
        if part in ("hour", "minute") and _LARGER[part] not in selected:
            break
        if part in numbers and not _fits(part, stats):
            break
        selected[part] = column
    if not ({"year", "month"} <= set(selected) or {"month", "day"} <= set(selected)):
        return None
    bare = any(_split_words(c)[-1] in _AMBIGUOUS for c in selected.values())
    return None if bare and stats.get("year low", 0) < _FULL_YEARS[0] else selected


def _fits(part: str, stats: Mapping[str, Any]) -> bool:
    """Whether a column's values are whole numbers in the range of a part."""
    low, high = stats[f"{part} low"], stats[f"{part} high"]
    if low is None or not stats[f"{part} whole"]:
        return False
    if part == "year" and low < _FULL_YEARS[0]:
        return bool(_SHORT_YEARS[0] <= low and high <= _SHORT_YEARS[1])
    if part == "day" and high <= _WEEK and stats["rows"] >= _MANY:
        return False
    return bool(_RANGES[part][0] <= low and high <= _RANGES[part][1])


def _is_short(frame: pl.LazyFrame, parts: Mapping[str, str]) -> bool:
    """Whether years are written with two digits."""
    import polars as pl

    if "year" not in parts:
        return False
    return bool(frame.select(pl.col(parts["year"]).max()).collect().item() <= _SHORT_YEARS[1])


def _sql(parts: Mapping[str, str], months: Mapping[str, int], *, short: bool) -> str:
    def number(part: str) -> str:
        return f"CAST({quote(parts[part])} AS BIGINT)"

    year, month = str(_LEAP_YEAR), number("month")
    if "year" in parts:
        year = f"({number('year')} + 2000)" if short else number("year")
    if months:
        whens = " ".join(
            f"WHEN '{text.replace(chr(39), chr(39) * 2)}' THEN {n}" for text, n in months.items()
        )
        month = f"CASE {quote(parts['month'])} {whens} END"
    day = number("day") if "day" in parts else "1"
    # One number of eight digits, such as 20240131, is unambiguous for parts of any length.
    joined = f"{year} * 10000 + {month} * 100 + {day}"
    sql = f"STRPTIME(CAST({joined} AS VARCHAR), '%Y%m%d')"
    for part in ("hour", "minute"):
        if part in parts:
            sql += f" + {number(part)} * INTERVAL '1 {part}'"
    return sql


def _makes_dates(frame: pl.LazyFrame, sql: str) -> bool:
    """Whether every row has a date that exists, and there are enough distinct dates."""
    import polars as pl

    try:
        dates = frame.select(pl.sql_expr(sql).alias("date")).collect(engine="streaming")["date"]
    except pl.exceptions.PolarsError:
        return False  # such as the 30 February
    return dates.null_count() == 0 and dates.n_unique() >= min(_MIN_DATES, len(dates))
