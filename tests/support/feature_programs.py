"""A small feature program with joins and windows of every kind, and its data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from mlops_cli.features.program import FeatureProgram
from mlops_cli.online.lookup_cache import LookupCache
from mlops_cli.online.online_entries import entry_key, online_tables
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest

START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
UTC = pl.Datetime("us", "UTC")

INGEST = {
    "sources": {
        "trips": {"uri": "x", "time": "t", "known_at": {"delay": "done"}},
        "buses": {"uri": "x"},
        "weather": {"uri": "x", "time": "t", "known_at": {"*": "published"}},
    }
}
RULES: dict[str, Any] = {
    "base": "trips",
    "target": "delay > 1",
    "predict_at": "t - INTERVAL '2 hours'",
    "joins": {
        "bus": {"source": "buses", "on": {"bus": "bus"}, "columns": ["size"]},
        "weather": {
            "source": "weather",
            "on": {"stop": "stop"},
            "columns": ["rain"],
            "as_of": True,
            "within": "6h",
        },
    },
    "windows": {
        "bus_24h": {
            "source": "trips",
            "by": ["bus"],
            "over": "24h",
            "aggregates": {
                "n": "count(delay)",
                "rows": "count(*)",
                "mean": "mean(delay)",
                "sum": "sum(delay)",
                "std": "std(delay)",
                "min": "min(delay)",
                "max": "max(delay)",
                "late": "mean(delay > 1)",
            },
        },
        "all_3d": {
            "source": "trips",
            "by": [],
            "over": "3d",
            "delay": "1h",
            "where": "stop = 'a'",
            "aggregates": {"mean": "mean(delay)", "max": "max(delay)"},
        },
    },
    "features": {
        "hour": "EXTRACT(hour FROM t)",
        "size": "bus_size",
        "rain": "weather_rain",
        "bus": "bus",
    },
}


def make_trips(seed: int, n: int) -> pl.DataFrame:
    """Make trips with missing buses and delays, in random order."""
    rng = np.random.default_rng(seed)
    minutes = rng.integers(0, 60 * 24 * 8, n)
    frame = pl.DataFrame(
        {
            "t": [START + dt.timedelta(minutes=int(m)) for m in minutes],
            "bus": [None if b == 0 else f"b{b}" for b in rng.integers(0, 6, n)],
            "stop": [str(s) for s in rng.choice(["a", "b"], n)],
            "delay": rng.normal(size=n) * 10.0 ** rng.integers(-3, 4, n),
        },
        schema_overrides={"t": UTC, "bus": pl.String},
    )
    return frame.with_columns(
        done=pl.col("t") + pl.duration(minutes=95),
        delay=pl.when(pl.col("delay") > -1000).then(pl.col("delay")),
    )


def make_tables(base: pl.DataFrame) -> dict[str, pl.LazyFrame]:
    hours = [START + dt.timedelta(hours=h) for h in range(200)]
    weather = pl.DataFrame(
        {"t": hours * 2, "stop": ["a"] * 200 + ["b"] * 200, "rain": range(400)},
        schema_overrides={"t": UTC},
    ).with_columns(published=pl.col("t") + pl.duration(hours=1))
    buses = pl.DataFrame({"bus": [f"b{i}" for i in range(1, 5)], "size": [10, 20, 30, 40]})
    return {"trips": base.lazy(), "buses": buses.lazy(), "weather": weather.lazy()}


def compile_program(rules: dict[str, Any] | None = None) -> FeatureProgram:
    base = make_trips(0, 3)
    schemas = {name: table.collect_schema() for name, table in make_tables(base).items()}
    return FeatureProgram.compile(
        Featurize.model_validate(rules or RULES), Ingest.model_validate(INGEST), schemas
    )


def change_rules(**rules: Any) -> dict[str, Any]:
    return {**RULES, **rules}


class InMemoryStore:
    """Online store in memory; entries pass through JSON as in a real store."""

    def __init__(
        self, program: FeatureProgram, tables: Mapping[str, pl.LazyFrame], since: Any = None
    ) -> None:
        sources = {s: program.clean(s, tables[s]) for s in program.used_sources}
        lookup_tables = online_tables(program)
        self.entries = {t.name: dict(t.entries(sources[t.source], since)) for t in lookup_tables}
        self.decode = {t.name: t.decode for t in lookup_tables}
        self.cache = LookupCache(lookup_tables, self.fetch)

    def fetch(self, table: str, keys: Sequence[tuple[Any, ...]]) -> list[Any | None]:
        """Return the entries of the keys, None for missing ones."""
        texts = [self.entries[table].get(entry_key(key)) for key in keys]
        return [None if text is None else self.decode[table](text) for text in texts]
