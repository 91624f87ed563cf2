"""Value policies of requests: refuse, flag or impute values that the model wasn't trained for.

A value of a request is checked once it has its column's type, before features are computed. The
checks are the rules of `validate` for the column. Without rules, they are the range and the
categories of the training data, if the column is a feature without changes.
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
    WIDE_COLUMNS,
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

__all__ = ["OTHER_COLUMNS", "ValuePolicies", "known_columns", "seen_in_training"]

OTHER_COLUMNS = "*"
"""Key of the policy for all columns that aren't named."""
_RULE_POLICIES = {"fail": "refuse", "quarantine": "refuse", "warn": "flag"}
"""Policy of a rule in `validate` -> default policy in serving."""
_TRAINING_POLICY = "flag"
"""Default policy of checks against the training data."""
_MAX_VALUES = 5
"""Allowed values that a message lists."""
_MAX_ROW_WARNINGS = 10
"""Limit of warnings that are listed for one row."""
_MAX_REQUEST_WARNINGS = 10_000
"""Limit of warnings that are listed for one request; the others are only counted."""
_MAX_PYTHON_VALUES = 4096
"""Up to so many values, a loop in Python is faster than the overhead of a check in Polars."""


@dataclass(frozen=True)
class _Check:
    """One check of a column's values.

    Attributes
    ----------
    kind
        missing, range or unseen.
    policy
        refuse, flag, impute or accept: what happens to a value that fails.
    problem
        What is wrong with a value that fails, as the end of a sentence.
    fails
        Function from a column to True for each value that fails; None or false for the others.
    low, high
        Limits of a range, both inclusive; None where there is no limit.
    """

    kind: str
    policy: str
    problem: str
    fails: Callable[[pl.Series], pl.Series]
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class _Column:
    """The checks of one column, in order (the first that fails decides), and a faster test."""

    checks: tuple[_Check, ...]
    quick_test: Callable[[Sequence[Any]], bool] | None = None
    """Function that tests plain values, whether all of them pass; None if there is no fast one."""
    max_quick_values: float = _MAX_PYTHON_VALUES
    """Limit of values up to which ``quick`` is faster than the checks."""

    def passes(self, column: pl.Series) -> bool:
        """Whether all values pass."""
        if self.quick_test is not None and len(column) <= self.max_quick_values:
            return self.quick_test(column.to_list())
        return not any(check.fails(column).any() for check in self.checks)


class ValuePolicies:
    """The checks of a version's columns, with the policy of each.

    Parameters
    ----------
    inputs
        The columns of requests.
    rules
        Column -> its rules of `validate`, from the bundle's schema.
    signature_entries
        Column -> its feature's entry in the bundle's signature, see ``seen_in_training``.
    policies
        The section `serve.columns` of params.yaml.
    """

    def __init__(
        self,
        inputs: RequestRows,
        rules: Mapping[str, Mapping[str, Any]],
        signature_entries: Mapping[str, Mapping[str, Any]],
        policies: Mapping[str, ColumnPolicy],
    ) -> None:
        general = policies.get(OTHER_COLUMNS, ColumnPolicy())
        self._columns: dict[str, _Column] = {}
        for name in (*inputs.required, *inputs.optional):
            specific = policies.get(name, ColumnPolicy())
            policy = ColumnPolicy(
                range=specific.range or general.range,
                unseen=specific.unseen or general.unseen,
                missing=specific.missing or general.missing,
            )
            builder = _CheckBuilder(
                inputs.columns[name], rules.get(name, {}), signature_entries.get(name, {}), policy
            )
            column = builder.build(required=name in inputs.required)
            if column is not None:
                self._columns[name] = column

    def apply(self, parsed_rows: ParsedRows, *, list_all: bool = False) -> ParsedRows:
        """Apply the policies: drop refused rows, replace imputed values by null, and add warnings.

        Parameters
        ----------
        list_all
            Whether to list every error, and warnings of every row.
        """
        frame = parsed_rows.frame
        if not frame.height:
            return parsed_rows
        failed = {name: self._columns[name].checks for name in self._failing_columns(frame)}
        return self._apply_checks(parsed_rows, failed, list_all) if failed else parsed_rows

    def _failing_columns(self, frame: pl.DataFrame) -> list[str]:
        """Names of the columns with a value that fails a check."""
        if frame.height > FEW_ROWS or frame.width < WIDE_COLUMNS:
            return [n for n, c in self._columns.items() if not c.passes(frame.get_column(n))]
        values = dict(zip(frame.columns, zip(*frame.rows(), strict=True), strict=True))
        return [
            name
            for name, column in self._columns.items()
            if not (
                column.passes(frame.get_column(name))
                if column.quick_test is None
                else column.quick_test(values[name])
            )
        ]

    def _apply_checks(
        self, parsed_rows: ParsedRows, failed: Mapping[str, Sequence[_Check]], list_all: bool
    ) -> ParsedRows:
        frame, index = parsed_rows.frame, parsed_rows.index
        errors = RowErrors(list_all=list_all)
        warnings = _Warnings(index, None if list_all else _MAX_REQUEST_WARNINGS)
        good = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
        for name, checks in failed.items():
            column = frame.get_column(name)
            undecided = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
            for check in checks:
                hits = check.fails(column).fill_null(value=False) & undecided
                if not hits.any():
                    continue
                undecided &= ~hits
                if check.policy == "refuse":
                    good &= ~hits
                    places = errors.select_listed(hits.arg_true().to_list())
                    for i, value in zip(places, column.gather(places).to_list(), strict=True):
                        errors.add(_error(index[i], name, value, check), i)
                    continue
                warnings.add(column, hits, check)
                if check.policy == "impute":
                    nothing = pl.Series(name, [None], dtype=column.dtype)
                    frame = frame.with_columns(column.zip_with(~hits, nothing))
                    column = frame.get_column(name)
        parsed = ParsedRows(
            frame,
            index,
            parsed_rows.errors,
            (*parsed_rows.warnings, *warnings.listed),
            (*parsed_rows.flagged, *warnings.flagged),
        )
        return parsed.keep_valid(good, errors.listed)


