"""Files of generated tables: CSV in many dialects, JSON Lines, Parquet."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from fuzzed_columns import Column, Table

__all__ = ["File", "write_table"]


@dataclass
class File:
    """A file and its content.

    Attributes
    ----------
    cells
        Column -> its values as the file has them: texts in CSV, JSON values, Parquet's values.
    options
        What `mlops init` must be given besides.
    fault
        How the file is broken on purpose; empty if it isn't.
    """

    path: Path
    cells: dict[str, list[Any]]
    options: list[str] = field(default_factory=list)
    fault: str = ""
    about: str = ""


CSV_FAULTS = (
    "backslashes", "short line", "long line", "quote in a value", "open quote", "cut gzip",
    "wrong encoding", "no header", "two names",
)  # fmt: skip


def write_table(table: Table, seed: int, folder: Path, rows: range, name: str) -> File:
    """Write rows of a table to a file; the seed decides its format."""
    r = random.Random(f"file {seed}")  # noqa: S311
    form = r.choices((_csv, _jsonl, _parquet), (6, 2, 2))[0]
    return form(r, table, rows, folder / name)


# CSV


@dataclass
class _Dialect:
    separator: str
    quoted: str
    end: str
    backslashes: bool = False

    def cell(self, r: random.Random, text: str, *, alone: bool) -> str:
        special = any(c in text for c in (self.separator, '"', "\n", "\r")) or (alone and not text)
        # A blank before a quote is no quote.
        if self.quoted == "all" or special or (self.quoted == "some" and r.random() < 0.3):
            escaped = '\\"' if self.backslashes else '""'
            return '"' + text.replace('"', escaped) + '"'
        return text

    def line(self, r: random.Random, texts: list[str]) -> str:
        return self.separator.join(self.cell(r, t, alone=len(texts) == 1) for t in texts)


def _csv(r: random.Random, table: Table, rows: range, place: Path) -> File:
    columns = table.columns
    dialect = _Dialect(
        r.choices((",", ";", "\t", "|"), (6, 2, 1, 1))[0],
        r.choices(("least", "all", "some"), (6, 2, 2))[0],
        r.choices(("\n", "\r\n", "\r"), (12, 6, 1))[0],
    )
    fault = r.choice(CSV_FAULTS) if r.random() < 0.12 else ""
    dialect.backslashes = fault == "backslashes"
    encoding, options = _encoding(r, columns, fault)
    packed, marked, indexed = r.random() < 0.15, r.random() < 0.15, r.random() < 0.06
    names = [c.name for c in columns]
    # What has no name gets its place's.
    texts = {
        c.name if c.name.strip() else f"unnamed_{at}": [c.texts[i] for i in rows]
        for at, c in enumerate(columns, 1 + indexed)
    }
    body = [[c.texts[i] for c in columns] for i in rows]
    if indexed:  # as to_csv() of pandas writes it
        names, body = ["", *names], [[str(i), *line] for i, line in zip(rows, body, strict=True)]
    if fault == "two names" and len(names) > 1:
        names[0] = names[1]
    elif fault == "two names":
        fault = ""
    lines = [dialect.line(r, line) for line in ([] if fault == "no header" else [names]) + body]
    fault = _broken(r, lines, fault, dialect.separator)
    if r.random() < 0.15:
        for _ in range(r.randint(1, 3)):
            lines.insert(r.choice((0, len(lines), r.randint(0, len(lines)))), "")
    text = dialect.end.join(lines) + (dialect.end if r.random() < 0.8 else "")
    data = text.encode(encoding, errors="surrogatepass" if encoding == "utf-8" else "strict")
    if encoding == "utf-8" and marked:
        data = b"\xef\xbb\xbf" + data
    path = place.with_suffix(".csv")
    if packed or fault == "cut gzip":
        path, data = place.with_suffix(".csv.gz"), gzip.compress(data, mtime=0)
        data = data[: len(data) * 2 // 3] if fault == "cut gzip" else data
    path.write_bytes(data)
    about = f"{dialect} {encoding} {fault}"
    return File(path, texts, options, fault, about)


def _broken(r: random.Random, lines: list[str], fault: str, separator: str) -> str:
    """Damage a line; return the fault, or nothing if that isn't possible."""
    if fault not in ("short line", "long line", "quote in a value", "open quote"):
        return fault
    at = r.randrange(len(lines))
    if at == 0 or (fault == "short line" and separator not in lines[at]):
        return ""
    if fault == "short line":
        if '"' in lines[at]:
            return ""
        lines[at] = lines[at].rsplit(separator, 1)[0]
    elif fault == "long line":
        lines[at] += separator + "more"
    elif fault == "quote in a value":
        lines[at] = 'a 5" pipe' + separator + lines[at].partition(separator)[2]
    else:
        lines[at] = '"a' + separator + lines[at].partition(separator)[2]
    return fault


