"""Tables generated from a seed: their values, and how a file writes them.

A column has the values that are meant and the texts that a text file writes for them; what a
pipeline makes of the texts can thus be compared with what was meant.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MARKERS", "Column", "Table", "make_table"]

MARKERS = ("", "", "", "NA", "N/A", "nan", "NULL", "null", "None", "?", "-", "#N/A", "NaN", ".")
NAMES = (
    "amount", "Amount", "AMOUNT", "net amount", "a.b", "a b", " a", "a ", 'a"b', "it's",
    "Größe", "Straße", "名前", "цена", "😀", "select", "from", "order", "group", "end", "null",
    "true", "case", "date", "index", "1st", "2024", "-", "x" * 300, "a,b", "a;b", "a\tb",
    "a\nb", "a:b", "a|b", "{a}", "[a]", "#a", "%a", "&a", "a/b", "a\\b", "é", "e\u0301", "id",
    "row", "len", "count", "value", "literal", "rows", "features", "target", "prediction",
    "version", "number", "column_0", "a*", "^a", "a$", "a__b", "no", "yes", "y", "n", "~", "@a",
    "`a`", "<b>", "a=b", "Temp. (°C)", "p(x)", "100%", "NaN", "İ", "ß", "SS", "ss", "ﬁ",
    "\u200bz", "struct", "time",
)  # fmt: skip
ODD_NAMES = (
    "*", "^a.*$", "", " ", "_row", "__x", "_a", "\x00a", "a\ud7ff", "y" * 1200,
    "x" * 90 + "!", "- - - -", "a" * 60 + " b" * 60 + "?",
)  # fmt: skip
TEXTS = (
    "plain", 'a "quoted" word', "comma, separated", "semi; colon", "tab\there", "line\nbreak",
    "two\r\nlines", "pipe | bar", "it's", "back\\slash", '5" pipe', "ümläut", "naïve café",
    "日本語", "Здравствуй", "😀 👨‍👩‍👧", "e\u0301", "\u200b", "\u202eabc", "<b>&amp;</b>",
    "=1+1", "@x", "{a: 1}", "[1, 2]", " leading", "trailing ", "  ", "None", "NA", "null",
    "true", "1", "01", "-", "?", "#", "'", "''", '"', '""', "\\N", "\\", "$", "%", "x" * 500,
    "\x01", "\x7f", "\u2028", "\x85", "\xa0",
)  # fmt: skip


@dataclass
class Column:
    """One column.

    Attributes
    ----------
    values
        What is meant, None where nothing is.
    texts
        As a text file writes them.
    type
        The type that it must have after ingest; None where several are right.
    """

    name: str
    kind: str
    values: list[Any]
    texts: list[str]
    type: str | None = None


@dataclass
class Table:
    """Columns of one length, and the target."""

    columns: list[Column]
    target: Column
    rows: int
    time: str | None = None
    group: str | None = None
    notes: list[str] = field(default_factory=list)


Draw = Callable[[random.Random, int], tuple[list[Any], list[str], str | None]]


def _written(values: list[Any], write: Callable[[Any], str], kind: str | None) -> Any:
    return values, [write(v) for v in values], kind


def _integers(r: random.Random, n: int) -> Any:
    top = r.choice((3, 100, 10**6, 10**12, 10**15, 2**53, 10**17))
    return _written([r.randint(-top, top) for _ in range(n)], str, "integer")


def _edges(r: random.Random, n: int) -> Any:
    edges = (2**63 - 1, -(2**63), 2**63 - 2, 0, -1, 10**18, -(10**18))
    return _written([r.choice(edges) for _ in range(n)], str, "integer")


def _beyond(r: random.Random, n: int) -> Any:
    """Integers that don't fit into 64 bits."""
    start = r.choice((2**63, 10**19, 2**64, 10**30, 10**80))
    return _written([start + i * r.randint(1, 99) for i in range(n)], str, "string")


def _ids(r: random.Random, n: int) -> Any:
    start = r.choice((1, 1000, 10**9, 17 * 10**17))
    return _written([start + i for i in range(n)], str, "integer")


def _codes(r: random.Random, n: int) -> Any:
    return _written([f"{r.randrange(30):05d}" for _ in range(n)], str, "string")


def _floats(r: random.Random, n: int) -> Any:
    scale, digits = r.choice((1e-3, 1, 1e3, 1e9)), r.choice((1, 2, 6, 15))
    values = [round(r.gauss(0, scale), digits) for _ in range(n)]
    return _written(values, repr, "number")


