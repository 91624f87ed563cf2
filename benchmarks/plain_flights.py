"""The data half of the flights project in bare Polars: what ingest and featurize are held against.

Written as a practitioner would who knows these five tables and Polars well: sums over past rows
are differences of running sums, looked up with as-of joins; sorted events are shared between
windows. Nothing is configurable, checked or counted.

    python plain_flights.py ingest SOURCES FOLDER UNTIL
    python plain_flights.py featurize FOLDER FILE
    python plain_flights.py agree FEATURES FILE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import polars as pl

OTHERS = ("planes", "airports", "airlines")
AT = "at"


class Window(NamedTuple):
    """Aggregates of past flights that share the keys, by name."""

    name: str
    keys: list[str]
    known: str
    span: str
    aggregates: dict[str, str]


WINDOWS = [
    Window(name, keys.split(), known, span, dict(pair.split(":") for pair in aggregates.split()))
    for name, keys, known, span, aggregates in (
        ("origin_3h", "origin", "departed", "3h", "dep_delay:mean dep_late:late departures:count"),
        ("origin_24h", "origin", "landed", "24h", "arr_delay:mean arr_late:late"),
        ("carrier_6h", "carrier", "departed", "6h", "dep_delay:mean dep_late:late"),
        ("carrier_7d", "carrier", "landed", "7d", "arr_delay:mean arr_late:late"),
        ("destination_6h", "dest", "departed", "6h", "dep_delay:mean"),
        ("route_14d", "origin dest", "landed", "14d", "arr_delay:mean arr_late:late"),
        (
            "flight_30d",
            "carrier flight",
            "landed",
            "30d",
            "arr_delay:mean arr_late:late flown:count",
        ),
        ("plane_24h", "tailnum", "departed", "24h", "dep_delay:mean worst:max flights:count"),
    )
]
DELAY = {"departed": "dep_delay", "landed": "arr_delay"}
"""What becomes known when."""


def typed_flights(flights: pl.LazyFrame) -> pl.LazyFrame:
    """Flights with the moments at which they leave and land."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return (
        flights.with_columns(hour)
        .with_columns(scheduled=pl.col("time_hour") + pl.duration(minutes="minute"))
        .with_columns(departed=pl.col("scheduled") + pl.duration(minutes="dep_delay"))
        .with_columns(landed=pl.col("departed") + pl.duration(minutes=pl.col("air_time") + 90))
    )


def typed_weather(weather: pl.LazyFrame) -> pl.LazyFrame:
    """Weather with the moment at which it is published."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return weather.with_columns(hour).with_columns(
        published=pl.col("time_hour") + pl.duration(hours=1)
    )


def cut_flights(flights: pl.LazyFrame, until: pl.Expr) -> pl.LazyFrame:
    """Flights scheduled before the clock, without what was known only later."""
    unknown = ~(pl.col("landed") < until)
    gone = ~(pl.col("departed") < until)
    late = {"arr_time": unknown, "arr_delay": unknown, "air_time": unknown, "landed": unknown}
    late |= {"dep_time": gone, "dep_delay": gone, "departed": gone}
    return flights.filter(pl.col("scheduled") < until).with_columns(
        pl.when(~hidden.fill_null(value=True)).then(pl.col(column)).alias(column)
        for column, hidden in late.items()
    )


def ingest(sources: Path, folder: Path, until: str) -> None:
    """CSV (or Parquet) to Parquet, up to the clock."""
    clock = pl.lit(until).str.to_datetime("%Y-%m-%d", time_zone="UTC")
    folder.mkdir(parents=True, exist_ok=True)
    flights = cut_flights(typed_flights(_scan(sources, "flights")), clock)
    flights.sink_parquet(folder / "flights.parquet")
    weather = typed_weather(_scan(sources, "weather"))
    weather = weather.filter(pl.col("published") < clock, pl.col("time_hour") < clock)
    weather.sink_parquet(folder / "weather.parquet")
    for name in OTHERS:
        _scan(sources, name).sink_parquet(folder / f"{name}.parquet")


def _scan(sources: Path, name: str) -> pl.LazyFrame:
    if (sources / f"{name}.csv").exists():
        return pl.scan_csv(sources / f"{name}.csv", infer_schema_length=10_000)
    return pl.scan_parquet(sources / f"{name}.parquet")


def features(
    flights: pl.DataFrame, weather: pl.DataFrame, planes: pl.DataFrame, airports: pl.DataFrame
) -> pl.DataFrame:
    """Labelled flights with their features, in the order of the flights."""
    frame = flights.with_row_index("row").filter(pl.col("arr_delay").is_not_null())
    frame = frame.with_columns(at=pl.col("scheduled").dt.offset_by("-2h")).sort(AT)
    frame = _joined(frame, weather, planes, airports)
    past = {known: _past(flights, known, delay) for known, delay in DELAY.items()}
    for window in WINDOWS:
        frame = _windowed(frame, past[window.known], window)
    frame = _worst(frame, past["departed"])
    return frame.sort("row").select(
        "row",
        "scheduled",
        "tailnum",
        (pl.col("arr_delay") > 15).alias("late"),
        *_row_features(),
        *(f"{w.name}_{a}" for w in WINDOWS for a in w.aggregates),
    )


def _joined(
    frame: pl.DataFrame, weather: pl.DataFrame, planes: pl.DataFrame, airports: pl.DataFrame
) -> pl.DataFrame:
    aeroplanes = planes.select(
        "tailnum",
        pl.when(pl.col("year") > 1950).then(pl.col("year")).alias("built"),
        "manufacturer",
        "seats",
    )
    published = weather.drop("time_hour", "year", "month", "day", "hour").sort("published")
    return (
        frame.join(aeroplanes, on="tailnum", how="left")
        .join(
            airports.select(pl.col("faa").alias("dest"), "lat", "lon", "tz"), on="dest", how="left"
        )
        .sort(AT)
        .join_asof(
            published,
            left_on=AT,
            right_on="published",
            by="origin",
            tolerance="12h",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )


def _past(flights: pl.DataFrame, known: str, delay: str) -> pl.DataFrame:
    """Flights by the moment at which their delay is known."""
    return (
        flights.filter(pl.col(known).is_not_null())
        .select(
            pl.max_horizontal("scheduled", known).alias("known"),
            pl.col(delay).alias("delay"),
            *("origin", "dest", "carrier", "flight", "tailnum"),
        )
        .sort("known")
    )


def _windowed(frame: pl.DataFrame, past: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Means, shares of late flights and counts over a span of past flights."""
    keys = window.keys
    running = past.select(
        "known",
        *keys,
        pl.col("delay").is_not_null().cum_sum().over(keys).alias("n"),
        pl.col("delay").fill_null(0).cum_sum().over(keys).alias("total"),
        (pl.col("delay") > 15).cum_sum().over(keys).alias("late"),
    )
    frame = frame.with_columns(pl.col(AT).dt.offset_by(f"-{window.span}").alias("from"))
    for moment, suffix in ((AT, "_to"), ("from", "_from")):
        frame = frame.join_asof(
            running.rename({c: c + suffix for c in ("n", "total", "late")}),
            left_on=moment,
            right_on="known",
            by=keys,
            allow_exact_matches=False,
            check_sortedness=False,
        ).drop("known")
    n, total, late = (
        pl.col(f"{c}_to").fill_null(0).cast(pl.Float64) - pl.col(f"{c}_from").fill_null(0)
        for c in ("n", "total", "late")
    )
    made = {
        "mean": pl.when(n > 0).then(total / n),
        "late": pl.when(n > 0).then(late / n),
        "count": n.cast(pl.Int64),
    }
    columns = {f"{window.name}_{a}": made[f] for a, f in window.aggregates.items() if f in made}
    ends = [c + s for c in ("n", "total", "late") for s in ("_to", "_from")]
    return frame.with_columns(**columns).drop("from", *ends)


