"""The feature program: the rules of ``featurize``, compiled once, for a table or for one row.

The same object computes the features of the whole table (in slices) and of one request, so that
training and serving can't differ. Nothing in it is fitted: learned parameters are in the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlops_cli.data.source_schema import SourceSchema, utc_moment
from mlops_cli.data.sql.expressions import Expression, finite
from mlops_cli.errors import BadParams, nearest
from mlops_cli.features.cleaning import cleaning_expressions
from mlops_cli.features.feature_kind import feature_kind
from mlops_cli.features.hook import apply_hook
from mlops_cli.features.join_keys import check_keys
from mlops_cli.features.joins import JoinPlan
from mlops_cli.features.prediction_time import (
    blank_late_values,
    check_prediction_time,
    prediction_span,
)
from mlops_cli.features.windows import PREDICTION_TIME, Span, WindowPlan
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest

if TYPE_CHECKING:
    import polars as pl

    Hook = Callable[[pl.DataFrame], pl.DataFrame]

__all__ = ["FeatureProgram"]

_ORDER = "_order"


@dataclass(frozen=True)
class FeatureProgram:
    """Feature rules, compiled and checked against the sources' schemas.

    Parameters
    ----------
    rules
        The section ``featurize``.
    source_schemas
        Source -> schema and knowledge times.
    hook
        The project's own function, already imported, or None.
    derive
        The base source's derived columns (``ingest.sources.<base>.derive``), which are computed
        for a caller that sends the raw columns.

    Examples
    --------
    >>> import polars as pl
    >>> trips = pl.DataFrame({"km": [4.0, 12.5], "minutes": [12, 41]})
    >>> rules = Featurize(base="trips", target="minutes > 30", features={"far": "km > 10"})
    >>> ingest = Ingest(sources={"trips": {"uri": "trips.csv"}})
    >>> program = FeatureProgram.compile(rules, ingest, {"trips": trips.schema})
    >>> program.transform(trips, {})["far"].to_list()
    [False, True]
    """

    rules: Featurize
    source_schemas: Mapping[str, SourceSchema]
    hook: Hook | None = None
    derive: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def compile(
        cls,
        rules: Featurize,
        ingest: Ingest,
        schemas: Mapping[str, Mapping[str, pl.DataType]],
        hook: Hook | None = None,
    ) -> FeatureProgram:
        """Check every rule against the sources' schemas, without any data.

        Raises
        ------
        BadParams
            For the first rule that can't work, with its place in ``params.yaml``.
        """
        source_schemas = {
            # No model accepts a list or an object, and no request has one.
            name: SourceSchema(
                {c: t for c, t in schemas[name].items() if not t.is_nested()},
                source.time,
                source.known_at,
            )
            for name, source in ingest.sources.items()
            if name in schemas
        }
        program = cls(rules, source_schemas, hook, dict(ingest.sources[rules.base].derive))
        program._check_rules()
        return program

    # -- parts -----------------------------------------------------------------------------

    @property
    def base(self) -> SourceSchema:
        """The source with one row for each prediction."""
        return self.source_schemas[self.rules.base]

    @property
    def used_sources(self) -> list[str]:
        """Sources that joins and windows read, each once."""
        return list(dict.fromkeys(plan.source for plan in self.plans))

    @property
    def plans(self) -> tuple[JoinPlan | WindowPlan, ...]:
        """Joins and windows, in the order in which they add their columns."""
        return (*self.joins, *self.windows)

    @cached_property
    def joins(self) -> tuple[JoinPlan, ...]:
        """The joins, in order."""
        return tuple(
            JoinPlan.compile(name, join, self.source_schemas[join.source])
            for name, join in self.rules.joins.items()
        )

    @cached_property
    def windows(self) -> tuple[WindowPlan, ...]:
        """The windows, in order."""
        return tuple(
            WindowPlan.compile(name, window, self.source_schemas[window.source])
            for name, window in self.rules.windows.items()
        )

    @cached_property
    def features(self) -> dict[str, Expression]:
        """Feature -> expression over the columns that joins, windows and the hook add."""
        aggregates = {
            c: Expression(f'"{c}"', f"featurize.windows.{c}")
            for w in self.windows
            for c in w.columns
        }
        stated = {
            name: Expression(sql, f"featurize.features.{name}")
            for name, sql in self.rules.features.items()
        }
        duplicates = set(aggregates) & set(stated)
        if duplicates:
            name = min(duplicates)
            raise BadParams(
                f"featurize.features.{name} has the name of a window's aggregate",
                "Windows' aggregates are features by themselves; choose another name.",
            )
        return {**stated, **aggregates}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Feature -> number, boolean, category or text, in the model's order."""
        import polars as pl

        empty = {n: pl.LazyFrame(schema=dict(f.schema)) for n, f in self.source_schemas.items()}
        schema = self._prepare(pl.DataFrame(schema=dict(self.base.schema)), empty).schema
        kinds = {
            name: feature_kind(name, e.result_type(schema)) for name, e in self.features.items()
        }
        for name in self.rules.text:
            if name not in kinds:
                raise BadParams(
                    f"featurize.text names {name!r}, which is not a feature",
                    nearest(name, kinds),
                )
            if kinds[name] != "category":
                raise BadParams(
                    f"featurize.text names {name!r}, which is a {kinds[name]}",
                    "Name features of type text, or leave it out.",
                )
        return kinds | dict.fromkeys(self.rules.text, "text")

    @cached_property
    def target(self) -> Expression:
        """The label's expression, over the base source."""
        return Expression(self.rules.target, "featurize.target")

    @cached_property
    def predict_at(self) -> Expression | None:
        """The prediction time, over the base source; None if there is none."""
        if self.rules.predict_at is not None:
            return Expression(self.rules.predict_at, "featurize.predict_at")
        if self.base.time is not None:
            return Expression(f'"{self.base.time}"', f"ingest.sources.{self.rules.base}.time")
        return None

    @cached_property
    def replacements(self) -> dict[str, list[dict[str, pl.Expr]]]:
        """Source -> for each rule, the columns that ``featurize.clean`` replaces."""
        return {
            n: cleaning_expressions(n, self.rules.clean, f.schema)
            for n, f in self.source_schemas.items()
        }

    # -- computation -----------------------------------------------------------------------

    def replace_values(self, source: str, table: pl.LazyFrame) -> pl.LazyFrame:
        """``table`` with values replaced by ``featurize.clean``."""
        for replaced in self.replacements[source]:
            table = table.with_columns(replaced.values())
        return table

    def clean(self, source: str, table: pl.LazyFrame) -> pl.LazyFrame:
        """``table`` with values replaced, and only the rows that ``featurize.clean`` keeps."""
        table = self.replace_values(source, table)
        for i, rule in enumerate(self.rules.clean):
            if rule.source == source and rule.keep is not None:
                table = table.filter(
                    self._keep_condition(i).checked_expr(self.source_schemas[source].schema)
                )
        return table

    def _keep_condition(self, rule: int) -> Expression:
        return Expression(self.rules.clean[rule].keep or "TRUE", f"featurize.clean.{rule}.keep")

    def transform(self, base: pl.DataFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
        """The features of these base rows, in their order.

        Parameters
        ----------
        base
            Rows of the base source, after ``replace_values``; columns that become known late may be
            missing.
        tables
            Source -> cleaned rows, for the sources that joins and windows read. Values that
            became known at or after a row's prediction time are never used.

        Returns
        -------
        pl.DataFrame
            One column per feature.
        """
        import polars as pl

        frame = self._prepare(base, tables)
        available = dict.fromkeys(frame.columns)
        for e in self.features.values():
            e.checked_expr(available)
        return self.select_features(frame).cast({pl.Decimal: pl.Float64, pl.Categorical: pl.String})

    def select_features(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Compute the features of rows that have all columns which the features read."""
        import polars as pl

        features = frame.select(e.expr.alias(name) for name, e in self.features.items())
        types = features.schema
        return features.with_columns(
            finite(pl.col(name)).alias(name)
            for name, e in self.features.items()
            if types[name].is_float() and (e.may_be_infinite or self.hook is not None)
        )

    def _prepare(self, base: pl.DataFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
        """Base rows with the columns that joins, windows and the hook add."""
        import polars as pl

        start = self._sort_by_prediction_time(base)
        span = prediction_span(start)
        visible = {s: self._read_reachable(s, tables[s], span) for s in self.used_sources}
        frame = start.lazy()
        for join in self.joins:
            frame = join.add(frame, visible[join.source], self.source_schemas[join.source], span)
        joined = frame.collect(engine="in-memory")
        queries = [
            answer
            for w in self.windows
            for answer in w.compute_columns(
                joined, visible[w.source], self.source_schemas[w.source], span
            )
        ]
        result = joined.hstack(
            [c for answer in pl.collect_all(queries, engine="in-memory") for c in answer]
        ).sort(_ORDER)
        return apply_hook(self.hook, self.rules.hook, result)

    def _read_reachable(self, source: str, table: pl.LazyFrame, span: Span) -> pl.LazyFrame:
        """The rows of a source that joins and windows can see, read once for all of them."""
        plans = [plan for plan in self.plans if plan.source == source]
        source_schema = self.source_schemas[source]
        columns = dict.fromkeys(
            [*source_schema.time_columns, *(c for plan in plans for c in plan.source_columns)]
        )
        spans = [plan.known_interval(span) for plan in plans]
        if source_schema.time_columns and None not in spans:
            # Only stored columns are compared, so that parts of a file that can't matter are
            # skipped by their statistics.
            table = table.filter(
                source_schema.may_become_known([s for s in spans if s is not None])
            )
        return table.select(list(columns)).collect().lazy()

    def _sort_by_prediction_time(self, base: pl.DataFrame) -> pl.DataFrame:
        """Base rows sorted by prediction time, with null for values that become known later."""
        import polars as pl

        schema, present = self.base.schema, set(base.columns)
        missing = [pl.lit(None, dtype=t).alias(c) for c, t in schema.items() if c not in present]
        frame = base.lazy().with_columns(missing).with_row_index(_ORDER)
        late = [c for c in self.base.late_columns if c in schema]
        if self.predict_at is None:
            return frame.with_columns(
                blank_late_values(late, self.base, has_prediction_time=False)
            ).collect()
        prediction_time = utc_moment(
            self.predict_at.checked_expr(schema), self.predict_at.result_type(pl.Schema(schema))
        )
        frame = frame.with_columns(prediction_time.alias(PREDICTION_TIME))
        frame = frame.with_columns(blank_late_values(late, self.base))
        return frame.sort(PREDICTION_TIME, maintain_order=True).collect()

    def _check_rules(self) -> None:
        import polars as pl

        schema = self.base.schema
        for i, rule in enumerate(self.rules.clean):
            if rule.keep is not None and rule.source in self.source_schemas:
                self._keep_condition(i).check_condition(
                    pl.Schema(self.source_schemas[rule.source].schema)
                )
        for name, source_schema in self.source_schemas.items():
            self.clean(name, pl.LazyFrame(schema=dict(source_schema.schema))).collect_schema()
        self._check_base(schema)
        check_keys(schema, self.joins, self.windows, self.source_schemas)
        for join in self.joins:
            self._check_has_prediction_time(join.name, join.as_of, "joins")
        for window in self.windows:
            self._check_has_prediction_time(window.name, needed=True, section="windows")
        if not self.features:
            raise BadParams("featurize gives no feature", "State some under `featurize.features`.")
        _ = self.kinds

    def _check_base(self, schema: Mapping[str, pl.DataType]) -> None:
        import polars as pl

        for column in self.rules.keep:
            if column not in schema:
                raise BadParams(
                    f"featurize.keep names {column!r}, which {self.rules.base} doesn't have",
                    nearest(column, schema),
                )
        self.target.result_type(pl.Schema(schema))
        for reason, sql in self.rules.unlabelled.items():
            Expression(sql, f"featurize.unlabelled.{reason}").check_condition(pl.Schema(schema))
        if self.predict_at is not None:
            check_prediction_time(self.predict_at, self.base, self.rules.base)

    def _check_has_prediction_time(self, name: str, needed: bool, section: str) -> None:
        if needed and self.predict_at is None:
            raise BadParams(
                f"featurize.{section}.{name} looks at the past, but rows of "
                f"{self.rules.base!r} have no moment of prediction",
                f"State `ingest.sources.{self.rules.base}.time` or `featurize.predict_at`.",
            )

    # -- serialisation ---------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``program.json``."""
        return {
            "version": 1,
            "features": self.kinds,
            "rules": self.rules.model_dump(mode="json"),
            "derive": dict(self.derive),
            "sources": {
                name: source_schema.to_json() for name, source_schema in self.source_schemas.items()
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], hook: Hook | None = None) -> FeatureProgram:
        """Restore a program from ``to_json``."""
        import json

        rules = Featurize.model_validate_json(json.dumps(content["rules"]))
        source_schemas = {name: SourceSchema.from_json(f) for name, f in content["sources"].items()}
        return cls(rules, source_schemas, hook, content.get("derive", {}))