def _extremes(r: random.Random, n: int) -> Any:
    edges = (1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 0.0, -0.0, 1e300, 1e-300, 0.1)
    return _written([r.choice(edges) for _ in range(n)], repr, "number")


def _scientific(r: random.Random, n: int) -> Any:
    form = r.choice(("{:e}", "{:.3E}", "{:+.2e}"))
    texts = [form.format(r.gauss(0, 10.0 ** r.randint(-30, 30))) for _ in range(n)]
    return [float(t) for t in texts], texts, "number"


def _odd_numbers(r: random.Random, n: int) -> Any:
    """Numbers as a person may write them."""
    forms = ("+{}", "{}.", "{}.0", " {}", "{} ", "{}e0", ".{}", "-{}", "{}.50")
    texts = [r.choice(forms).format(r.randrange(1, 99)) for _ in range(n)]
    return [float(t) for t in texts], texts, None


def _whole_floats(r: random.Random, n: int) -> Any:
    return _written([float(r.randrange(500)) for _ in range(n)], repr, "number")


def _notation(form: Callable[[random.Random, float], str]) -> Draw:
    def draw(r: random.Random, n: int) -> Any:
        top = r.choice((10, 1000, 10**6))
        values = [round(r.uniform(-top, top), 2) for _ in range(n)]
        return values, [form(r, v) for v in values], None

    return draw


def _grouped(value: float, group: str, point: str) -> str:
    return f"{value:,.2f}".replace(",", "\0").replace(".", point).replace("\0", group)


def _words(words: tuple[str, str], kind: str | None) -> Draw:
    def draw(r: random.Random, n: int) -> Any:
        values = [r.random() < 0.5 for _ in range(n)]
        return values, [words[v] for v in values], kind

    return draw


def _dates(form: str, kind: str | None) -> Draw:
    def draw(r: random.Random, n: int) -> Any:
        first, last = r.choice(((2020, 2024), (1970, 1970), (1, 9999), (1582, 1800)))
        days = [
            dt.date(r.randint(first, last), r.randint(1, 12), r.randint(1, 28)) for _ in "x" * n
        ]
        # C's %Y doesn't fill up years of three digits.
        texts = [d.strftime(form.replace("%Y", f"{d.year:04d}")) for d in days]
        return days, texts, kind

    return draw


def _moments(r: random.Random, n: int) -> Any:
    """ISO times in one or several formats."""
    shapes = ("T", " ", "TZ", " Z", "T+", "T+:", "Tf", " f", "Tm")
    shapes = shapes if r.random() < 0.2 else (r.choice(shapes),)
    values, texts = [], []
    begin, span = dt.datetime(r.choice((1900, 2001, 2023)), 1, 1, tzinfo=dt.UTC), r.choice((1, 40))
    for _ in range(n):
        value = begin + dt.timedelta(seconds=r.randrange(span * 86400 * 9))
        shape, zone = r.choice(shapes), dt.timezone(dt.timedelta(minutes=r.choice((0, 60, -330))))
        if "f" in shape:
            value += dt.timedelta(microseconds=r.randrange(10**6))
        if "m" in shape:
            value = value.replace(second=0)
        text = value.astimezone(zone if "+" in shape else dt.UTC).strftime(
            f"%Y-%m-%d{shape[0]}%H:%M" + ("" if "m" in shape else ":%S")
        )
        text += f".{value.microsecond:06d}" if "f" in shape else ""
        offset = value.astimezone(zone).strftime("%z")
        text += "Z" if "Z" in shape else ""
        text += f"{offset[:3]}:{offset[3:]}" if ":" in shape else offset if "+" in shape else ""
        values.append(value)
        texts.append(text)
    return values, texts, "datetime"


def _choice(pool: tuple[str, ...], kind: str | None) -> Draw:
    def draw(r: random.Random, n: int) -> Any:
        few = r.sample(pool, min(len(pool), r.randint(2, 12)))
        return _written([r.choice(few) for _ in range(n)], str, kind)

    return draw


def _prose(r: random.Random, n: int) -> Any:
    words = ("late", "refund", "the", "parcel", "broken", "Grüße", "not", "order", "!", "ok", "\n")
    return _written([" ".join(r.choices(words, k=r.randint(5, 40))) for _ in range(n)], str, None)


def _unique(r: random.Random, n: int) -> Any:
    return _written([f"{r.getrandbits(64):016x}" for _ in range(n)], str, "string")