class _Warnings:
    """Collects the warnings of many rows: all of them as flags, and some of each row as messages.

    Parameters
    ----------
    index
        Row numbers in the request.
    limit
        Limit of messages in all; None for no limit.
    """

    def __init__(self, index: Sequence[int], limit: int | None) -> None:
        self.listed: list[RowWarning] = []
        self.flagged: list[FlaggedRows] = []
        self._index = index
        self._limit = limit
        self._row_counts = [0] * len(index)

    def add(self, column: pl.Series, hits: pl.Series, check: _Check) -> None:
        """Add the values of a column that fail a check."""
        self.flagged.append(FlaggedRows(column.name, check.kind, check.policy, hits))
        room = None if self._limit is None else self._limit - len(self.listed)
        if room == 0:
            return
        candidates = (
            i for i in hits.arg_true().to_list() if self._row_counts[i] < _MAX_ROW_WARNINGS
        )
        places = list(islice(candidates, room))
        for i, value in zip(places, column.gather(places).to_list(), strict=True):
            self._row_counts[i] += 1
            self.listed.append(_warning(self._index[i], column.name, value, check))


@dataclass(frozen=True)
class _CheckBuilder:
    """Makes a column's checks from its rules, its training data and its policy."""

    dtype: pl.DataType
    rules: Mapping[str, Any]
    signature_entry: Mapping[str, Any]
    policy: ColumnPolicy

    def build(self, *, required: bool) -> _Column | None:
        """Return the column's checks; None if there are none."""
        missing = [*self._missing_checks()] if required else []
        values = [*self._range_checks(), *self._category_checks()]
        checks = [c for c in (*missing, *values) if c.policy != "accept"]
        if not checks:
            return None
        refuses_null = any(c.kind == "missing" for c in checks)
        accepted = self._accepted_values(values)
        if accepted is not None:
            # Texts that training has seen and no rule forbids: the common case, and fast.
            accepted |= frozenset() if refuses_null else {None}
            return _Column(tuple(checks), accepted.issuperset, math.inf)
        if self.dtype.is_numeric() and all(c.kind != "unseen" for c in checks):
            return _Column(tuple(checks), _range_test(checks, nulls=not refuses_null))
        return _Column(tuple(checks))

    def _missing_checks(self) -> Iterator[_Check]:
        rule = self.rules.get("nullable", {"value": True})
        default = "accept" if rule["value"] else _default_policy(rule)
        policy = self.policy.missing or default
        if policy != "impute":  # the model itself handles missing values
            yield _Check("missing", policy, "has no value", pl.Series.is_null)

    def _range_checks(self) -> Iterator[_Check]:
        if self.dtype.is_float():
            most = sys.float_info.max
            policy = self.policy.range or "refuse"
            problem = "is not finite"
            yield _Check("range", policy, problem, lambda s: (s > most) | (s < -most), -most, most)
        low, high = self.rules.get("min"), self.rules.get("max")
        if low is not None or high is not None:
            for rule, below in ((low, True), (high, False)):
                if rule is not None:
                    yield self._limit_check(
                        self._typed_value(rule["value"]), below, _default_policy(rule), ""
                    )
        elif self.dtype.is_numeric() and self.signature_entry.get("min") is not None:
            where = " in training"
            yield self._limit_check(self.signature_entry["min"], True, _TRAINING_POLICY, where)
            yield self._limit_check(self.signature_entry["max"], False, _TRAINING_POLICY, where)

    def _limit_check(self, limit: Any, below: bool, default: str, where: str) -> _Check:
        policy = self.policy.range or default
        if below:
            problem = f"is below the least{where}, {_format_value(limit)}"
            return _Check("range", policy, problem, lambda s: s < limit, low=limit)
        problem = f"is above the most{where}, {_format_value(limit)}"
        return _Check("range", policy, problem, lambda s: s > limit, high=limit)

    def _category_checks(self) -> Iterator[_Check]:
        allowed, pattern = self.rules.get("allowed"), self.rules.get("pattern")
        if pattern is not None:
            policy = self.policy.unseen or _default_policy(pattern)
            problem = f"doesn't match {pattern['value']}"
            yield _Check("unseen", policy, problem, lambda s: ~s.str.contains(pattern["value"]))
        if allowed is not None:
            policy = self.policy.unseen or _default_policy(allowed)
            allowed_values = [self._typed_value(v) for v in allowed["value"]]
            more = ", ..." if len(allowed_values) > _MAX_VALUES else ""
            problem = (
                f"is none of {', '.join(map(_format_value, allowed_values[:_MAX_VALUES]))}{more}"
            )
            yield _Check("unseen", policy, problem, _not_in(allowed_values, self.dtype))
        elif self.signature_entry.get("categories"):
            policy = self.policy.unseen or _TRAINING_POLICY
            problem = "was not seen in training"
            yield _Check(
                "unseen", policy, problem, _not_in(self.signature_entry["categories"], self.dtype)
            )

    def _accepted_values(self, checks: Sequence[_Check]) -> frozenset[Any] | None:
        """Return the values that pass all checks, if they can be listed."""
        allowed = self.rules.get("allowed")
        values = self.signature_entry.get("categories") if allowed is None else allowed["value"]
        if not values or self.dtype != pl.String or any(c.kind == "range" for c in checks):
            return None
        column = pl.Series(values, dtype=pl.String)
        for check in checks:
            column = column.filter(~check.fails(column))
        return frozenset(column.to_list())

    def _typed_value(self, value: Any) -> Any:
        """Convert a rule's value to the column's type; in JSON, times are texts."""
        if not self.dtype.is_temporal():
            return value
        moment = in_utc(dt.datetime.fromisoformat(value)) if isinstance(value, str) else value
        return moment.date() if self.dtype == pl.Date else moment


