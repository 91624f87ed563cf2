"""Value policies of requests: refuse, flag or impute values that the model wasn't trained for.

A value of a request is checked once it has its column's type, before features are computed. The
checks are the rules of `validate` for the column. Without rules, they are the range and the
categories of the training data, if the column is a feature without changes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

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
from mlops_cli.online.value_checks import CheckBuilder, ColumnChecks, ValueCheck
from mlops_cli.params.serve import ColumnPolicy

if TYPE_CHECKING:
    from mlops_cli.features.program import FeatureProgram

__all__ = ["OTHER_COLUMNS", "ValuePolicies", "known_columns", "seen_in_training"]

OTHER_COLUMNS = "*"
"""Key of the policy for all columns that aren't named."""
_MAX_ROW_WARNINGS = 10
"""Limit of warnings that are listed for one row."""
_MAX_REQUEST_WARNINGS = 10_000
"""Limit of warnings that are listed for one request; the others are only counted."""


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
        self._columns: dict[str, ColumnChecks] = {}
        for name in (*inputs.required, *inputs.optional):
            specific = policies.get(name, ColumnPolicy())
            policy = ColumnPolicy(
                range=specific.range or general.range,
                unseen=specific.unseen or general.unseen,
                missing=specific.missing or general.missing,
            )
            builder = CheckBuilder(
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
        self, parsed_rows: ParsedRows, failed: Mapping[str, Sequence[ValueCheck]], list_all: bool
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

    def add(self, column: pl.Series, hits: pl.Series, check: ValueCheck) -> None:
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


def _error(row: int, column: str, value: Any, check: ValueCheck) -> RowError:
    return RowError(row, column, _short_value(value), _message(column, value, check.problem))


def _warning(row: int, column: str, value: Any, check: ValueCheck) -> RowWarning:
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
