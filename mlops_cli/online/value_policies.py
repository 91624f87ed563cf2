"""What becomes of a given value that a model has no ground to judge: one policy for each column.

A value is looked at as the caller gave it, once it has its column's type. What it is held against
is what `validate` asks of the column and, where that says nothing, what training has seen in a
feature that is the column as it is.
"""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.data_clock import in_utc
from mlops_cli.errors import BadParams, nearest
from mlops_cli.online.request_rows import (
    FEW_ROWS,
    WIDE,
    FlaggedRows,
    ParsedRows,
    RequestRows,
    RowError,
    RowErrors,
    RowWarning,
    shorten_value,
)
from mlops_cli.params.serving import ColumnPolicy

if TYPE_CHECKING:
    from mlops_cli.features.program import FeatureProgram

__all__ = ["ANY", "ValuePolicies", "known_columns", "seen_in_training"]

ANY = "*"
"""Stands for every column that isn't named."""
_BY_RULE = {"fail": "refuse", "quarantine": "refuse", "warn": "flag"}
"""What holds in serving where `validate` has a rule, by its policy there."""
_BEYOND = "flag"
"""What holds where only training says what is usual."""
_LISTED = 5
_OF_A_ROW = 10
"""Warnings of one row that are listed."""
_OF_A_REQUEST = 10_000
"""Warnings of one request that are listed; the others are only counted."""
_FEW = 4096
"""Up to so many values, a look at each in Python is quicker than Polars' start of each check."""


@dataclass(frozen=True)
class _Check:
    """One thing that a column's values are held against.

    Attributes
    ----------
    kind
        missing, range or unseen.
    said
        What is wrong with a value that breaks it, as the rest of a sentence.
    breaks
        True for each value that breaks it; None or false for the others.
    low, high
        Of a range: the least and the most that don't break it.
    """

    kind: str
    policy: str
    said: str
    breaks: Callable[[pl.Series], pl.Series]
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class _Column:
    """The checks of one column, the first that a value breaks decides; and what passes quickly."""

    checks: tuple[_Check, ...]
    quick: Callable[[Sequence[Any]], bool] | None = None
    """Whether all of some plain values pass, where that can be said of them."""
    most: float = _FEW
    """Up to so many values it is the quicker way."""

    def passes(self, column: pl.Series) -> bool:
        """Whether no value breaks a check."""
        if self.quick is not None and len(column) <= self.most:
            return self.quick(column.to_list())
        return not any(check.breaks(column).any() for check in self.checks)


class ValuePolicies:
    """The policies of a version's columns.

    Parameters
    ----------
    inputs
        What callers give.
    rules
        Column -> its rules of `validate`, as the bundle's schema has them.
    seen
        Column -> its feature's entry in the bundle's signature, see ``seen_in_training``.
    wanted
        What `serve.columns` says.
    """

    def __init__(
        self,
        inputs: RequestRows,
        rules: Mapping[str, Mapping[str, Any]],
        seen: Mapping[str, Mapping[str, Any]],
        wanted: Mapping[str, ColumnPolicy],
    ) -> None:
        general = wanted.get(ANY, ColumnPolicy())
        self._columns: dict[str, _Column] = {}
        for name in (*inputs.needed, *inputs.optional):
            own = wanted.get(name, ColumnPolicy())
            policy = ColumnPolicy(
                range=own.range or general.range,
                unseen=own.unseen or general.unseen,
                missing=own.missing or general.missing,
            )
            of = _Of(inputs.columns[name], rules.get(name, {}), seen.get(name, {}), policy)
            made = of.column(must_be_given=name in inputs.needed)
            if made is not None:
                self._columns[name] = made

    def apply(self, read: ParsedRows, *, thorough: bool = False) -> ParsedRows:
        """Rows without those that are refused, and with what is taken as missing or flagged.

        Parameters
        ----------
        thorough
            Whether every error is listed, and warnings of every row.
        """
        frame = read.frame
        if not frame.height:
            return read
        broken = {name: self._columns[name].checks for name in self._suspects(frame)}
        return self._judged(read, broken, thorough) if broken else read

    def _suspects(self, frame: pl.DataFrame) -> list[str]:
        """Columns with a value that breaks a check."""
        if frame.height > FEW_ROWS or frame.width < WIDE:
            return [n for n, c in self._columns.items() if not c.passes(frame.get_column(n))]
        values = dict(zip(frame.columns, zip(*frame.rows(), strict=True), strict=True))
        return [
            name
            for name, column in self._columns.items()
            if not (
                column.passes(frame.get_column(name))
                if column.quick is None
                else column.quick(values[name])
            )
        ]

    def _judged(
        self, read: ParsedRows, broken: Mapping[str, Sequence[_Check]], thorough: bool
    ) -> ParsedRows:
        frame, index = read.frame, read.index
        errors = RowErrors(thorough=thorough)
        warnings = _Warnings(index, None if thorough else _OF_A_REQUEST)
        good = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
        for name, checks in broken.items():
            given = frame.get_column(name)
            left = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
            for check in checks:
                found = check.breaks(given).fill_null(value=False) & left
                if not found.any():
                    continue
                left &= ~found
                if check.policy == "refuse":
                    good &= ~found
                    places = errors.some(found.arg_true().to_list())
                    for i, value in zip(places, given.gather(places).to_list(), strict=True):
                        errors.add(_error(index[i], name, value, check), i)
                    continue
                warnings.add(given, found, check)
                if check.policy == "impute":
                    nothing = pl.Series(name, [None], dtype=given.dtype)
                    frame = frame.with_columns(given.zip_with(~found, nothing))
                    given = frame.get_column(name)
        judged = ParsedRows(
            frame,
            index,
            read.errors,
            (*read.warnings, *warnings.listed),
            (*read.flagged, *warnings.flagged),
        )
        return judged.only(good, errors.all)


