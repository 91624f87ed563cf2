"""The six column types of the pipeline, and conversion of other types to them.

Ingested tables have only Int64, Float64, String, Boolean, Date and Datetime[us, UTC] columns
(nested types are left as they are), so later stages don't depend on where a table came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from mlops_cli.params.ingest import TypeName

__all__ = [
    "DTYPES",
    "FIRST_MOMENT",
    "LAST_MOMENT",
    "TypeMismatch",
    "convert",
    "convert_or_null",
    "finite",
    "ingested_type",
    "outside_years",
    "printable",
    "table_of",
    "type_name",
]

DTYPES: dict[TypeName, pl.DataType] = {
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "string": pl.String(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us", "UTC"),
}
"""The Polars type of each type name of ``params.yaml``."""

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
_DAY = 86_400_000_000
FIRST_MOMENT, LAST_MOMENT = _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1
"""Microseconds since 1970: bounds of the years 1 to 9999, the range of ISO 8601 and Python."""

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class TypeMismatch(ValueError):
    """A value that can't be converted to its column's type.

    Parameters
    ----------
    column, value, expected_type
        The column's name, the first such value, and the type's name.
    """

    def __init__(self, column: str, value: Any, expected_type: str) -> None:
        super().__init__(f"{value!r} in column {column!r} is not of type {expected_type}")
        self.column = column
        self.value = value
        self.expected_type = expected_type


def ingested_type(dtype: pl.DataType) -> pl.DataType:
    """The type that a column of this type gets when it is ingested."""
    if dtype.is_integer():
        return DTYPES["integer"]
    if dtype.is_float() or dtype.is_decimal():
        return DTYPES["number"]
    if isinstance(dtype, pl.Datetime):
        return DTYPES["datetime"]
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Null)):
        return DTYPES["string"]
    return dtype


def type_name(dtype: pl.DataType) -> str:
    """The name of a Polars type in ``params.yaml``; Polars' own name if it has none there."""
    ingested = ingested_type(dtype)
    return next(
        (name for name, candidate in DTYPES.items() if candidate == ingested), str(dtype).lower()
    )