def _worst(frame: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    """The aeroplane's largest delay on leaving within a day."""
    asked = frame.select(pl.col(AT).alias("known"), "tailnum", "row")
    both = pl.concat([past.select("known", "tailnum", "delay"), asked], how="diagonal")
    worst = pl.col("delay").rolling_max_by("known", "24h", closed="left").over("tailnum")
    answers = (
        both.filter(pl.col("tailnum").is_not_null())
        .select("row", worst.alias("plane_24h_worst"))
        .filter(pl.col("row").is_not_null())
    )
    return frame.join(answers, on="row", how="left")


def _row_features() -> list[pl.Expr]:
    minute_of_day = pl.col("hour") * 60 + pl.col("minute")
    arrival = pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100
    return [
        *(pl.col(c) for c in ("carrier", "origin", "dest")),
        minute_of_day.alias("minute_of_day"),
        pl.col("scheduled").dt.offset_by("-5h").dt.weekday().alias("weekday"),
        pl.col("distance"),
        arrival.alias("scheduled_arrival"),
        (pl.col("year") - pl.col("built")).alias("plane_age"),
        pl.col("seats").alias("plane_seats"),
        pl.col("manufacturer").alias("plane_manufacturer"),
        *(pl.col(c).alias(f"destination_{c}") for c in ("lat", "lon", "tz")),
        pl.col("temp").alias("temperature"),
        (pl.col("temp") - pl.col("dewp")).alias("dew_point_gap"),
        pl.col("humid").alias("humidity"),
        pl.col("wind_dir").alias("wind_direction"),
        pl.col("wind_speed"),
        pl.coalesce("wind_gust", "wind_speed").alias("wind_gust"),
        pl.col("precip").alias("precipitation"),
        pl.col("pressure"),
        pl.col("visib").alias("visibility"),
    ]


def featurize(folder: Path, file: Path) -> None:
    """Parquet to Parquet."""
    tables = [pl.read_parquet(folder / f"{n}.parquet") for n in ("flights", "weather", *OTHERS[:2])]
    features(*tables).write_parquet(file)


def agree(ours: Path, plain: Path) -> None:
    """Refuse a feature table whose features differ from the plain ones."""
    left = pl.scan_parquet(sorted(ours.glob("*.parquet")))
    right = pl.scan_parquet(plain)
    rename = {"row": "_row", "scheduled": "_time", "late": "_target"}
    names = right.collect_schema().names()
    theirs, seen = (right.rename(rename), left.collect_schema().names())
    if set(seen) != {rename.get(n, n) for n in names}:
        sys.exit(f"only one side has the columns {set(seen) ^ {rename.get(n, n) for n in names}}")
    for name in seen:
        # Column by column, so that memory stays small.
        one, two = left.select(name).collect()[name], theirs.select(name).collect()[name]
        if one.dtype.is_float():
            one, two = one.fill_null(-9e9), two.cast(pl.Float64).fill_null(-9e9)
            same = bool(((one - two).abs() <= 1e-6).all())
        else:
            same = one.cast(pl.String).equals(two.cast(pl.String), check_names=False)
        if not same:
            sys.exit(f"{name} differs: {one.head(3).to_list()} and {two.head(3).to_list()}")


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "ingest":
        ingest(Path(given[0]), Path(given[1]), given[2])
    elif what == "featurize":
        featurize(Path(given[0]), Path(given[1]))
    else:
        agree(Path(given[0]), Path(given[1]))
