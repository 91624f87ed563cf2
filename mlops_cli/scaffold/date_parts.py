"""A date that lies in several columns, such as year, month, day and hour.

Names say which part a column may be, in some languages; all its values have to fit, and together
they have to be dates that there are: no 30 February.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.data.column_names import feature_name, quoted

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
_BARE = frozenset("ymdh") | {
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
"""Names that mean something else more often: parts only beside a year with four digits."""
_RANGES = {
    "year": (1900, 2100),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 23),
    "minute": (0, 59),
}
_FULL, _SHORT = (1900, 2100), (0, 99)
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
_LEAST_DATES = 5
_WEEK, _MANY = 7, 100
"""Days up to 7 in so many rows are those of a week."""
_LEAP = 2000


@dataclass(frozen=True)
class DateParts:
    """Columns that make a date.

    Attributes
    ----------
    columns
        The largest part first.
    name, sql
        What is made of them, and how.
    """

    columns: tuple[str, ...]
    name: str
    sql: str


def find_date_parts(frame: pl.LazyFrame, columns: Iterable[str]) -> DateParts | None:
    """The date that some of these columns make; None where they make none, or not in all rows."""
    import polars as pl

    columns = list(columns)
    schema = frame.collect_schema()
    for parts in _named(columns):
        # A day of text is one of the week.
        parts = {p: c for p, c in parts.items() if schema[c].is_numeric() or p == "month"}  # noqa: PLW2901
        month = parts["month"]
        months = _months(frame, month) if schema[month] == pl.String else {}
        if not (months or schema[month].is_numeric()):
            continue
        fitting = _fitting(frame, parts, months)
        if fitting is None:
            continue
        sql = _sql(fitting, months, short=_is_short(frame, fitting))
        if _makes_dates(frame, sql):
            name = feature_name("date", set(schema.names()))
            return DateParts(tuple(fitting.values()), name, sql)
    return None


def _named(columns: Iterable[str]) -> list[dict[str, str]]:
    """Part -> column, for each group of columns that differ in the name of a part only."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for column in columns:
        words = _split(column)
        for part, names in _NAMES.items():
            own = [word for word in words if word in names]
            rest = tuple(word for word in words if word not in own)
            if len(own) == 1 and part not in groups.setdefault(rest, {}):
                groups[rest][part] = column
                break
    ordered = [{p: group[p] for p in _NAMES if p in group} for group in groups.values()]
    return [parts for parts in ordered if {"year", "month"} <= set(parts) or _of_a_year(parts)]


def _of_a_year(parts: Mapping[str, str]) -> bool:
    """Whether month and day of one year are named beyond doubt."""
    return {"month", "day"} <= set(parts) and not any(
        _split(parts[p])[-1] in _BARE for p in ("month", "day")
    )


def _split(name: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", re.sub(r"([a-z])([A-Z])", r"\1 \2", name))
    plain = "".join(c for c in folded if not unicodedata.combining(c)).lower()
    plain = re.sub(r"day[\W_]*of[\W_]*month", "dayofmonth", plain)
    return [word for word in re.split(r"[\W_]+", plain) if word]


def _months(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    """Text -> number of the month, of all texts of a column; empty where one is none."""
    import polars as pl

    texts = frame.select(pl.col(column).drop_nulls().unique().sort()).collect(engine="streaming")
    found = {}
    for text in texts[column].to_list()[: 10 * len(_MONTHS)]:
        words = _split(text)
        number = next(
            (n for n, names in enumerate(_MONTHS, 1) if words and words[0] in names.split()), None
        )
        if number is None or len(words) > 1:
            return {}
        found[text] = number
    return found if len(found) == texts.height else {}


def _fitting(
    frame: pl.LazyFrame, parts: Mapping[str, str], months: Mapping[str, int]
) -> dict[str, str] | None:
    """The parts, the largest first, as far as their values fit; None where that is no date."""
    import polars as pl

    numbers = {p: c for p, c in parts.items() if not (p == "month" and months)}
    asked = [pl.len().alias("rows")]
    for part, column in numbers.items():
        value = pl.col(column)
        whole = (value == value.cast(pl.Float64).round(0)).all() & value.is_not_null().all()
        asked += [whole.alias(f"{part} whole"), value.min().alias(f"{part} low")]
        asked.append(value.max().alias(f"{part} high"))
    found = frame.select(asked).collect(engine="streaming").row(0, named=True)
    kept: dict[str, str] = {}
    for part, column in parts.items():
        # What is smaller says nothing without what is larger: a minute of no hour.
        if part in ("hour", "minute") and _LARGER[part] not in kept:
            break
        if part in numbers and not _fits(part, found):
            break
        kept[part] = column
    if not ({"year", "month"} <= set(kept) or {"month", "day"} <= set(kept)):
        return None
    bare = any(_split(c)[-1] in _BARE for c in kept.values())
    return None if bare and found.get("year low", 0) < _FULL[0] else kept


def _fits(part: str, found: Mapping[str, Any]) -> bool:
    """Whether whole numbers lie in the range of a part."""
    low, high = found[f"{part} low"], found[f"{part} high"]
    if low is None or not found[f"{part} whole"]:
        return False
    if part == "year" and low < _FULL[0]:
        return bool(_SHORT[0] <= low and high <= _SHORT[1])
    if part == "day" and high <= _WEEK and found["rows"] >= _MANY:
        return False
    return bool(_RANGES[part][0] <= low and high <= _RANGES[part][1])


def _is_short(frame: pl.LazyFrame, parts: Mapping[str, str]) -> bool:
    """Whether years are written with two digits."""
    import polars as pl

    if "year" not in parts:
        return False
    return bool(frame.select(pl.col(parts["year"]).max()).collect().item() <= _SHORT[1])


def _sql(parts: Mapping[str, str], months: Mapping[str, int], *, short: bool) -> str:
    def number(part: str) -> str:
        return f"CAST({quoted(parts[part])} AS BIGINT)"

    year, month = str(_LEAP), number("month")
    if "year" in parts:
        year = f"({number('year')} + 2000)" if short else number("year")
    if months:
        whens = " ".join(
            f"WHEN '{text.replace(chr(39), chr(39) * 2)}' THEN {n}" for text, n in months.items()
        )
        month = f"CASE {quoted(parts['month'])} {whens} END"
    day = number("day") if "day" in parts else "1"
    # One number of eight digits, as 20240131, which no length of a part makes doubtful.
    joined = f"{year} * 10000 + {month} * 100 + {day}"
    sql = f"STRPTIME(CAST({joined} AS VARCHAR), '%Y%m%d')"
    for part in ("hour", "minute"):
        if part in parts:
            sql += f" + {number(part)} * INTERVAL '1 {part}'"
    return sql


def _makes_dates(frame: pl.LazyFrame, sql: str) -> bool:
    """Whether every row has a date that there is, and not all the same few."""
    import polars as pl

    try:
        made = frame.select(pl.sql_expr(sql).alias("date")).collect(engine="streaming")["date"]
    except pl.exceptions.PolarsError:
        return False  # such as the 30 February
    return made.null_count() == 0 and made.n_unique() >= min(_LEAST_DATES, len(made))
