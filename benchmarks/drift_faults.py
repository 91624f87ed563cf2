"""Detection of injected faults in the first window, by column and kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from drift_populations import Population, load_population

from mlops_cli.drift.compare import compare
from mlops_cli.layout import TARGET

__all__ = ["FAULTS", "detect_faults"]

ROWS = 5_000
REFERENCE = 50_000
Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Fault:
    """A change of a window, with the column and the kinds under which it should be detected."""

    name: str
    population: str
    column: str
    kinds: tuple[str, ...]
    change: Change
    part: str = "inputs"


def _replace(column: str, value: pl.Expr) -> Change:
    return lambda frame: frame.with_columns(value.alias(column))


def _replace_some(column: str, share: float, value: Any) -> Change:
    """Set the value in a share of the rows."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        chosen = pl.Series(np.random.default_rng(5).random(frame.height) < share)
        what = value if isinstance(value, pl.Expr) else pl.lit(value)
        return frame.with_columns(pl.when(chosen).then(what).otherwise(column).alias(column))

    return change


def _swap(column: str, first: str, second: str) -> Change:
    return _replace(column, pl.col(column).replace({first: second, second: first}))


def _shuffle(column: str) -> Change:
    return lambda frame: frame.with_columns(frame[column].shuffle(seed=6))


def _flip(share: float, first: str, second: str) -> Change:
    """Exchange the labels of two classes in a share of the rows."""
    return _replace_some(TARGET, share, pl.col(TARGET).replace({first: second, second: first}))


def _shift(column: str, deviations: float) -> Change:
    return _replace(column, pl.col(column) + deviations * pl.col(column).std())


COL = pl.col
WIDE, AREA = "mean radius", "mean area"
FAULTS = (
    Fault("shift by a half deviation", "flights", "humidity", ("shift",), _shift("humidity", 0.5)),
    Fault("shift by a half deviation", "breast_cancer", WIDE, ("shift",), _shift(WIDE, 0.5)),
    Fault("shift down", "diabetes", "bmi", ("shift",), _shift("bmi", -0.6)),
    Fault("shift", "wine", "alcohol", ("shift",), _shift("alcohol", 0.5)),
    Fault("wider by a half", "shop", "age", ("drift", "scale"),
          _replace("age", (COL("age") - 42) * 1.5 + 42)),
    Fault("20% missing", "flights", "temperature", ("missing",),
          _replace_some("temperature", 0.2, None)),
    Fault("5% missing", "shop", "price", ("missing",), _replace_some("price", 0.05, None)),
    Fault("10% of a category missing", "flights", "carrier", ("missing",),
          _replace_some("carrier", 0.1, None)),
    Fault("Fahrenheit to Celsius", "flights", "temperature", ("scale",),
          _replace("temperature", (COL("temperature") - 32) / 1.8)),
    Fault("miles to kilometres", "flights", "distance", ("scale",),
          _replace("distance", COL("distance") * 1.609344)),
    Fault("hundredths", "breast_cancer", AREA, ("scale",), _replace(AREA, COL(AREA) / 100)),
    Fault("kilograms to pounds", "shop", "weight", ("scale",),
          _replace("weight", COL("weight") * 2.2046)),
    Fault("seconds to minutes", "shop", "age", ("scale",), _replace("age", COL("age") * 60)),
    Fault("swap of two with similar shares", "flights", "origin", ("swap",),
          _swap("origin", "EWR", "LGA")),
    Fault("swap of two carriers", "flights", "carrier", ("swap",), _swap("carrier", "UA", "EV")),
    Fault("swap of two with different shares", "shop", "device", ("swap",),
          _swap("device", "app", "desktop")),
    Fault("swap of two with similar shares", "shop", "country", ("swap",),
          _swap("country", "at", "de")),
    Fault("negated", "shop", "gift", ("swap",), _replace("gift", ~COL("gift"))),
    Fault("renamed category", "flights", "dest", ("unseen",),
          _replace("dest", COL("dest").replace("ORD", "KORD"))),
    Fault("new category in 3%", "shop", "device", ("unseen",),
          _replace_some("device", 0.03, "watch")),
    Fault("sentinel -999 in 2%", "flights", "pressure", ("range",),
          _replace_some("pressure", 0.02, -999.0)),
    Fault("stuck sensor", "flights", "visibility", ("constant",),
          _replace("visibility", pl.lit(10.0))),
    Fault("column gone", "flights", "plane_age", ("vanished",), lambda f: f.drop("plane_age")),
    Fault("all null", "breast_cancer", "mean texture", ("vanished",),
          _replace("mean texture", pl.lit(None, dtype=pl.Float64))),
    Fault("numbers as words", "diabetes", "bp", ("type",), _replace("bp", pl.lit("n/a"))),
    Fault("joint only: shuffled", "flights", "temperature", ("joint",), _shuffle("temperature")),
    Fault("joint only: shuffled", "shop", "price", ("joint",), _shuffle("price")),
    Fault("joint only: shuffled", "breast_cancer", AREA, ("joint",), _shuffle(AREA)),
    Fault("all labels flipped", "flights", "label", ("swap", "drift"), _flip(1.0, "false", "true"),
          "labels"),
    Fault("30% of the labels flipped", "flights", "label", ("swap", "drift"),
          _flip(0.3, "false", "true"), "labels"),
)  # fmt: skip


def detect_faults() -> list[dict[str, Any]]:
    """List each fault, whether it was detected, and the message."""
    return list(_detect_each())


def _detect_each() -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys(f.population for f in FAULTS):
        population = load_population(name)
        reference = population.reference(REFERENCE, np.random.default_rng(1))
        for number, fault in enumerate(FAULTS):
            if fault.population == name:
                yield _detect(fault, number, population, reference)


def _detect(fault: Fault, number: int, population: Population, reference: Any) -> dict[str, Any]:
    frame = fault.change(population.draw(ROWS, np.random.default_rng([2, number])))
    alarms = compare(reference, **population.window(reference, frame), seed=number).alarms
    detections = [
        f
        for f in alarms
        if f.part == fault.part
        and f.kind in fault.kinds
        and (f.column == fault.column or fault.column in f.details.get("columns", ()))
    ]
    return {
        "data set": fault.population,
        "fault": fault.name,
        "column": fault.column,
        "detected": bool(detections),
        "message": (detections or alarms)[0].sentence if alarms else "",
        "other alarms": [
            f"{f.kind} {f.column}"
            for f in alarms
            if f not in detections and f.column != fault.column
        ],
    }


if __name__ == "__main__":
    for entry in detect_faults():
        print(entry)