def _encoding(r: random.Random, columns: list[Column], fault: str) -> tuple[str, list[str]]:
    text = "".join(part for c in columns for part in (c.name, *c.texts))
    wanted = r.choices(("utf-8", "latin-1", "cp1252", "utf-16", "gb18030"), (8, 1, 1, 1, 0.3))[0]
    if fault == "wrong encoding":
        wanted = "latin-1"
    try:
        text.encode(wanted)
    except UnicodeEncodeError:
        wanted = "utf-8"
    if wanted in ("utf-8", "utf-16") or fault == "wrong encoding":
        return wanted, []
    return wanted, ["--encoding", wanted]


# JSON Lines


def _jsonl(r: random.Random, table: Table, rows: range, place: Path) -> File:
    cells = {c.name: [_json_value(c, i) for i in rows] for c in table.columns}
    for name in ("tags", "about", "deep"):
        if r.random() < 0.15 and name not in cells:
            cells[name] = [_nested(r, name) for _ in rows]
    absent = r.random() < 0.4
    lines = []
    for at in range(len(rows)):
        row = {name: values[at] for name, values in cells.items()}
        if absent:
            row = {k: v for k, v in row.items() if v is not None or r.random() < 0.3}
        lines.append(json.dumps(row, ensure_ascii=r.random() < 0.5))
    fault = ""
    if lines and r.random() < 0.1:
        fault = r.choice(("no object", "cut line", "comma"))
        at = r.randrange(len(lines))
        lines[at] = {"no object": "[1]", "cut line": lines[at][:-1], "comma": lines[at] + ","}[
            fault
        ]
    if r.random() < 0.1:
        lines.insert(r.randint(0, len(lines)), r.choice(("", "  ")))
    end = r.choice(("\n", "\n", "\r\n"))
    data = (end.join(lines) + (end if r.random() < 0.8 else "")).encode(errors="surrogatepass")
    path = place.with_suffix(".jsonl")
    if r.random() < 0.15:
        path, data = place.with_suffix(".jsonl.gz"), gzip.compress(data, mtime=0)
    path.write_bytes(data)
    return File(path, cells, [], fault, f"jsonl {fault}")


def _json_value(column: Column, at: int) -> Any:
    value = column.values[at]
    if column.kind in ("iso dates", "moments") or not isinstance(value, int | float | str):
        return column.texts[at] if value is not None else None
    if "comma" in column.kind or column.kind in _TEXTS_ONLY:
        return column.texts[at]
    return value


_TEXTS_ONLY = (
    "thousands",
    "apostrophes",
    "dollars",
    "euros",
    "per cent",
    "yes/no",
    "ja/nein",
    "t/f",
)


def _nested(r: random.Random, name: str) -> Any:
    if r.random() < 0.1:
        return None
    if name == "tags":
        return r.choices(("a", "b"), k=r.randint(0, 3))
    return {"x": 1, "y": "z"} if name == "about" else {"a": [{"b": [1, 2]}], "c": {}}


# Parquet


def _parquet(r: random.Random, table: Table, rows: range, place: Path) -> File:
    import polars as pl

    series = [_series(r, c)[rows.start : rows.stop] for c in table.columns]
    names = {s.name for s in series}
    strange = ("tags", "span", "clock", "blob", "about", "fixed")
    more = [name for name in strange if r.random() < 0.08 and name not in names]
    series += [_strange(r, name, len(rows)) for name in more]
    unique = {s.name: s for s in series}
    frame = pl.DataFrame(list(unique.values()))
    path = place.with_suffix(".parquet")
    size = r.choice((None, 7, 100))
    frame.write_parquet(path, row_group_size=size, compression=r.choice(("zstd", "snappy")))
    fault = ""
    if r.random() < 0.06:
        fault, data = "cut file", path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    cells = {s.name: s.to_list() for s in frame if not _unreadable(s)}
    return File(path, cells, [], fault, f"parquet {fault} {dict(frame.schema)}")


