"""Infers a project from a table and a target column: task, column roles, features, split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mlops_cli.data.sql.tokens import is_selectable, why_unselectable
from mlops_cli.errors import DataRefused, SourceUnreadable, Usage, nearest
from mlops_cli.layout import PENDING, REASON, ROW, TARGET, TIME
from mlops_cli.scaffold.column_profile import normalise_types, pipeline_type, profile_columns
from mlops_cli.scaffold.column_roles import ColumnRole, Role, decide, leaks
from mlops_cli.scaffold.date_parts import find_date_parts
from mlops_cli.scaffold.infer_task import Target, infer_task
from mlops_cli.scaffold.time_hints import time_hints

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.task import TaskType
    from mlops_cli.scaffold.column_profile import ColumnProfile
    from mlops_cli.scaffold.date_parts import DateParts
    from mlops_cli.scaffold.notations import Notation

__all__ = ["PredictionProblem", "Proposal", "infer"]

ROWS_PER_CLASS = 10
"""A class with fewer rows can hardly be learned, so a warning names it."""
_SPLITS = 3
_LONGEST_NAME = 500
"""Maximum number of characters of a column's name; YAML's keys have at most 1,024."""


@dataclass(frozen=True)
class Proposal:
    """An inferred project: all that its ``params.yaml`` says about its data.

    Attributes
    ----------
    parts
        A date that is split into several columns.
    derive
        The derived column for this date, if rows are split by it: name -> SQL.
    """

    rows: int
    target: Target
    columns: tuple[ColumnRole, ...]
    strategy: Literal["random", "stratified", "grouped", "time"]
    strategy_reason: str
    time: str | None
    group: str | None
    warnings: tuple[str, ...]
    parts: DateParts | None = None
    derive: Mapping[str, str] = field(default_factory=dict)

    @property
    def features(self) -> dict[str, str]:
        """Name -> SQL expression, for all columns in their order."""
        return {name: sql for c in self.columns for name, sql in c.features}


@dataclass(frozen=True)
class PredictionProblem:
    """What the user states: the target, and optionally its task and how rows are split."""

    target: str
    task: TaskType | None = None
    time: str | None = None
    group: str | None = None


def infer(
    frame: pl.LazyFrame,
    problem: PredictionProblem,
    notations: Mapping[str, Notation] | None = None,
) -> Proposal:
    """Infer a project from a table whose columns have their types.

    Parameters
    ----------
    notations
        Text columns in another notation; the table also has the columns derived from them.

    Raises
    ------
    Usage
        If a named column doesn't exist or doesn't suit its use.
    DataRefused
        If the target can't be learned, or no column is left to learn from.
    """
    target, time, group = problem.target, problem.time, problem.group
    notations = notations or {}
    frame, parts, derive = _add_date(normalise_types(frame), problem)
    schema = frame.collect_schema()
    _refuse_unparsed(notations, target, time)
    _check_names(schema, problem, parts)
    aim = infer_task(frame, target, problem.task)
    facts = profile_columns(
        frame, [n for n, t in schema.items() if is_selectable(n) and pipeline_type(t) is not None]
    )
    _refuse_few_groups(group, facts)
    leaking = leaks(frame, aim, facts)
    replaced = _replaced_columns(notations, parts if derive else None, group)
    roles: dict[str | None, Role] = {time: "time", group: "group", target: "target"}
    columns: list[ColumnRole] = []
    used_names = {target, *([group] if group else [])}
    for name in schema.names():
        if name not in facts:
            column = ColumnRole(name, None, "left out", _why_unusable(name, schema[name]))
        elif name in replaced:
            column = ColumnRole(name, facts[name].type, "left out", replaced[name])
        else:
            column = decide(facts[name], roles.get(name), leaking.get(name, ""), used_names)
        used_names |= {feature for feature, _ in column.features}
        columns.append(column)
    _refuse_no_feature(target, columns)
    strategy, why = _choose_strategy(aim, time, group, columns)
    hints = time_hints(frame, columns, target, time=time, group=group, parts=parts)
    return Proposal(
        rows=aim.labelled + aim.unlabelled,
        target=aim,
        columns=tuple(columns),
        strategy=strategy,
        strategy_reason=why,
        time=time,
        group=group,
        warnings=(*_warnings(leaking, notations), *hints, *_rare_classes(aim)),
        parts=parts,
        derive=derive,
    )


def _add_date(
    frame: pl.LazyFrame, problem: PredictionProblem
) -> tuple[pl.LazyFrame, DateParts | None, dict[str, str]]:
    """Add the date that several columns make, if rows are split by it; also return its SQL."""
    import polars as pl

    candidates = [n for n in frame.collect_schema() if n not in (problem.target, problem.group)]
    parts = find_date_parts(frame, candidates)
    if parts is None or problem.time != parts.name:
        return frame, parts, {}
    frame = normalise_types(frame.with_columns(pl.sql_expr(parts.sql).alias(parts.name)))
    return frame, parts, {parts.name: parts.sql}


def _replaced_columns(
    notations: Mapping[str, Notation], parts: DateParts | None, group: str | None
) -> dict[str, str]:
    """Columns that are replaced by a column derived from them -> why."""
    replaced = dict.fromkeys(parts.columns, f"{parts.name} is made of it") if parts else {}
    for name, n in notations.items():
        if n.sql is not None and name != group:
            replaced[name] = f"it holds {n.means}, which {n.name} reads"
    return replaced


def _warnings(leaking: Mapping[str, str], notations: Mapping[str, Notation]) -> list[str]:
    warnings = [f"{name} is left out: {why}" for name, why in leaking.items()]
    return warnings + [
        f"{name} holds {n.means}: if one is right, write under the source's `derive:` "
        + " or ".join(f"`{n.name}: {sql}`" for sql in n.readings)
        for name, n in notations.items()
        if n.sql is None
    ]


def _rare_classes(aim: Target) -> Iterator[str]:
    rare = [k for k, n in aim.classes.items() if n < ROWS_PER_CLASS]
    if rare:
        yield (
            f"{len(rare)} of {len(aim.classes)} classes have fewer than {ROWS_PER_CLASS} rows, "
            f"such as {rare[0]!r} with {aim.classes[rare[0]]}: they will hardly be learnt"
        )


def _refuse_few_groups(group: str | None, facts: Mapping[str, ColumnProfile]) -> None:
    if group is not None and group in facts and facts[group].distinct < _SPLITS:
        raise DataRefused(
            f"--group {group!r} has {facts[group].distinct} values, and each of the {_SPLITS} "
            "splits needs one at least",
            "Name a column with more values.",
        )


def _refuse_no_feature(target: str, columns: list[ColumnRole]) -> None:
    if not any(c.features for c in columns):
        raise DataRefused(
            f"besides the target {target!r} no column can be a feature",
            "; ".join(f"{c.name}: {c.reason}" for c in columns[:5] if c.reason)
            or "Give data with more columns.",
        )


def _check_names(schema: pl.Schema, problem: PredictionProblem, parts: DateParts | None) -> None:
    """Check the columns' names, and those that the user named."""
    target, time, group = problem.target, problem.time, problem.group
    reserved = next((n for n in (PENDING, REASON, ROW, TARGET, TIME) if n in schema), None)
    if reserved is not None:
        raise SourceUnreadable(
            f"the data has a column {reserved!r}, a name that the pipeline uses",
            "Rename the column where the table is made.",
        )
    lengthy = next((n for n in schema if _yaml_length(n) > _LONGEST_NAME), None)
    if lengthy is not None:
        raise SourceUnreadable(
            f"the data has a column {lengthy[:40]!r}... with a name of {len(lengthy):,} characters",
            f"Rename the column where the table is made, to at most {_LONGEST_NAME} characters.",
        )
    if time is not None and group is not None:
        raise Usage(
            f"--time {time!r} and --group {group!r} are two ways to split, and one is needed",
            "Leave one of them out.",
        )
    for option, name in (("--target", target), ("--time", time), ("--group", group)):
        if name is not None and name not in schema:
            raise Usage(
                f"{option} names {name!r}, which is not a column of the data",
                nearest(name, schema.names()),
            )
        if name is not None and (why := why_unselectable(name)):
            raise Usage(
                f"{option} names {name!r}, and no expression can: {why}",
                "Rename the column in the data.",
            )
    if target in (time, group):
        raise Usage(f"the target {target!r} cannot split the rows too", "Name another column.")
    if time is not None and pipeline_type(schema[time]) not in ("date", "datetime"):
        raise Usage(
            f"--time names {time!r}, which is of type {str(schema[time]).lower()}, not a date",
            f"Name the date that {', '.join(parts.columns)} make: --time {parts.name}"
            if parts is not None and time in parts.columns
            else "Name a column of dates, in text written as 2024-01-31 or 2024-01-31 12:30.",
        )