class _Warnings:
    """The warnings of many rows: all as flags, some of each row listed.

    Parameters
    ----------
    most
        How many are listed in all; None for as many as there are.
    """

    def __init__(self, index: Sequence[int], most: int | None) -> None:
        self.listed: list[RowWarning] = []
        self.flagged: list[FlaggedRows] = []
        self._index = index
        self._most = most
        self._of_row = [0] * len(index)

    def add(self, given: pl.Series, found: pl.Series, check: _Check) -> None:
        """Take a column's values that break a check."""
        self.flagged.append(FlaggedRows(given.name, check.kind, check.policy, found))
        room = None if self._most is None else self._most - len(self.listed)
        if room == 0:
            return
        fit = (i for i in found.arg_true().to_list() if self._of_row[i] < _OF_A_ROW)
        places = list(islice(fit, room))
        for i, value in zip(places, given.gather(places).to_list(), strict=True):
            self._of_row[i] += 1
            self.listed.append(_warning(self._index[i], given.name, value, check))


@dataclass(frozen=True)
class _Of:
    """What is known of a column, to be made into checks."""

    dtype: pl.DataType
    rules: Mapping[str, Any]
    seen: Mapping[str, Any]
    policy: ColumnPolicy

    def column(self, *, must_be_given: bool) -> _Column | None:
        """Its checks; None where nothing is to be held against anything."""
        missing = [*self._missing()] if must_be_given else []
        values = [*self._limits(), *self._categories()]
        checks = [c for c in (*missing, *values) if c.policy != "accept"]
        if not checks:
            return None
        nulls = any(c.kind == "missing" for c in checks)
        known = self._known(values)
        if known is not None:
            # A text that training has seen and no rule forbids: the common case, and quick.
            known |= frozenset() if nulls else {None}
            return _Column(tuple(checks), known.issuperset, math.inf)
        if self.dtype.is_numeric() and all(c.kind != "unseen" for c in checks):
            return _Column(tuple(checks), _within(checks, nulls=not nulls))
        return _Column(tuple(checks))

    def _missing(self) -> Iterator[_Check]:
        rule = self.rules.get("nullable", {"value": True})
        default = "accept" if rule["value"] else _default(rule)
        policy = self.policy.missing or default
        if policy != "impute":  # the model's own answer to a missing value
            yield _Check("missing", policy, "has no value", pl.Series.is_null)

    def _limits(self) -> Iterator[_Check]:
        if self.dtype.is_float():
            most = sys.float_info.max
            policy = self.policy.range or "refuse"
            said = "is not finite"
            yield _Check("range", policy, said, lambda s: (s > most) | (s < -most), -most, most)
        low, high = self.rules.get("min"), self.rules.get("max")
        if low is not None or high is not None:
            for rule, below in ((low, True), (high, False)):
                if rule is not None:
                    yield self._limit(self._typed(rule["value"]), below, _default(rule), "")
        elif self.dtype.is_numeric() and self.seen.get("min") is not None:
            said = " in training"
            yield self._limit(self.seen["min"], True, _BEYOND, said)
            yield self._limit(self.seen["max"], False, _BEYOND, said)

    def _limit(self, limit: Any, below: bool, default: str, where: str) -> _Check:
        policy = self.policy.range or default
        if below:
            said = f"is below the least{where}, {_text(limit)}"
            return _Check("range", policy, said, lambda s: s < limit, low=limit)
        said = f"is above the most{where}, {_text(limit)}"
        return _Check("range", policy, said, lambda s: s > limit, high=limit)

    def _categories(self) -> Iterator[_Check]:
        allowed, pattern = self.rules.get("allowed"), self.rules.get("pattern")
        if pattern is not None:
            policy = self.policy.unseen or _default(pattern)
            said = f"doesn't match {pattern['value']}"
            yield _Check("unseen", policy, said, lambda s: ~s.str.contains(pattern["value"]))
        if allowed is not None:
            policy = self.policy.unseen or _default(allowed)
            named = [self._typed(v) for v in allowed["value"]]
            more = ", ..." if len(named) > _LISTED else ""
            said = f"is none of {', '.join(map(_text, named[:_LISTED]))}{more}"
            yield _Check("unseen", policy, said, _outside(named, self.dtype))
        elif self.seen.get("categories"):
            policy = self.policy.unseen or _BEYOND
            said = "was not seen in training"
            yield _Check("unseen", policy, said, _outside(self.seen["categories"], self.dtype))

    def _known(self, checks: Sequence[_Check]) -> frozenset[Any] | None:
        """The values that break nothing, where they can be listed."""
        allowed = self.rules.get("allowed")
        named = self.seen.get("categories") if allowed is None else allowed["value"]
        if not named or self.dtype != pl.String or any(c.kind == "range" for c in checks):
            return None
        column = pl.Series(named, dtype=pl.String)
        for check in checks:
            column = column.filter(~check.breaks(column))
        return frozenset(column.to_list())

    def _typed(self, value: Any) -> Any:
        """A rule's value as the column has it; JSON has moments as text."""
        if not self.dtype.is_temporal():
            return value
        moment = in_utc(dt.datetime.fromisoformat(value)) if isinstance(value, str) else value
        return moment.date() if self.dtype == pl.Date else moment


