"""Checks of a column's values, from its rules of `validate` or from the training data."""

from __future__ import annotations

import datetime as dt
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.data_clock import in_utc

if TYPE_CHECKING:
    from mlops_cli.params.serve import ColumnPolicy

__all__ = ["CheckBuilder", "ColumnChecks", "ValueCheck"]

_RULE_POLICIES = {"fail": "refuse", "quarantine": "refuse", "warn": "flag"}
"""Policy of a rule in `validate` -> default policy in serving."""
_TRAINING_POLICY = "flag"
"""Default policy of checks against the training data."""
_MAX_VALUES = 5
"""Allowed values that a message lists."""
_MAX_PYTHON_VALUES = 4096
"""Up to so many values, a loop in Python is faster than the overhead of a check in Polars."""


@dataclass(frozen=True)
class ValueCheck:
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
class ColumnChecks:
    """The checks of one column, in order (the first that fails decides), and a faster test."""

    checks: tuple[ValueCheck, ...]
    quick_test: Callable[[Sequence[Any]], bool] | None = None
    """Function that tests plain values, whether all of them pass; None if there is no fast one."""
    max_quick_values: float = _MAX_PYTHON_VALUES
    """Limit of values up to which ``quick_test`` is faster than the checks."""

    def passes(self, column: pl.Series) -> bool:
        """Whether all values pass."""
        if self.quick_test is not None and len(column) <= self.max_quick_values:
            return self.quick_test(column.to_list())
        return not any(check.fails(column).any() for check in self.checks)


@dataclass(frozen=True)
class CheckBuilder:
    """Makes a column's checks from its rules, its training data and its policy."""

    dtype: pl.DataType
    rules: Mapping[str, Any]
    signature_entry: Mapping[str, Any]
    policy: ColumnPolicy

    def build(self, *, required: bool) -> ColumnChecks | None:
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
            return ColumnChecks(tuple(checks), accepted.issuperset, math.inf)
        if self.dtype.is_numeric() and all(c.kind != "unseen" for c in checks):
            return ColumnChecks(tuple(checks), _range_test(checks, nulls=not refuses_null))
        return ColumnChecks(tuple(checks))

    def _missing_checks(self) -> Iterator[ValueCheck]:
        rule = self.rules.get("nullable", {"value": True})
        default = "accept" if rule["value"] else _default_policy(rule)
        policy = self.policy.missing or default
        if policy != "impute":  # the model itself handles missing values
            yield ValueCheck("missing", policy, "has no value", pl.Series.is_null)

    def _range_checks(self) -> Iterator[ValueCheck]:
        if self.dtype.is_float():
            most = sys.float_info.max
            policy = self.policy.range or "refuse"
            problem = "is not finite"
            yield ValueCheck(
                "range", policy, problem, lambda s: (s > most) | (s < -most), -most, most
            )
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

    def _limit_check(self, limit: Any, below: bool, default: str, where: str) -> ValueCheck:
        policy = self.policy.range or default
        if below:
            problem = f"is below the least{where}, {_format_value(limit)}"
            return ValueCheck("range", policy, problem, lambda s: s < limit, low=limit)
        problem = f"is above the most{where}, {_format_value(limit)}"
        return ValueCheck("range", policy, problem, lambda s: s > limit, high=limit)

    def _category_checks(self) -> Iterator[ValueCheck]:
        allowed, pattern = self.rules.get("allowed"), self.rules.get("pattern")
        if pattern is not None:
            policy = self.policy.unseen or _default_policy(pattern)
            problem = f"doesn't match {pattern['value']}"
            yield ValueCheck("unseen", policy, problem, lambda s: ~s.str.contains(pattern["value"]))
        if allowed is not None:
            policy = self.policy.unseen or _default_policy(allowed)
            allowed_values = [self._typed_value(v) for v in allowed["value"]]
            more = ", ..." if len(allowed_values) > _MAX_VALUES else ""
            problem = (
                f"is none of {', '.join(map(_format_value, allowed_values[:_MAX_VALUES]))}{more}"
            )
            yield ValueCheck("unseen", policy, problem, _not_in(allowed_values, self.dtype))
        elif self.signature_entry.get("categories"):
            policy = self.policy.unseen or _TRAINING_POLICY
            problem = "was not seen in training"
            yield ValueCheck(
                "unseen", policy, problem, _not_in(self.signature_entry["categories"], self.dtype)
            )

    def _accepted_values(self, checks: Sequence[ValueCheck]) -> frozenset[Any] | None:
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


def _range_test(checks: Sequence[ValueCheck], *, nulls: bool) -> Callable[[Sequence[Any]], bool]:
    """Make a function that tests values against limits; NaN fails, so that the checks decide."""
    low = max((c.low for c in checks if c.low is not None), default=-math.inf)
    high = min((c.high for c in checks if c.high is not None), default=math.inf)
    return lambda values: all(nulls if v is None else low <= v <= high for v in values)


def _default_policy(rule: Mapping[str, Any]) -> str:
    return _RULE_POLICIES[rule.get("policy", "fail")]


def _not_in(values: Sequence[Any], dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    allowed = pl.Series(values, dtype=dtype, strict=False).implode()
    return lambda s: ~s.is_in(allowed)


def _format_value(value: Any) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else repr(value)