def _yaml_length(name: str) -> int:
    """Length of a name as YAML writes it."""
    return sum(1 if c.isprintable() else len(r"\U0001f600") for c in name)


def _refuse_unparsed(notations: Mapping[str, Notation], target: str, time: str | None) -> None:
    """Refuse a text as target or time if the column derived from it is meant."""
    for option, name in (("--target", target), ("--time", time)):
        notation = notations.get(name or "")
        if notation is not None and notation.sql is not None:
            raise Usage(
                f"{option} names {name!r}, which holds {notation.means}",
                f"Name what is made of them: {option} {notation.name}",
            )


def _why_unusable(name: str, dtype: pl.DataType) -> str:
    return why_unselectable(name) or f"no feature can be of type {str(dtype).lower()}"


def _choose_strategy(
    aim: Target, time: str | None, group: str | None, columns: list[ColumnRole]
) -> tuple[Literal["random", "stratified", "grouped", "time"], str]:
    if time is not None:
        return "time", f"--time {time}: the latest rows are the test set"
    if group is not None:
        return "grouped", f"--group {group}: its values stay together"
    dates = [c.name for c in columns if c.type in ("date", "datetime") and not c.missing]
    hint = f"; --time {dates[0]} would make the latest rows the test set" if len(dates) == 1 else ""
    if aim.classes:
        # Also with rare classes: a class without training rows can't be learned.
        return "stratified", f"each class has its share of every split{hint}"
    return "random", f"the target is a number{hint}"