def known_columns(wanted: Mapping[str, ColumnPolicy], inputs: RequestRows) -> None:
    """See that `serve.columns` names only columns that there are.

    Raises
    ------
    BadParams
        If it names another one.
    """
    for name in wanted:
        if name != ANY and name not in inputs.columns:
            hint = nearest(name, inputs.columns)
            raise BadParams(
                f"serve.columns names {name!r}, which is no column that a caller gives",
                hint or f"Name a column of the base source, or {ANY!r} for all.",
            )


def seen_in_training(
    program: FeatureProgram, signature: Mapping[str, Any], pooled: frozenset[str]
) -> dict[str, Mapping[str, Any]]:
    """Raw base columns that are features as they are, with what the signature says of them.

    Parameters
    ----------
    pooled
        Features of which the model doesn't know every category that there was.
    """
    changed = {c for r in program.rules.clean if r.source == program.rules.base for c in r.set}
    changed |= {*program.derive, *program.base.late}
    found: dict[str, Mapping[str, Any]] = {}
    for name, feature in program.features.items():
        column = feature.columns[0] if feature.columns else ""
        own = column in program.base.schema and column not in changed and name not in pooled
        if own and program.hook is None and feature.expr.meta.eq(pl.col(column)):
            found[column] = signature.get("inputs", {}).get(name, {})
    return found


def _within(checks: Sequence[_Check], *, nulls: bool) -> Callable[[Sequence[Any]], bool]:
    """Whether no value breaks these limits; NaN, as if it did, so that it is looked at closely."""
    low = max((c.low for c in checks if c.low is not None), default=-math.inf)
    high = min((c.high for c in checks if c.high is not None), default=math.inf)
    return lambda values: all(nulls if v is None else low <= v <= high for v in values)


def _default(rule: Mapping[str, Any]) -> str:
    return _BY_RULE[rule.get("policy", "fail")]


def _outside(named: Sequence[Any], dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    among = pl.Series(named, dtype=dtype, strict=False).implode()
    return lambda s: ~s.is_in(among)


def _error(row: int, column: str, value: Any, check: _Check) -> RowError:
    return RowError(row, column, _value(value), _sentence(column, value, check.said))


def _warning(row: int, column: str, value: Any, check: _Check) -> RowWarning:
    message = _sentence(column, value, check.said)
    if check.policy == "impute":
        message += ", and is taken as missing"
    return RowWarning(row, column, _value(value), message, check.kind, check.policy)


def _sentence(column: str, value: Any, said: str) -> str:
    if value is None:
        return f"column {column!r} {said}"
    return f"{_value(value)} in column {column!r} {said}"


def _value(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, dt.date) else shorten_value(value)


def _text(value: Any) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else repr(value)