def _constant(r: random.Random, n: int) -> Any:
    return _written([r.choice(("same", "7", "0.5", "2024-01-01", "true"))] * n, str, None)


def _missing(r: random.Random, n: int) -> Any:
    return [None] * n, [r.choice(MARKERS)] * n, None


def _infinite(r: random.Random, n: int) -> Any:
    infinite = r.choice(("inf", "-inf", "Infinity", "1e999", "INF", "+inf", "∞"))
    values = [float("inf") if r.random() < 0.1 else round(r.random(), 3) for _ in range(n)]
    texts = [infinite if v == float("inf") else repr(v) for v in values]
    return [float("-inf") if t.startswith("-") else v for v, t in zip(values, texts)], texts, None  # noqa: B905


def _mixed(r: random.Random, n: int) -> Any:
    pool = ("1", "2.5", "abc", "2024-01-01", "true", "x y", "1,5", "12%", "0x1F")
    return _written([r.choice(pool) for _ in range(n)], str, None)


def _late(r: random.Random, n: int) -> Any:
    """Numbers with a word in the last row."""
    values = [str(r.randrange(100)) for _ in range(n)]
    return _written([*values[:-1], "many"][:n], str, None if n < 2 else "string")


def _hex(r: random.Random, n: int) -> Any:
    return _written([hex(r.randrange(4096)) for _ in range(n)], str, "string")


ODD_DATES = ("2024-02-30", "2023-13-01", "0000-00-00", "10000-01-01", "2024-1-5", "24-01-05")
LOOKALIKES = (
    "1_000", "\u0663", "\uff11\uff12", "½", "²", "1 2", "--1", "1-", "e5", "0x", "1e", "Ⅷ",
    "\u0661\u066b\u0665",
)  # fmt: skip

KINDS: dict[str, Draw] = {
    "integers": _integers,
    "integers at the edges": _edges,
    "integers beyond 64 bits": _beyond,
    "ids": _ids,
    "codes": _codes,
    "floats": _floats,
    "extreme floats": _extremes,
    "scientific": _scientific,
    "odd numbers": _odd_numbers,
    "whole floats": _whole_floats,
    "decimal comma": _notation(lambda _, v: f"{v:.2f}".replace(".", ",")),
    "thousands": _notation(lambda _, v: _grouped(v, ",", ".")),
    "thousands and comma": _notation(lambda _, v: _grouped(v, ".", ",")),
    "blanks and comma": _notation(lambda _, v: _grouped(v, "\u202f", ",")),
    "apostrophes": _notation(lambda _, v: _grouped(v, "'", ".")),
    "dollars": _notation(lambda _, v: f"{'-' if v < 0 else ''}${_grouped(abs(v), ',', '.')}"),
    "euros": _notation(lambda _, v: f"{_grouped(v, '.', ',')} €"),
    "per cent": _notation(lambda _, v: f"{v:.2f}%"),
    "hex": _hex,
    "true/false": _words(("false", "true"), "boolean"),
    "True/False": _words(("False", "True"), "boolean"),
    "yes/no": _words(("no", "yes"), "string"),
    "ja/nein": _words(("nein", "ja"), "string"),
    "0/1": _words(("0", "1"), "integer"),
    "t/f": _words(("f", "t"), "string"),
    "iso dates": _dates("%Y-%m-%d", "date"),
    "dates with dots": _dates("%d.%m.%Y", None),
    "dates with slashes": _dates("%m/%d/%Y", None),
    "dates with strokes": _dates("%d-%m-%Y", None),
    "year first": _dates("%Y/%m/%d", None),
    "compact dates": _dates("%Y%m%d", None),
    "moments": _moments,
    "categories": _choice(("red", "green", "blue", "black", "white", "grau", "größer"), "string"),
    "odd texts": _choice(TEXTS, None),
    "odd dates": _choice(ODD_DATES, None),
    "lookalikes": _choice(LOOKALIKES, None),
    "prose": _prose,
    "unique texts": _unique,
    "constant": _constant,
    "all missing": _missing,
    "infinite": _infinite,
    "mixed": _mixed,
    "a word at the end": _late,
}