def _unreadable(series: pl.Series) -> bool:
    return series.dtype.is_nested()


def _series(r: random.Random, column: Column) -> pl.Series:
    """Convert a column to one of the types that can hold it."""
    import polars as pl

    values = column.values
    present = [v for v in values if v is not None]
    if not present:
        return pl.Series(column.name, values, dtype=r.choice((pl.Null, pl.String, pl.Float64)))
    kinds, dtype = {type(v) for v in present}, None
    if kinds == {int}:
        low, high = min(present), max(present)
        types = [t for t, (least, most) in _whole().items() if least <= low and high <= most]
        dtype = r.choice(types) if types else None
    elif kinds <= {int, float}:
        return _numbers(r, column.name, [None if v is None else float(v) for v in values])
    elif kinds == {dt.datetime}:
        return _moments(r, column)
    elif kinds in ({bool}, {dt.date}):
        dtype = pl.Boolean if kinds == {bool} else pl.Date
    if dtype is None:
        values = [None if v is None else str(v) for v in values]
        dtype = r.choice((pl.String, pl.String, pl.Categorical))
    return pl.Series(column.name, values, dtype=dtype)


def _moments(r: random.Random, column: Column) -> pl.Series:
    import polars as pl

    unit, zone = r.choice(("ms", "us", "ns")), r.choice((None, "UTC", "Europe/Berlin"))
    # Polars looks a name such as ^a$ up as a pattern, so it comes last.
    exact = pl.Series("moments", column.values, dtype=pl.Datetime("us", "UTC"))
    made = exact.dt.convert_time_zone(zone) if zone else exact.dt.replace_time_zone(None)
    return made.dt.cast_time_unit(unit).alias(column.name)


def _numbers(r: random.Random, name: str, values: list[float | None]) -> pl.Series:
    import polars as pl

    dtype = r.choice((pl.Float64, pl.Float64, pl.Float32, pl.Decimal))
    largest = max(abs(v) for v in values if v is not None)
    if dtype == pl.Decimal and largest < 1e15:
        exact = [None if v is None else decimal.Decimal(f"{v:.4f}") for v in values]
        return pl.Series(name, exact, dtype=pl.Decimal(30, 4))
    if r.random() < 0.1:
        values = [float("nan") if v is not None and r.random() < 0.1 else v for v in values]
    return pl.Series(name, values, dtype=pl.Float64 if dtype == pl.Decimal else dtype)


def _whole() -> dict[Any, tuple[int, int]]:
    """Integer types with their minimum and maximum."""
    import polars as pl

    return {
        pl.Int8: (-(2**7), 2**7 - 1), pl.Int16: (-(2**15), 2**15 - 1),
        pl.Int32: (-(2**31), 2**31 - 1), pl.Int64: (-(2**63), 2**63 - 1),
        pl.UInt8: (0, 2**8 - 1), pl.UInt32: (0, 2**32 - 1), pl.UInt64: (0, 2**64 - 1),
    }  # fmt: skip


def _strange(r: random.Random, name: str, rows: int) -> pl.Series:
    """A column of a type that no feature can have."""
    import polars as pl

    values: dict[str, tuple[Any, Any]] = {
        "tags": (["a", "b"], pl.List(pl.String)),
        "span": (dt.timedelta(hours=3), pl.Duration("us")),
        "clock": (dt.time(12, 30), pl.Time),
        "blob": (b"\x00\xff", pl.Binary),
        "about": ({"x": 1, "y": None}, pl.Struct({"x": pl.Int64, "y": pl.String})),
        "fixed": ([1.0, 2.0], pl.Array(pl.Float64, 2)),
    }
    value, dtype = values[name]
    return pl.Series(name, [None if r.random() < 0.1 else value for _ in range(rows)], dtype=dtype)
