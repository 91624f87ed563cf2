"""Search for a table on which batch and online features differ.

Rows of every type, missing or extreme, and texts of any script go through joins, as-of joins and
windows: as a whole table, as single JSON rows, and as Arrow.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import polars as pl
from feature_programs import InMemoryStore
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.features.program import FeatureProgram
from mlops_cli.models.encoder import Encoder
from mlops_cli.online.request_program import RequestProgram, plain_columns
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest

UTC = pl.Datetime("us", "UTC")
BASE = {
    "t": UTC,
    "town": pl.String(),
    "number": pl.Float64(),
    "whole": pl.Int64(),
    "flag": pl.Boolean(),
    "day": pl.Date(),
    "result": pl.Float64(),
    "done": UTC,
}
TOWNS = {"town": pl.String(), "size": pl.Int64(), "name": pl.String(), "since": pl.Date()}
NEWS = {"t": UTC, "town": pl.String(), "level": pl.Float64(), "word": pl.String()}
DAYS = {"day": pl.Date(), "flag": pl.Boolean(), "whole": pl.Int64(), "holiday": pl.Boolean()}
INGEST = {
    "sources": {
        "calls": {"uri": "x", "time": "t", "known_at": {"result": "done"},
                  "derive": {"half": "number / 2", "root": "SQRT(number)"}},
        "towns": {"uri": "x"},
        "news": {"uri": "x", "time": "t"},
        "days": {"uri": "x"},
    }
}  # fmt: skip
AGGREGATES = {
    "n": "count(*)",
    "told": "count(result)",
    "sum": "sum(result)",
    "mean": "mean(result)",
    "std": "std(result)",
    "low": "min(result)",
    "high": "max(result)",
}
RULES: dict[str, Any] = {
    "base": "calls",
    "target": "result > 1",
    "predict_at": "t - INTERVAL '1 hour'",
    # Of nothing by nothing, and of the root of what is less than nothing, comes no number.
    "clean": [
        {"source": "calls", "set": {"town": "TRIM(town)", "number": "number / (number / number)"}}
    ],
    "joins": {
        "town": {"source": "towns", "on": {"town": "town"}, "columns": ["size", "name", "since"]},
        "news": {"source": "news", "on": {"town": "town"}, "columns": ["level", "word"],
                 "as_of": True, "within": "30d"},
        "last": {"source": "news", "on": {"town_name": "word"}, "columns": ["level"],
                 "as_of": True},
        "day": {"source": "days", "on": {"day": "day", "flag": "flag", "whole": "whole"},
                "columns": ["holiday"]},
        "since": {"source": "days",
                  "on": {"town_since": "day", "flag": "flag", "whole": "whole"},
                  "columns": ["holiday"]},
    },
    "windows": {
        "town_2d": {"source": "calls", "by": ["town"], "over": "2d", "aggregates": AGGREGATES},
        "all_1mo": {"source": "calls", "by": [], "over": "1mo", "delay": "3h",
                    "where": "whole > 0", "aggregates": AGGREGATES},
        "some_1y": {"source": "calls", "by": ["flag", "day", "whole"], "over": "1y",
                    "aggregates": {"n": "count(*)", "sum": "sum(number)", "top": "max(whole)"}},
        "number_2d": {"source": "calls", "by": ["number"], "over": "2d",
                      "aggregates": {"n": "count(*)"}},
        "root_2d": {"source": "calls", "by": ["root"], "over": "2d",
                    "aggregates": {"n": "count(*)", "told": "count(result / result)",
                                   "mean": "mean(result / result)", "low": "min(SQRT(result))",
                                   "high": "max(SQRT(result))"}},
        "news_7d": {"source": "news", "by": {"town": "town"}, "over": "7d",
                    "aggregates": {"mean": "mean(level)", "n": "count(word)"}},
    },
    "features": {
        "town": "town", "number": "number", "whole": "whole", "flag": "flag", "half": "half",
        "year": "EXTRACT(year FROM day)", "minute": "EXTRACT(minute FROM t)",
        "size": "town_size", "name": "town_name", "level": "news_level", "word": "news_word",
        "last": "last_level", "holiday": "day_holiday", "opened": "since_holiday",
        "like": "number_2d_n", "alike": "root_2d_n", "known": "root_2d_told",
        "part": "root_2d_mean", "deep": "root_2d_low", "tall": "root_2d_high",
        "flat": "COALESCE(root, 7)",
        "upper": "UPPER(town)", "product": "number * whole", "sign": "SIGN(number)",
        "age": "EXTRACT(year FROM t) - EXTRACT(year FROM town_since)",
        "either": "COALESCE(news_level, number)", "root": "SQRT(number)",
    },
}  # fmt: skip

FIRST, LAST = dt.datetime(1, 1, 3), dt.datetime(9999, 12, 28)  # noqa: DTZ001
MOMENTS = st.datetimes(FIRST, LAST, timezones=st.just(dt.UTC))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
WHOLE = st.integers(-(2**63), 2**63 - 1)
DAY, MINUTE = dt.date(2024, 2, 29), dt.timedelta(minutes=1)
MONDAY = dt.datetime(2024, 2, 26, tzinfo=dt.UTC)


def few(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=most)


@st.composite
def sources(draw: st.DrawFn, *, infinite: bool = False) -> dict[str, pl.DataFrame]:
    """Tables whose keys meet often, with values of any size; some of them are missing."""
    rng = draw(st.randoms(use_true_random=True))
    towns = draw(st.lists(TEXTS, min_size=1, max_size=3, unique_by=str.strip))
    other = draw(few(TEXTS))
    wholes = [0, 1, 0, 1, *draw(few(WHOLE, 2))]
    numbers = [
        -2.5,
        0.1,
        0.0,
        -0.0,
        3.0,
        *draw(few(st.floats(allow_nan=False, allow_infinity=False))),
    ]
    numbers += [float("inf"), float("-inf")] if infinite else []
    days = [DAY, DAY, DAY + dt.timedelta(days=1), *draw(few(st.dates(), 1))]
    moments = draw(few(MOMENTS, 2))
    within = draw(st.sampled_from([60, 60 * 24, 60 * 24 * 40]))

    def column(pool: list[Any], rows: int, missing: float = 0.08) -> list[Any]:
        return [None if rng.random() < missing else rng.choice(pool) for _ in range(rows)]

    def times(rows: int) -> list[dt.datetime]:
        near = [MONDAY + rng.randrange(within) * MINUTE for _ in range(rows)]
        return [rng.choice(moments) if moments and rng.random() < 0.1 else t for t in near]

    def table(schema: dict[str, Any], rows: int) -> pl.DataFrame:
        pools = {"town": towns * 4 + other, "number": numbers, "whole": wholes, "day": days,
                 "flag": [True, True, False], "result": numbers, "size": wholes, "since": days,
                 "name": towns + other, "level": numbers, "word": towns + other,
                 "holiday": [True, False]}  # fmt: skip
        made = {c: times(rows) if c == "t" else column(pools[c], rows) for c in schema}
        return pl.DataFrame(made, schema=schema)

    calls = table({c: t for c, t in BASE.items() if c != "done"}, rng.randint(1, 30))
    calls = calls.with_columns(
        done=pl.col("t") + pl.duration(hours=2),
        # As ingest derives it: infinity is missing.
        half=pl.when(pl.col("number").is_finite()).then(pl.col("number") / 2),
        root=pl.col("number").sqrt().fill_nan(None),
    )
    listed = table(TOWNS, len(towns)).with_columns(town=pl.Series(towns, dtype=pl.String))
    named = table(DAYS, 9).unique(["day", "flag", "whole"], keep="first", maintain_order=True)
    return {"calls": calls, "towns": listed, "news": table(NEWS, rng.randint(0, 20)), "days": named}


PROGRAM = FeatureProgram.compile(
    Featurize.model_validate(RULES),
    Ingest.model_validate(INGEST),
    {
        "calls": {**BASE, "half": pl.Float64(), "root": pl.Float64()},
        "towns": TOWNS,
        "news": NEWS,
        "days": DAYS,
    },
)
REQUESTS = RequestProgram(PROGRAM)


def lazily(found: dict[str, pl.DataFrame]) -> dict[str, pl.LazyFrame]:
    return {name: table.lazy() for name, table in found.items()}


def by_table(found: dict[str, pl.DataFrame]) -> pl.DataFrame:
    base = PROGRAM.replace_values("calls", found["calls"].lazy()).collect()
    return PROGRAM.transform(base, {s: PROGRAM.clean(s, t) for s, t in lazily(found).items()})


def same(started: pl.DataFrame, found: dict[str, pl.DataFrame]) -> None:
    """Equal values, bit for bit, and an equal matrix for the model: one by one, and together."""
    table, kept = by_table(found), InMemoryStore(PROGRAM, lazily(found)).cache
    online, misses = REQUESTS.features(started, kept)
    together, missed = REQUESTS.feature_series(started, kept)
    assert misses == missed
    many = plain_columns(together)
    for name in PROGRAM.features:
        wanted = repr(table[name].to_list())
        assert repr(online[name]) == wanted, name
        assert repr(many[name]) == wanted, name
    encoder = Encoder.fit(table, PROGRAM.kinds)
    matrix = encoder.transform(table)
    assert np.array_equal(encoder.transform_columns(online), matrix, equal_nan=True)
    numbers = {name: c for name, c in together.items() if c.dtype.is_numeric()}
    assert np.array_equal(encoder.transform_columns({**many, **numbers}), matrix, equal_nan=True)


def by_json(found: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """Rows as a client sends them."""
    asked = found["calls"].select(REQUESTS.inputs.required)
    asked = asked.with_columns(pl.col("t").dt.to_string("iso"), pl.col("day").dt.to_string("iso"))
    rows: list[dict[str, Any]] = json.loads(json.dumps(asked.to_dicts()))
    return rows


@settings(max_examples=60, deadline=None)
@given(found=sources())
def test_requests_in_json_get_what_the_table_gives(found: dict[str, pl.DataFrame]) -> None:
    read = REQUESTS.inputs.parse(by_json(found))
    assert not read.errors
    same(REQUESTS.prepare(read.frame), found)


@settings(max_examples=40, deadline=None)
@given(found=sources(infinite=True))
def test_requests_in_arrow_get_what_the_table_gives(found: dict[str, pl.DataFrame]) -> None:
    read = REQUESTS.inputs.parse_frame(found["calls"].select(REQUESTS.inputs.required))
    assert not read.errors
    same(REQUESTS.prepare(read.frame), found)


@settings(max_examples=25, deadline=None)
@given(found=sources())
def test_one_row_gets_what_it_gets_among_others(found: dict[str, pl.DataFrame]) -> None:
    kept, rows = InMemoryStore(PROGRAM, lazily(found)).cache, by_json(found)
    online, _ = REQUESTS.features(REQUESTS.prepare(REQUESTS.inputs.parse(rows).frame), kept)
    for i, row in enumerate(rows):
        alone, _ = REQUESTS.features(REQUESTS.prepare(REQUESTS.inputs.parse([row]).frame), kept)
        assert repr(alone) == repr({name: [values[i]] for name, values in online.items()})