def convert(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Convert a column to one of the six types, without losing or guessing a value.

    Texts are parsed as ISO 8601 (times without a zone are UTC), as numbers, or as true/false,
    yes/no, 1/0. A number becomes an integer only if it is whole. NaN becomes null.

    Raises
    ------
    TypeMismatch
        With the first value that can't be converted.
    """
    converted, lost = convert_or_null(values, dtype)
    if lost is not None:
        raise TypeMismatch(values.name, printable(values.filter(lost))[0], type_name(dtype))
    return converted


def convert_or_null(values: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, pl.Series | None]:
    """Convert like ``convert``, with null and a mask for values that can't be converted.

    Returns
    -------
    tuple
        The converted column; and a mask of the values that were lost, or None if none was.
    """
    # Polars treats some names as patterns that match many columns.
    name, values = values.name, values.alias("")
    if values.dtype.is_float():
        values = values.fill_nan(None)
    in_range = _null_impossible_moments(values)
    converted = in_range if values.dtype == dtype else _convert_values(in_range, dtype)
    if converted is values:
        return values.alias(name), None
    if converted is None:
        converted = pl.Series([None] * len(values), dtype=dtype)
    converted = _null_impossible_moments(converted)
    lost = None
    if converted.null_count() != values.null_count():
        lost = converted.is_null() & values.is_not_null()
    # A text may be "NaN".
    result = converted.fill_nan(None) if dtype.is_float() else converted
    return result.alias(name), lost


def finite(values: pl.Series) -> pl.Series:
    """Replace infinity by null in a float column."""
    if not values.dtype.is_float():
        return values
    infinite = values.alias("").is_infinite()
    return values.set(infinite, None) if infinite.any() else values


def outside_years(values: pl.Series) -> pl.Series | None:
    """Mask of the moments before the year 1 or after 9999; None if there are none."""
    dtype = values.dtype
    if isinstance(dtype, pl.Date):
        low, high = _FIRST_DAY, _LAST_DAY
    elif isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns":  # ns never leaves these years
        unit = 1_000 if dtype.time_unit == "ms" else 1
        low, high = FIRST_MOMENT // unit, LAST_MOMENT // unit
    else:
        return None
    numbers = values.cast(pl.Int64)  # `to_physical` takes twenty times as long
    least, most = numbers.min(), numbers.max()
    if least is None or (low <= least and most <= high):  # type: ignore[operator]
        return None
    return ~numbers.is_between(low, high)


def printable(values: pl.Series) -> pl.Series:
    """Values that Python can represent: moments outside of its years become numbers."""
    return values if outside_years(values) is None else values.to_physical()


def _null_impossible_moments(values: pl.Series) -> pl.Series:
    """Replace moments outside of the years 1 to 9999 by null."""
    outside = outside_years(values)
    return values if outside is None else values.zip_with(~outside, values.clear(len(values)))


def _convert_values(values: pl.Series, dtype: pl.DataType) -> pl.Series | None:
    """Convert, with null for a value that doesn't fit; None if no value of the type can fit."""
    source = values.dtype
    if isinstance(source, pl.String):
        return _read_text(values, dtype)
    if isinstance(dtype, pl.String) and not source.is_nested():
        return values.cast(dtype)
    if source.is_numeric() or source == pl.Boolean:
        return _read_number(values, dtype)
    if isinstance(dtype, pl.Datetime) and isinstance(source, (pl.Date, pl.Datetime)):
        return _convert_to_utc(values)
    if isinstance(dtype, pl.Date) and isinstance(source, pl.Datetime):
        return values.cast(dtype)
    return None


def _read_number(values: pl.Series, dtype: pl.DataType) -> pl.Series | None:
    if dtype.is_temporal():
        return None
    if isinstance(dtype, pl.Boolean):
        zero_or_one = values.is_in([0, 1])
        return pl.select(pl.when(zero_or_one).then(values == 1)).to_series()
    if dtype.is_integer() and not values.dtype.is_integer():
        numbers = values.cast(pl.Float64)
        # JSON gives floats for integers below Int64's minimum; their nearest float is that minimum.
        is_whole = (numbers.round() == numbers) & (numbers > -(2.0**63))
        return pl.select(pl.when(is_whole).then(numbers.cast(dtype, strict=False))).to_series()
    return values.cast(dtype, strict=False)


def _convert_to_utc(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        return values.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _read_text(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Datetime):
        return _read_moments(values)
    if isinstance(dtype, pl.Date):
        dates = values.str.to_date("%Y-%m-%d", strict=False)
        all_dates = dates.null_count() == values.null_count()
        return dates if all_dates else _read_moments(values).cast(pl.Date)
    text = values.str.strip_chars()
    if isinstance(dtype, pl.Boolean):
        lower = text.str.to_lowercase()
        recognised = lower.is_in([*_TRUE, *_FALSE])
        return pl.select(pl.when(recognised).then(lower.is_in(_TRUE))).to_series()
    if dtype.is_integer():
        integers = text.cast(dtype, strict=False)
        if integers.null_count() == values.null_count():
            return integers
        # Integers are written as 517.0 if missing values turned their column into floats.
        without_zeros = text.str.replace(r"^([+-]?\d+)\.0*$", "${1}")
        return without_zeros.cast(dtype, strict=False)
    return text.cast(dtype, strict=False)


def _read_moments(text: pl.Series) -> pl.Series:
    """Parse ISO 8601 moments: fast if all have one common shape, else after normalising them."""
    first = text.drop_nulls().head(1)
    length = len(first[0]) if len(first) else 0
    shape = {
        20: "%Y-%m-%dT%H:%M:%SZ",
        19: "%Y-%m-%dT%H:%M:%S" if length and "T" in first[0] else "%Y-%m-%d %H:%M:%S",
    }.get(length)
    if shape is not None:
        quick = text.str.to_datetime(shape, time_unit="us", strict=False)
        if quick.null_count() == text.null_count():
            return quick.dt.replace_time_zone("UTC")
    # Normalise every shape to DATE T TIME OFFSET, and parse that.
    normalised = (
        text.str.strip_chars()
        .str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00")
        .str.replace(r"^(\d{4}-\d\d-\d\d)[ t]", "${1}T")
        .str.replace(r"^(.{11}\d\d:\d\d)(Z|z| ?UTC|[+-]\d.*)?$", "${1}:00${2}")
        .str.replace(r"(Z|z| ?UTC)$", "+00:00")
        .str.replace(r"^(.{11}[0-9:.]+)$", "${1}+00:00")
        .str.replace(r"([+-]\d\d)$", "${1}:00")
    )
    return normalised.str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
    )


def table_of(columns: Sequence[pl.Series]) -> pl.DataFrame:
    """A table of columns under their own names.

    The constructor of a frame itself renames a column without a name.

    Raises
    ------
    ValueError
        If two columns have one name.
    """
    by_name = {column.name: column for column in columns}
    if len(by_name) < len(columns):
        raise ValueError("two columns have one name")
    return pl.DataFrame(by_name)
