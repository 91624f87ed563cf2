"""Which rows teach, decide and judge: assignments, and checks that nothing leaks across.

An assignment is an array of codes, one per row: 0, 1, 2 for train, validation, test (the order
of ``layout.SPLITS``), and -1 for rows left out by a gap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from mlops_cli.data.durations import subtract
from mlops_cli.errors import BadParams, DataRefused, nearest

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Codes = NDArray[np.int8]
    Ids = NDArray[np.int64]

__all__ = [
    "at_random",
    "by_group",
    "by_time",
    "check",
    "dense_ids",
    "repeats_rows",
    "require_column",
]

LEFT_OUT = -1


def dense_ids(values: pl.Series) -> Ids:
    """Number equal values alike: 0 for the first distinct value, 1 for the second, ..."""
    import numpy as np

    _, first, inverse = np.unique(values.to_numpy(), return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    return cast("Ids", order[inverse].astype(np.int64))


def repeats_rows(units: Ids) -> bool:
    """Whether equal rows are this table's nature rather than copies of one observation.

    Copies must not stand on both sides of a split. But where most rows have an equal one (few
    columns, few values), equal rows are separate observations, and keeping them together would
    leave nothing to split.
    """
    return bool(len(units) and (units.max() + 1) * 2 < len(units))


def at_random(units: Ids, classes: Ids | None, validation: float, test: float, seed: int) -> Codes:
    """Assign at random; rows of one unit stay together, classes keep their shares if given.

    Parameters
    ----------
    units
        Row -> unit (equal rows, say), dense.
    classes
        Row -> class, to stratify by; a unit counts for the rarest class of its rows, so that
        the few rows of a class are dealt among themselves.
    validation, test
        Shares of the rows.
    """
    import numpy as np

    size = np.bincount(units)
    stratum = np.zeros(len(size), np.int64) if classes is None else _rarest(units, classes)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(size))
    of_unit = np.zeros(len(size), np.int8)
    for each in np.unique(stratum):
        mine = shuffled[stratum[shuffled] == each]
        of_unit[mine] = _fill(size[mine], validation, test)
    return of_unit[units]


def _rarest(units: Ids, classes: Ids) -> Ids:
    """Unit -> the class of its rows that has the fewest rows of all."""
    import numpy as np

    rows = np.bincount(classes)[classes]
    order = np.lexsort((rows, units))
    return classes[order[np.unique(units[order], return_index=True)[1]]]


def by_group(groups: pl.Series, validation: float, test: float, seed: int) -> Codes:
    """Assign whole groups, in the order of a seeded hash of their names.

    A group's place in that order doesn't depend on the other groups, so that most groups stay
    where they are when new data comes in. Rows without a group count as one group.
    """
    import numpy as np
    import polars as pl

    named = groups.cast(pl.String).fill_null("").alias("g")
    sizes = named.value_counts().sort("g")
    digests = [
        hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest() for name in sizes["g"]
    ]
    ordered = sizes[sorted(range(len(digests)), key=digests.__getitem__)]
    codes = _fill(ordered["count"].to_numpy(), validation, test)
    table = dict(zip(ordered["g"], codes.tolist(), strict=True))
    return cast("Codes", np.array([table[name] for name in named], dtype=np.int8))


def _fill(sizes: NDArray[np.int64], validation: float, test: float) -> Codes:
    """Codes for units of these sizes, in order: test first, then validation, the rest train."""
    import numpy as np

    # A unit goes where its middle falls, so that a large one doesn't overshoot by all of it.
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    return np.select([middle < test, middle < test + validation], [2, 1], 0).astype(np.int8)


def by_time(
    times: pl.Series,
    validation: float | str,
    test: float | str,
    gap: str | None,
    until: dt.datetime | None,
) -> tuple[Codes, dict[str, dt.datetime]]:
    """Assign by time: train, then validation, then test, each later than the one before.

    Parameters
    ----------
    times
        Datetime[us, UTC], one per row.
    validation, test
        A share of the rows, or a span before the end of the data.
    gap
        Span before validation and before test whose rows are left out.
    until
        The end of the data (the data clock); by default just after the newest row.

    Returns
    -------
    codes, boundaries
        The first moment of validation and of test.
    """
    import numpy as np

    ordered = times.sort()
    newest = cast("dt.datetime", ordered[-1])
    end = until if until is not None else newest
    test_from = _boundary(ordered, test, end)
    earlier = ordered.filter(ordered < test_from)
    if not len(earlier):
        raise DataRefused(
            f"split.test {test!r} takes all rows: the oldest is of {ordered[0]}",
            "Take a shorter span, or bring more data.",
        )
    share = validation
    if isinstance(validation, float):
        # A share is of all rows, and here only the earlier ones are left.
        share = min(1.0, validation * len(ordered) / len(earlier))
    validation_from = _boundary(earlier, share, test_from)
    codes = np.select(
        [(times >= test_from).to_numpy(), (times >= validation_from).to_numpy()], [2, 1], 0
    ).astype(np.int8)
    if gap is not None:
        for boundary in (validation_from, test_from):
            start = subtract(boundary, gap)
            within = ((times >= start) & (times < boundary)).to_numpy()
            codes[within] = LEFT_OUT
    return codes, {"validation": validation_from, "test": test_from}


def _boundary(ordered: pl.Series, span: float | str, end: dt.datetime) -> dt.datetime:
    if isinstance(span, str):
        return subtract(end, span)
    index = min(len(ordered) - 1, round(len(ordered) * (1.0 - span)))
    return cast("dt.datetime", ordered[index])


def check(
    codes: Codes,
    names: Sequence[str],
    *,
    rows: pl.Series,
    units: Ids | None = None,
    groups: pl.Series | None = None,
    times: pl.Series | None = None,
) -> dict[str, str]:
    """Prove that nothing leaks: each check by name, with what it found.

    Parameters
    ----------
    rows
        The rows' numbers: none may come twice.
    units
        If given, equal units may not be on two sides.
    groups
        If given, a group may not be on two sides.
    times
        If given, each split must lie wholly after the one before.

    Raises
    ------
    DataRefused
        For the first check that doesn't hold.
    """
    for code, name in enumerate(names):
        if not (codes == code).any():
            many = f"{len(codes)} rows in all"
            many += "" if groups is None else f", of {groups.n_unique()} groups"
            raise DataRefused(
                f"the {name} split is empty ({many})",
                "Change split.validation or split.test, or bring more data.",
            )
    if rows.n_unique() != len(rows):
        raise DataRefused("a row is there twice in the feature table", "Run featurize again.")
    found = {"each row once": "holds"}
    if units is not None:
        _same_side(codes, units, "equal rows")
        found["equal rows on one side"] = "holds"
    if groups is not None:
        _same_side(codes, dense_ids(groups.cast(str).fill_null("")), f"rows of one {groups.name}")
        found["groups on one side"] = "holds"
    if times is not None:
        moments = times.to_physical().to_numpy()
        for earlier, later in ((0, 1), (1, 2)):
            if moments[codes == earlier].max() >= moments[codes == later].min():
                raise DataRefused(
                    f"rows of {names[later]} are not later than all rows of {names[earlier]}",
                    "Their times overlap: check `time` of the base source.",
                )
        found["time order"] = "holds"
    return found


def _same_side(codes: Codes, ids: Ids, what: str) -> None:
    import numpy as np

    used = codes >= 0
    low = np.full(int(ids.max()) + 1, 127, np.int8)
    high = np.full(int(ids.max()) + 1, -1, np.int8)
    np.minimum.at(low, ids[used], codes[used])
    np.maximum.at(high, ids[used], codes[used])
    broken = int(((high >= 0) & (low != high)).sum())
    if broken:
        raise DataRefused(
            f"{what} stand on both sides of the split in {broken} cases",
            "The model would be judged by what it has seen; split by group.",
        )


def require_column(column: str | None, known: Sequence[str], setting: str) -> None:
    """Refuse a split by a column that the feature table doesn't have.

    Raises
    ------
    BadParams
        Naming the setting.
    """
    if column is not None and column not in known:
        raise BadParams(
            f"{setting} is {column!r}, which the feature table doesn't have",
            nearest(column, known) + " A base column is carried along by `featurize.keep`.",
        )
