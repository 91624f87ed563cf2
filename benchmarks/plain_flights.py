"""The flights' ingest and featurize in bare Polars, the baseline of these two stages.

A hand-written script for these five tables would look like this: sums over past rows are
differences of running sums, which as-of joins look up, and windows share sorted events. Nothing is
configurable, checked or counted.

    python plain_flights.py ingest SOURCES FOLDER UNTIL
    python plain_flights.py featurize FOLDER FILE
    python plain_flights.py compare FEATURES FILE
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import polars as pl

OTHER_TABLES = ("planes", "airports", "airlines")
PREDICTED_AT = "at"


class Window(NamedTuple):
    """Aggregates of past flights with the same keys, by name."""

    name: str
    keys: list[str]
    known_at: str
    span: str
    aggregates: dict[str, str]


WINDOWS = [
    Window(name, keys.split(), known_at, span, dict(pair.split(":") for pair in aggregates.split()))
    for name, keys, known_at, span, aggregates in (
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
DELAY_COLUMNS = {"departed": "dep_delay", "landed": "arr_delay"}
"""The delay that becomes known at each time."""


def parse_flights(flights: pl.LazyFrame) -> pl.LazyFrame:
    """Parse flights, and add the times at which they depart and land."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return (
        flights.with_columns(hour)
        .with_columns(scheduled=pl.col("time_hour") + pl.duration(minutes="minute"))
        .with_columns(departed=pl.col("scheduled") + pl.duration(minutes="dep_delay"))
        .with_columns(landed=pl.col("departed") + pl.duration(minutes=pl.col("air_time") + 90))
    )


def parse_weather(weather: pl.LazyFrame) -> pl.LazyFrame:
    """Parse the weather, and add the time at which it is published."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return weather.with_columns(hour).with_columns(
        published=pl.col("time_hour") + pl.duration(hours=1)
    )


def apply_data_clock(flights: pl.LazyFrame, until: pl.Expr) -> pl.LazyFrame:
    """Keep flights scheduled before the clock, without values that became known later."""
    not_landed = ~(pl.col("landed") < until)
    not_departed = ~(pl.col("departed") < until)
    hidden_columns = {
        "arr_time": not_landed,
        "arr_delay": not_landed,
        "air_time": not_landed,
        "landed": not_landed,
    }
    hidden_columns |= {
        "dep_time": not_departed,
        "dep_delay": not_departed,
        "departed": not_departed,
    }
    return flights.filter(pl.col("scheduled") < until).with_columns(
        pl.when(~hidden.fill_null(value=True)).then(pl.col(column)).alias(column)
        for column, hidden in hidden_columns.items()
    )


def ingest(sources: Path, folder: Path, until: str) -> None:
    """Read CSV or Parquet, apply the data clock, and write Parquet."""
    clock = pl.lit(until).str.to_datetime("%Y-%m-%d", time_zone="UTC")
    folder.mkdir(parents=True, exist_ok=True)
    flights = apply_data_clock(parse_flights(_scan(sources, "flights")), clock)
    flights.sink_parquet(folder / "flights.parquet")
    weather = parse_weather(_scan(sources, "weather"))
    weather = weather.filter(pl.col("published") < clock, pl.col("time_hour") < clock)
    weather.sink_parquet(folder / "weather.parquet")
    for name in OTHER_TABLES:
        _scan(sources, name).sink_parquet(folder / f"{name}.parquet")


def _scan(sources: Path, name: str) -> pl.LazyFrame:
    if (sources / f"{name}.csv").exists():
        return pl.scan_csv(sources / f"{name}.csv", infer_schema_length=10_000)
    return pl.scan_parquet(sources / f"{name}.parquet")


def features(
    flights: pl.DataFrame, weather: pl.DataFrame, planes: pl.DataFrame, airports: pl.DataFrame
) -> pl.DataFrame:
    """Compute the features of labelled flights, in their order."""
    frame = flights.with_row_index("row").filter(pl.col("arr_delay").is_not_null())
    frame = frame.with_columns(at=pl.col("scheduled").dt.offset_by("-2h")).sort(PREDICTED_AT)
    frame = _join(frame, weather, planes, airports)
    past = {
        known_at: _past_flights(flights, known_at, delay)
        for known_at, delay in DELAY_COLUMNS.items()
    }
    for window in WINDOWS:
        frame = _add_window(frame, past[window.known_at], window)
    frame = _add_largest_delay(frame, past["departed"])
    return frame.sort("row").select(
        "row",
        "scheduled",
        "tailnum",
        (pl.col("arr_delay") > 15).alias("late"),
        *_row_features(),
        *(f"{w.name}_{a}" for w in WINDOWS for a in w.aggregates),
    )


def _join(
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
        .sort(PREDICTED_AT)
        .join_asof(
            published,
            left_on=PREDICTED_AT,
            right_on="published",
            by="origin",
            tolerance="12h",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )


def _past_flights(flights: pl.DataFrame, known_at: str, delay: str) -> pl.DataFrame:
    """Flights sorted by the time at which their delay becomes known."""
    return (
        flights.filter(pl.col(known_at).is_not_null())
        .select(
            pl.max_horizontal("scheduled", known_at).alias("known"),
            pl.col(delay).alias("delay"),
            *("origin", "dest", "carrier", "flight", "tailnum"),
        )
        .sort("known")
    )


def _add_window(frame: pl.DataFrame, past: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Add means, shares of late flights and counts over a span of past flights."""
    keys = window.keys
    running = past.select(
        "known",
        *keys,
        pl.col("delay").is_not_null().cum_sum().over(keys).alias("n"),
        pl.col("delay").fill_null(0).cum_sum().over(keys).alias("total"),
        (pl.col("delay") > 15).cum_sum().over(keys).alias("late"),
    )
    frame = frame.with_columns(pl.col(PREDICTED_AT).dt.offset_by(f"-{window.span}").alias("from"))
    for moment, suffix in ((PREDICTED_AT, "_to"), ("from", "_from")):
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
    values = {
        "mean": pl.when(n > 0).then(total / n),
        "late": pl.when(n > 0).then(late / n),
        "count": n.cast(pl.Int64),
    }
    columns = {f"{window.name}_{a}": values[f] for a, f in window.aggregates.items() if f in values}
    ends = [c + s for c in ("n", "total", "late") for s in ("_to", "_from")]
    return frame.with_columns(**columns).drop("from", *ends)


