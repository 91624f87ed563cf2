"""Finds texts with numbers or dates in another notation: 1.234,50 or 31.01.2024 or 12 %.

A column is parsed in a notation only if every value that isn't missing is written in it, and no
other reading of these values is possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.column_names import feature_name, quote
from mlops_cli.scaffold.infer_types import HEAD, MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

__all__ = ["Notation", "find_notations"]

_UNITS = ("%", "€", "$", "£", "¥", "EUR", "USD", "GBP", "CHF")
_BLANKS = (" ", "\u00a0", "\u202f", "'", "\u2019")
"""Separators of groups of three digits, besides comma and full stop."""
_GROUP = "[ \u00a0\u202f'\u2019]"
_UNIT = r"(%|€|\$|£|¥|EUR|USD|GBP|CHF)"


def _number_pattern(group: str, point: str) -> str:
    return (
        rf"^\s*[+-]?\s*({_UNIT}\s*)?[+-]?([0-9]{{1,3}}({group}[0-9]{{3}})+|[0-9]+)"
        rf"({point}[0-9]+)?\s*{_UNIT}?\s*$"
    )


_COMMA = _number_pattern(rf"(\.|{_GROUP})", ",")
_POINT = _number_pattern(rf"(,|{_GROUP})", r"\.")
_PLAIN = r"^[+-]?[0-9]+(\.[0-9]+)?$"
_TIMES = {
    "": "",
    r"[ T][0-9]{2}:[0-9]{2}": " %H:%M",
    r"[ T][0-9]{2}:[0-9]{2}:[0-9]{2}": " %H:%M:%S",
}
_D = "[0-9]{1,2}"
_DATES = {
    rf"{_D}\.{_D}\.[0-9]{{4}}": ("%d.%m.%Y",),
    rf"{_D}/{_D}/[0-9]{{4}}": ("%d/%m/%Y", "%m/%d/%Y"),
    rf"{_D}-{_D}-[0-9]{{4}}": ("%d-%m-%Y", "%m-%d-%Y"),
    rf"[0-9]{{4}}/{_D}/{_D}": ("%Y/%m/%d",),
}
"""Shape of a date -> the formats that it may be written in."""


@dataclass(frozen=True)
class Notation:
    """How a column of texts can be parsed.

    Attributes
    ----------
    column, name
        The text column, and the name of the column derived from it.
    means
        Description of its texts, such as ``numbers with a decimal comma``.
    readings
        SQL expressions, one for each possible reading.
    missing
        Texts of the column that mean a missing value.
    """

    column: str
    name: str
    means: str
    readings: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def sql(self) -> str | None:
        """The only possible reading; None if there are several."""
        return self.readings[0] if len(self.readings) == 1 else None


def find_notations(frame: pl.LazyFrame, columns: Sequence[str]) -> dict[str, Notation]:
    """Column -> its notation, for the text columns that have one.

    The first rows show which columns are tested over the whole table.
    """
    import polars as pl

    columns = _candidate_columns(frame.head(HEAD), columns)
    if not columns:
        return {}
    values = frame.select(
        pl.col(c).str.strip_chars().unique().drop_nulls().implode().alias(str(i))
        for i, c in enumerate(columns)
    ).collect(engine="streaming")
    notations: dict[str, Notation] = {}
    used_names = set(frame.collect_schema().names())
    for i, column in enumerate(columns):
        texts = values[str(i)][0]
        missing = texts.filter(texts.is_in(["", *MISSING]))
        notation = _detect_notation(column, texts.filter(~texts.is_in(["", *MISSING])), used_names)
        if notation is not None:
            markers = tuple(sorted(set(missing.to_list()) - {""}))
            notations[column] = Notation(
                column, notation.name, notation.means, notation.readings, markers
            )
            used_names.add(notation.name)
    return notations


def _candidate_columns(head: pl.LazyFrame, columns: Iterable[str]) -> list[str]:
    import polars as pl

    shapes = "|".join([_COMMA, _POINT, *(f"^{shape}" for shape in _DATES)])
    columns = list(columns)
    if not columns:
        return []
    text = pl.col(columns).str.strip_chars()
    fits = text.str.contains(shapes) | text.is_in(["", *MISSING])
    results = head.select(fits.all()).collect(engine="streaming").row(0, named=True)
    return [c for c in columns if results[c]]


def _detect_notation(column: str, values: pl.Series, used_names: Iterable[str]) -> Notation | None:
    if not len(values):
        return None
    return _detect_dates(column, values, used_names) or _detect_numbers(column, values, used_names)


def _detect_dates(column: str, values: pl.Series, used_names: Iterable[str]) -> Notation | None:
    for shape, formats in _DATES.items():
        for time, time_format in _TIMES.items():
            if not values.str.contains(f"^{shape}{time}$").all():
                continue
            full_formats = [f"{form}{time_format}" for form in formats]
            fitting = [f for f in full_formats if _parses(values, f)]
            if not fitting:
                return None
            readings = tuple(f"STRPTIME({quote(column)}, '{form}')" for form in fitting)
            if not time_format:
                readings = tuple(f"CAST({sql} AS DATE)" for sql in readings)
            means = f"dates written as {' or '.join(_describe_format(form) for form in fitting)}"
            return Notation(
                column, feature_name(f"{column}_date", set(used_names)), means, readings
            )
    return None


def _describe_format(form: str) -> str:
    date = form.split(" ", maxsplit=1)[0]
    return date.replace("%d", "day").replace("%m", "month").replace("%Y", "year")


def _parses(values: pl.Series, form: str) -> bool:
    return values.str.to_datetime(form, strict=False).null_count() == 0


def _detect_numbers(column: str, values: pl.Series, used_names: Iterable[str]) -> Notation | None:
    if values.str.contains(_PLAIN).all():
        return None  # codes with zeros in front, long whole numbers
    readings = []
    for pattern, group, point in ((_COMMA, ".", ","), (_POINT, ",", ".")):
        if values.str.contains(pattern).all():
            readings.append(_number_reading(column, values, group, point))
    if not readings:
        return None
    descriptions = [words for words, _ in readings]
    sql = tuple(dict.fromkeys(expression for _, expression in readings))
    means = " or ".join(dict.fromkeys(descriptions)) if len(sql) > 1 else descriptions[0]
    return Notation(column, feature_name(f"{column}_number", set(used_names)), means, sql)


def _number_reading(column: str, values: pl.Series, group: str, point: str) -> tuple[str, str]:
    """Description and SQL expression for numbers with these separators."""

    def occurs(text: str) -> bool:
        return bool(values.str.contains(text, literal=True).any())

    sql = quote(column)
    dropped = [text for text in (*_UNITS, *_BLANKS, group) if occurs(text)]
    for text in dropped:
        sql = f"REPLACE({sql}, '{text.replace(chr(39), chr(39) * 2)}', '')"
    if point == "," and occurs(","):
        sql = f"REPLACE({sql}, ',', '.')"
    description = "numbers"
    if occurs(point) and point == ",":
        description += " with a decimal comma"
    if group in dropped or set(dropped) & set(_BLANKS):
        description += " with separated thousands"
    units = [text for text in dropped if text in _UNITS]
    if units:
        description += f" with {', '.join(units)}"
    return description, f"CAST({sql} AS DOUBLE)"