TARGETS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("boolean", (True, False)),
    ("binary", ("yes", "no")),
    ("binary", ("1", "0")),
    ("binary", ("None", "dent")),
    ("binary", ("NA", "EU")),
    ("binary", ("-", "+")),
    ("binary", ("true", "false")),
    ("binary", ("T", "F")),
    ("binary", ("größer", "kleiner")),
    ("binary", ('say "a"', "b, c")),
    ("binary", ("1.0", "0.0")),
    ("binary", ("true", "1")),
    ("binary", ("01", "02")),
    ("binary", ("a", "A")),
    ("binary", ("a", "a ")),
    ("binary", ("NULL", "NaN")),
    ("multiclass", ("None", "dent", "scratch")),
    ("multiclass", ("1", "2", "3")),
    ("multiclass", ("-1", "0", "1", "2")),
    ("multiclass", ("NA", "1", "2", "true")),
    ("multiclass", ("red", "green", "blue", "😀")),
    ("multiclass", ("?", "a", "b")),
    ("multiclass", ("2024-01-01", "2024-01-02", "never")),
    ("multiclass", tuple("abcdefgh")),
    ("multiclass", (10**18, 2, 3)),
    ("multiclass", ("no", "off", "on", "~", "null")),
)


def _labels(r: random.Random, n: int, signal: list[float]) -> Column:
    """A target that depends on a signal, with noise."""
    ranks = sorted(range(n), key=lambda i: signal[i] + r.gauss(0, 0.7))
    place = {row: at for at, row in enumerate(ranks)}
    if r.random() < 0.3:
        kind = "regression"
        form = r.choice((float, float, int, lambda v: round(v, 1)))
        values: list[Any] = [form(signal[i] * 20 + r.gauss(0, 5)) for i in range(n)]
        if r.random() < 0.05:
            values = [float("inf") if r.random() < 0.05 else v for v in values]
    else:
        kind, classes = r.choice(TARGETS)
        rare = r.random() < 0.2
        weights = [1.0 if at == 0 or not rare else 0.03 for at in range(len(classes))]
        total, edges, so_far = sum(weights), [], 0.0
        for weight in weights:
            so_far += weight
            edges.append(so_far / total * n)
        values = [classes[next(k for k, e in enumerate(edges) if place[i] < e)] for i in range(n)]
    texts = [str(v) for v in values]
    kind_type = None
    if kind == "boolean":
        texts = [str(v).lower() for v in values]
    return Column("", kind, values, texts, kind_type)


def _holed(r: random.Random, column: Column, markers: tuple[str, ...]) -> None:
    """Remove some values, and replace them by one or several markers."""
    share, few = r.choice((0.02, 0.2, 0.6)), r.choices(markers, k=2)
    for at in range(len(column.values)):
        if r.random() < share:
            column.values[at], column.texts[at] = None, r.choice(few)


def _name(r: random.Random, taken: list[str]) -> str:
    if r.random() < 0.03:
        return r.choice([*ODD_NAMES, *taken[:1]])
    while (name := r.choice(NAMES) if r.random() < 0.5 else f"c{len(taken)}") in taken:
        pass
    return name


def make_table(seed: int) -> Table:
    """Generate the table of a seed."""
    r = random.Random(seed)  # noqa: S311
    n = r.choice((0, 1, 2, 5, 12)) if r.random() < 0.12 else r.randint(30, 300)
    signal = [r.gauss(0, 1) for _ in range(n)]
    target = _labels(r, n, signal)
    columns: list[Column] = []
    names: list[str] = []
    width = r.choice((0, 1, 2, 3, 4, 6, 8, 12, 40)) if r.random() < 0.9 else 3
    for _ in range(width):
        kind = r.choice(list(KINDS))
        values, texts, type_ = KINDS[kind](r, n)
        name = _name(r, names)
        names.append(name)
        column = Column(name, kind, list(values), list(texts), type_)
        if r.random() < 0.3:
            _holed(r, column, MARKERS)
        columns.append(column)
    if r.random() < 0.85:
        columns.append(Column("signal", "floats", [*signal], [repr(v) for v in signal], "number"))
    target.name = r.choice(("y", "y", "label", "sold?", "Ergebnis", "class", "target", "rows"))
    while target.name in names:
        target.name += "_"
    if r.random() < 0.2:
        _holed(r, target, ("",) if r.random() < 0.8 else MARKERS)
    columns.insert(r.randint(0, len(columns)), target)
    table = Table(columns, target, n)
    if r.random() < 0.1:
        at = next((c.name for c in columns if c.kind in ("iso dates", "moments")), None)
        table.time = at if at is not None and None not in _column(table, at).values else None
    elif r.random() < 0.1:
        table.group = next((c.name for c in columns if c.kind == "categories"), None)
    return table


def _column(table: Table, name: str) -> Column:
    return next(c for c in table.columns if c.name == name)
