"""Injected faults: whether each is found in the first window, by its column and kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from drift_worlds import World, world

from mlops_cli.drift.compare import compare
from mlops_cli.layout import TARGET

__all__ = ["FAULTS", "found_faults"]

ROWS = 5_000
REFERENCE = 50_000
Change = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Fault:
    """What is done to a window, and as what it has to be found."""

    name: str
    world: str
    column: str
    kinds: tuple[str, ...]
    change: Change
    part: str = "inputs"


def _with(column: str, value: pl.Expr) -> Change:
    return lambda frame: frame.with_columns(value.alias(column))


def _some(column: str, share: float, value: Any) -> Change:
    """The value in so many rows."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        chosen = pl.Series(np.random.default_rng(5).random(frame.height) < share)
        what = value if isinstance(value, pl.Expr) else pl.lit(value)
        return frame.with_columns(pl.when(chosen).then(what).otherwise(column).alias(column))

    return change


def _swap(column: str, first: str, second: str) -> Change:
    return _with(column, pl.col(column).replace({first: second, second: first}))


def _shuffle(column: str) -> Change:
    return lambda frame: frame.with_columns(frame[column].shuffle(seed=6))


def _flip(share: float, first: str, second: str) -> Change:
    """Labels of two classes exchanged in so many rows."""
    return _some(TARGET, share, pl.col(TARGET).replace({first: second, second: first}))


def _moved(column: str, deviations: float) -> Change:
    return _with(column, pl.col(column) + deviations * pl.col(column).std())


COL = pl.col
WIDE, AREA = "mean radius", "mean area"
FAULTS = (
    Fault("shift by a half deviation", "flights", "humidity", ("shift",), _moved("humidity", 0.5)),
    Fault("shift by a half deviation", "breast_cancer", WIDE, ("shift",), _moved(WIDE, 0.5)),
    Fault("shift down", "diabetes", "bmi", ("shift",), _moved("bmi", -0.6)),
    Fault("shift", "wine", "alcohol", ("shift",), _moved("alcohol", 0.5)),
    Fault("wider by a half", "shop", "age", ("drift", "scale"),
          _with("age", (COL("age") - 42) * 1.5 + 42)),
    Fault("20% missing", "flights", "temperature", ("missing",), _some("temperature", 0.2, None)),
    Fault("5% missing", "shop", "price", ("missing",), _some("price", 0.05, None)),
    Fault("10% of a category missing", "flights", "carrier", ("missing",),
          _some("carrier", 0.1, None)),
    Fault("Fahrenheit to Celsius", "flights", "temperature", ("scale",),
          _with("temperature", (COL("temperature") - 32) / 1.8)),
    Fault("miles to kilometres", "flights", "distance", ("scale",),
          _with("distance", COL("distance") * 1.609344)),
    Fault("hundredths", "breast_cancer", AREA, ("scale",), _with(AREA, COL(AREA) / 100)),
    Fault("kilograms to pounds", "shop", "weight", ("scale",),
          _with("weight", COL("weight") * 2.2046)),
    Fault("seconds to minutes", "shop", "age", ("scale",), _with("age", COL("age") * 60)),
    Fault("swap of two of like share", "flights", "origin", ("swap",),
          _swap("origin", "EWR", "LGA")),
    Fault("swap of two carriers", "flights", "carrier", ("swap",), _swap("carrier", "UA", "EV")),
    Fault("swap of two of other shares", "shop", "device", ("swap",),
          _swap("device", "app", "desktop")),
    Fault("swap of two of like share", "shop", "country", ("swap",), _swap("country", "at", "de")),
    Fault("negated", "shop", "gift", ("swap",), _with("gift", ~COL("gift"))),
    Fault("renamed category", "flights", "dest", ("unseen",),
          _with("dest", COL("dest").replace("ORD", "KORD"))),
    Fault("new category in 3%", "shop", "device", ("unseen",), _some("device", 0.03, "watch")),
    Fault("sentinel -999 in 2%", "flights", "pressure", ("range",),
          _some("pressure", 0.02, -999.0)),
    Fault("stuck sensor", "flights", "visibility", ("constant",),
          _with("visibility", pl.lit(10.0))),
    Fault("column gone", "flights", "plane_age", ("vanished",), lambda f: f.drop("plane_age")),
    Fault("all null", "breast_cancer", "mean texture", ("vanished",),
          _with("mean texture", pl.lit(None, dtype=pl.Float64))),
    Fault("numbers as words", "diabetes", "bp", ("type",), _with("bp", pl.lit("n/a"))),
    Fault("joint only: shuffled", "flights", "temperature", ("joint",), _shuffle("temperature")),
    Fault("joint only: shuffled", "shop", "price", ("joint",), _shuffle("price")),
    Fault("joint only: shuffled", "breast_cancer", AREA, ("joint",), _shuffle(AREA)),
    Fault("all labels flipped", "flights", "label", ("swap", "drift"), _flip(1.0, "false", "true"),
          "labels"),
    Fault("30% of the labels flipped", "flights", "label", ("swap", "drift"),
          _flip(0.3, "false", "true"), "labels"),
)  # fmt: skip


def found_faults() -> list[dict[str, Any]]:
    """Each fault, whether it was found as what it is, and what was said."""
    return list(_found())


def _found() -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys(f.world for f in FAULTS):
        place = world(name)
        reference = place.reference(REFERENCE, np.random.default_rng(1))
        for number, fault in enumerate(FAULTS):
            if fault.world == name:
                yield _one(fault, number, place, reference)


def _one(fault: Fault, number: int, place: World, reference: Any) -> dict[str, Any]:
    frame = fault.change(place.draw(ROWS, np.random.default_rng([2, number])))
    alarms = compare(reference, **place.window(reference, frame), seed=number).alarms
    named = [
        f
        for f in alarms
        if f.part == fault.part
        and f.kind in fault.kinds
        and (f.column == fault.column or fault.column in f.details.get("columns", ()))
    ]
    return {
        "data set": fault.world,
        "fault": fault.name,
        "column": fault.column,
        "found": bool(named),
        "said": (named or alarms)[0].sentence if alarms else "",
        "other alarms": [
            f"{f.kind} {f.column}" for f in alarms if f not in named and f.column != fault.column
        ],
    }


if __name__ == "__main__":
    for entry in found_faults():
        print(entry)