def known_columns(policies: Mapping[str, ColumnPolicy], inputs: RequestRows) -> None:
    """Check that `serve.columns` names only columns of requests.

    Raises
    ------
    BadParams
        If it names another column.
    """
    for name in policies:
        if name != OTHER_COLUMNS and name not in inputs.columns:
            hint = nearest(name, inputs.columns)
            raise BadParams(
                f"serve.columns names {name!r}, which is no column that a caller gives",
                hint or f"Name a column of the base source, or {OTHER_COLUMNS!r} for all.",
            )


def seen_in_training(
    program: FeatureProgram, signature: Mapping[str, Any], pooled: frozenset[str]
) -> dict[str, Mapping[str, Any]]:
    """Return the base columns that are unchanged features, with their entries in the signature.

    Parameters
    ----------
    pooled
        Features whose rare categories were pooled, so that the model doesn't list all of them.
    """
    changed = {c for r in program.rules.clean if r.source == program.rules.base for c in r.set}
    changed |= {*program.derive, *program.base.late_columns}
    entries: dict[str, Mapping[str, Any]] = {}
    for name, feature in program.features.items():
        column = feature.columns[0] if feature.columns else ""
        unchanged = column in program.base.schema and column not in changed and name not in pooled
        if unchanged and program.hook is None and feature.expr.meta.eq(pl.col(column)):
            entries[column] = signature.get("inputs", {}).get(name, {})
    return entries


def _range_test(checks: Sequence[_Check], *, nulls: bool) -> Callable[[Sequence[Any]], bool]:
    """Make a function that tests values against limits; NaN fails, so that the checks decide."""
    low = max((c.low for c in checks if c.low is not None), default=-math.inf)
    high = min((c.high for c in checks if c.high is not None), default=math.inf)
    return lambda values: all(nulls if v is None else low <= v <= high for v in values)


def _default_policy(rule: Mapping[str, Any]) -> str:
    return _RULE_POLICIES[rule.get("policy", "fail")]


def _not_in(values: Sequence[Any], dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    allowed = pl.Series(values, dtype=dtype, strict=False).implode()
    return lambda s: ~s.is_in(allowed)


def _error(row: int, column: str, value: Any, check: _Check) -> RowError:
    return RowError(row, column, _short_value(value), _message(column, value, check.problem))


def _warning(row: int, column: str, value: Any, check: _Check) -> RowWarning:
    message = _message(column, value, check.problem)
    if check.policy == "impute":
        message += ", and is taken as missing"
    return RowWarning(row, column, _short_value(value), message, check.kind, check.policy)


def _message(column: str, value: Any, problem: str) -> str:
    if value is None:
        return f"column {column!r} {problem}"
    return f"{_short_value(value)} in column {column!r} {problem}"


def _short_value(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, dt.date) else shorten_value(value)


def _format_value(value: Any) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else repr(value)
