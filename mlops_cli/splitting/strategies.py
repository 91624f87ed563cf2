"""Split strategies: assign rows to train, validation and test, and check for leakage.

An assignment is an array of codes, one for each row: 0, 1, 2 for train, validation, test (the
order of ``layout.SPLITS``), and -1 for rows that a gap leaves out.
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
    """Number distinct values in order of appearance: 0 for the first one, 1 for the second, ..."""
    import numpy as np

    _, first, inverse = np.unique(values.to_numpy(), return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    return cast("Ids", order[inverse].astype(np.int64))


def repeats_rows(units: Ids) -> bool:
    """Whether equal rows are separate observations rather than copies of one observation.

    Copies must not be on both sides of a split. But if most rows have an equal one (few columns
    with few values), equal rows are separate observations, and keeping them together would leave
    nothing to split.
    """
    return bool(len(units) and (units.max() + 1) * 2 < len(units))


def at_random(units: Ids, classes: Ids | None, validation: float, test: float, seed: int) -> Codes:
    """Assign at random: rows of a unit stay together, and classes, if given, keep their shares.

    Parameters
    ----------
    units
        Unit of each row, such as equal rows, as dense numbers.
    classes
        Class of each row, to stratify by. A unit counts for the rarest class of its rows, so that
        the few rows of a rare class are spread over the splits.
    validation, test
        Shares of the rows.
    """
    import numpy as np

    size = np.bincount(units)
    strata = np.zeros(len(size), np.int64) if classes is None else _rarest_class(units, classes)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(size))
    code_of_unit = np.zeros(len(size), np.int8)
    for stratum in np.unique(strata):
        units_of_stratum = shuffled[strata[shuffled] == stratum]
        code_of_unit[units_of_stratum] = _assign_shares(size[units_of_stratum], validation, test)
    return code_of_unit[units]


def _rarest_class(units: Ids, classes: Ids) -> Ids:
    """Find the rarest class among the rows of each unit."""
    import numpy as np

    rows = np.bincount(classes)[classes]
    order = np.lexsort((rows, units))
    return classes[order[np.unique(units[order], return_index=True)[1]]]


def by_group(groups: pl.Series, validation: float, test: float, seed: int) -> Codes:
    """Assign whole groups, in the order of a seeded hash of their names.

    The hash of a group doesn't depend on the other groups, so most groups keep their split when
    new data arrives. Rows without a group count as one group.
    """
    import numpy as np
    import polars as pl

    names = groups.cast(pl.String).fill_null("").alias("g")
    sizes = names.value_counts().sort("g")
    digests = [
        hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=16).digest() for name in sizes["g"]
    ]
    ordered = sizes[sorted(range(len(digests)), key=digests.__getitem__)]
    codes = _assign_shares(ordered["count"].to_numpy(), validation, test)
    code_of_group = dict(zip(ordered["g"], codes.tolist(), strict=True))
    return cast("Codes", np.array([code_of_group[name] for name in names], dtype=np.int8))


def _assign_shares(sizes: NDArray[np.int64], validation: float, test: float) -> Codes:
    """Assign units of these sizes in order: test first, then validation, the rest to train."""
    import numpy as np

    # A unit goes where its midpoint is, so a large one overshoots by at most half of its size.
    midpoint = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    return np.select([midpoint < test, midpoint < test + validation], [2, 1], 0).astype(np.int8)


def by_time(
    times: pl.Series,
    validation: float | str,
    test: float | str,
    gap: str | None,
    until: dt.datetime | None,
) -> tuple[Codes, dict[str, dt.datetime]]:
    """Assign by time: train, then validation, then test, each later than the previous one.

    Parameters
    ----------
    times
        Time of each row, Datetime[us, UTC].
    validation, test
        A share of the rows, or a span before the end of the data.
    gap
        Span before validation and before test; its rows are left out.
    until
        The end of the data (the data clock); by default just after the newest row.

    Returns
    -------
    codes, boundaries
        The first times of validation and of test.
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
        # The share refers to all rows, but only those before the test rows are left here.
        share = min(1.0, validation * len(ordered) / len(earlier))
    validation_from = _boundary(earlier, share, test_from)
    codes = np.select(
        [(times >= test_from).to_numpy(), (times >= validation_from).to_numpy()], [2, 1], 0
    ).astype(np.int8)
    if gap is not None:
        for boundary in (validation_from, test_from):
            start = subtract(boundary, gap)
            in_gap = ((times >= start) & (times < boundary)).to_numpy()
            codes[in_gap] = LEFT_OUT
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
    """Check that nothing leaks between splits; return the result of each check by name.

    Parameters
    ----------
    rows
        Row numbers, which must be unique.
    units
        If given, rows of a unit must be in one split.
    groups
        If given, rows of a group must be in one split.
    times
        If given, each split must be later than the previous one.

    Raises
    ------
    DataRefused
        If a check fails; the first one is reported.
    """
    for code, name in enumerate(names):
        if not (codes == code).any():
            detail = f"{len(codes)} rows in all"
            detail += "" if groups is None else f", of {groups.n_unique()} groups"
            raise DataRefused(
                f"the {name} split is empty ({detail})",
                "Change split.validation or split.test, or bring more data.",
            )
    if rows.n_unique() != len(rows):
        raise DataRefused("a row occurs twice in the feature table", "Run featurize again.")
    results = {"each row once": "holds"}
    if units is not None:
        _require_same_split(codes, units, "equal rows")
        results["equal rows on one side"] = "holds"
    if groups is not None:
        _require_same_split(
            codes, dense_ids(groups.cast(str).fill_null("")), f"rows of one {groups.name}"
        )
        results["groups on one side"] = "holds"
    if times is not None:
        moments = times.to_physical().to_numpy()
        for earlier, later in ((0, 1), (1, 2)):
            if moments[codes == earlier].max() >= moments[codes == later].min():
                raise DataRefused(
                    f"rows of {names[later]} are not later than all rows of {names[earlier]}",
                    "Their times overlap: check `time` of the base source.",
                )
        results["time order"] = "holds"
    return results


def _require_same_split(codes: Codes, ids: Ids, rows_name: str) -> None:
    import numpy as np

    assigned = codes >= 0
    low = np.full(int(ids.max()) + 1, 127, np.int8)
    high = np.full(int(ids.max()) + 1, -1, np.int8)
    np.minimum.at(low, ids[assigned], codes[assigned])
    np.maximum.at(high, ids[assigned], codes[assigned])
    violations = int(((high >= 0) & (low != high)).sum())
    if violations:
        raise DataRefused(
            f"{rows_name} stand on both sides of the split in {violations} cases",
            "The model would be tested on rows that it has seen; split by group.",
        )


def require_column(column: str | None, columns: Sequence[str], setting: str) -> None:
    """Require that the feature table has the column to split by.

    Raises
    ------
    BadParams
        If the column doesn't exist; the message names the setting.
    """
    if column is not None and column not in columns:
        raise BadParams(
            f"{setting} is {column!r}, which the feature table doesn't have",
            nearest(column, columns) + " A base column is carried along by `featurize.keep`.",
        )