def _add_largest_delay(frame: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    """Add the aeroplane's largest departure delay within a day."""
    queries = frame.select(pl.col(PREDICTED_AT).alias("known"), "tailnum", "row")
    events = pl.concat([past.select("known", "tailnum", "delay"), queries], how="diagonal")
    worst = pl.col("delay").rolling_max_by("known", "24h", closed="left").over("tailnum")
    results = (
        events.filter(pl.col("tailnum").is_not_null())
        .select("row", worst.alias("plane_24h_worst"))
        .filter(pl.col("row").is_not_null())
    )
    return frame.join(results, on="row", how="left")


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
    """Read the ingested tables, and write the features."""
    tables = [
        pl.read_parquet(folder / f"{n}.parquet") for n in ("flights", "weather", *OTHER_TABLES[:2])
    ]
    features(*tables).write_parquet(file)


def compare(ours: Path, plain: Path) -> None:
    """Exit with an error if two feature tables differ."""
    left = pl.scan_parquet(sorted(ours.glob("*.parquet")))
    right = pl.scan_parquet(plain)
    rename = {"row": "_row", "scheduled": "_time", "late": "_target"}
    names = right.collect_schema().names()
    renamed, our_names = right.rename(rename), left.collect_schema().names()
    if different := set(our_names) ^ {rename.get(n, n) for n in names}:
        sys.exit(f"only one side has the columns {different}")
    for name in our_names:
        # One column at a time saves memory.
        one, two = left.select(name).collect()[name], renamed.select(name).collect()[name]
        if one.dtype.is_float():
            one, two = one.fill_null(-9e9), two.cast(pl.Float64).fill_null(-9e9)
            same = bool(((one - two).abs() <= 1e-6).all())
        else:
            same = one.cast(pl.String).equals(two.cast(pl.String), check_names=False)
        if not same:
            sys.exit(f"{name} differs: {one.head(3).to_list()} and {two.head(3).to_list()}")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "ingest":
        ingest(Path(arguments[0]), Path(arguments[1]), arguments[2])
    elif command == "featurize":
        featurize(Path(arguments[0]), Path(arguments[1]))
    else:
        compare(Path(arguments[0]), Path(arguments[1]))
