"""Numbers and dates that texts write in another notation: 1.234,50 or 31.01.2024 or 12 %.

A column is read in a notation only if every value that isn't missing is written in it, and no
other reading of these values is possible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.column_names import feature_name, quoted
from mlops_cli.scaffold.infer_types import HEAD, MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

__all__ = ["Notation", "find_notations"]

_UNITS = ("%", "€", "$", "£", "¥", "EUR", "USD", "GBP", "CHF")
_BLANKS = (" ", "\u00a0", "\u202f", "'", "\u2019")
"""What groups of three digits are separated by, besides comma and full stop."""
_GROUP = "[ \u00a0\u202f'\u2019]"
_UNIT = r"(%|€|\$|£|¥|EUR|USD|GBP|CHF)"


def _number(group: str, point: str) -> str:
    return (
        rf"^\s*[+-]?\s*({_UNIT}\s*)?[+-]?([0-9]{{1,3}}({group}[0-9]{{3}})+|[0-9]+)"
        rf"({point}[0-9]+)?\s*{_UNIT}?\s*$"
    )


_COMMA = _number(rf"(\.|{_GROUP})", ",")
_POINT = _number(rf"(,|{_GROUP})", r"\.")
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
    """How a column of texts can be read.

    Attributes
    ----------
    column, name
        The column, and the name of what is made of it.
    means
        What its texts are, such as ``numbers with a decimal comma``.
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
    """Column -> its notation, for those of these text columns that have one.

    The first rows show which notations are worth looking for in all of them.
    """
    import polars as pl

    columns = _worth_it(frame.head(HEAD), columns)
    if not columns:
        return {}
    values = frame.select(
        pl.col(c).str.strip_chars().unique().drop_nulls().implode().alias(str(at))
        for at, c in enumerate(columns)
    ).collect(engine="streaming")
    found: dict[str, Notation] = {}
    taken = set(frame.collect_schema().names())
    for at, column in enumerate(columns):
        every = values[str(at)][0]
        missing = every.filter(every.is_in(["", *MISSING]))
        notation = _notation(column, every.filter(~every.is_in(["", *MISSING])), taken)
        if notation is not None:
            markers = tuple(sorted(set(missing.to_list()) - {""}))
            found[column] = Notation(
                column, notation.name, notation.means, notation.readings, markers
            )
            taken.add(notation.name)
    return found


def _worth_it(head: pl.LazyFrame, columns: Iterable[str]) -> list[str]:
    import polars as pl

    shapes = "|".join([_COMMA, _POINT, *(f"^{shape}" for shape in _DATES)])
    columns = list(columns)
    if not columns:
        return []
    text = pl.col(columns).str.strip_chars()
    fits = text.str.contains(shapes) | text.is_in(["", *MISSING])
    says = head.select(fits.all()).collect(engine="streaming").row(0, named=True)
    return [c for c in columns if says[c]]


def _notation(column: str, values: pl.Series, taken: Iterable[str]) -> Notation | None:
    if not len(values):
        return None
    return _dates(column, values, taken) or _numbers(column, values, taken)


def _dates(column: str, values: pl.Series, taken: Iterable[str]) -> Notation | None:
    for shape, formats in _DATES.items():
        for time, time_format in _TIMES.items():
            if not values.str.contains(f"^{shape}{time}$").all():
                continue
            whole = [f"{form}{time_format}" for form in formats]
            fitting = [f for f in whole if _parses(values, f)]
            if not fitting:
                return None
            readings = tuple(f"STRPTIME({quoted(column)}, '{form}')" for form in fitting)
            if not time_format:
                readings = tuple(f"CAST({sql} AS DATE)" for sql in readings)
            means = f"dates written as {' or '.join(_in_words(form) for form in fitting)}"
            return Notation(column, feature_name(f"{column}_date", set(taken)), means, readings)
    return None


def _in_words(form: str) -> str:
    date = form.split(" ", maxsplit=1)[0]
    return date.replace("%d", "day").replace("%m", "month").replace("%Y", "year")


def _parses(values: pl.Series, form: str) -> bool:
    return values.str.to_datetime(form, strict=False).null_count() == 0


def _numbers(column: str, values: pl.Series, taken: Iterable[str]) -> Notation | None:
    if values.str.contains(_PLAIN).all():
        return None  # codes with zeros in front, long whole numbers
    readings = []
    for pattern, group, point in ((_COMMA, ".", ","), (_POINT, ",", ".")):
        if values.str.contains(pattern).all():
            readings.append(_read_number(column, values, group, point))
    if not readings:
        return None
    points = [words for words, _ in readings]
    sql = tuple(dict.fromkeys(expression for _, expression in readings))
    means = " or ".join(dict.fromkeys(points)) if len(sql) > 1 else points[0]
    return Notation(column, feature_name(f"{column}_number", set(taken)), means, sql)


def _read_number(column: str, values: pl.Series, group: str, point: str) -> tuple[str, str]:
    """In words, and as SQL, how numbers with these separators are read."""

    def occurs(text: str) -> bool:
        return bool(values.str.contains(text, literal=True).any())

    sql = quoted(column)
    dropped = [text for text in (*_UNITS, *_BLANKS, group) if occurs(text)]
    for text in dropped:
        sql = f"REPLACE({sql}, '{text.replace(chr(39), chr(39) * 2)}', '')"
    if point == "," and occurs(","):
        sql = f"REPLACE({sql}, ',', '.')"
    words = "numbers"
    if occurs(point) and point == ",":
        words += " with a decimal comma"
    if group in dropped or set(dropped) & set(_BLANKS):
        words += " with separated thousands"
    units = [text for text in dropped if text in _UNITS]
    if units:
        words += f" with {', '.join(units)}"
    return words, f"CAST({sql} AS DOUBLE)"
