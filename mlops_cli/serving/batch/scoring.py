"""How a slice of rows is scored: from features as given, from tables, or from the online store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlops_cli.data.column_types import DTYPES
from mlops_cli.features.windows import AT
from mlops_cli.online.request_rows import ParsedRows, RequestRows, RowError
from mlops_cli.serving.scorer import RequestScorer, ScoredRows, refusing_values

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params.data import TypeName

    Floats = npt.NDArray[np.float64]

__all__ = [
    "FeatureScoring",
    "Scoring",
    "StoreScoring",
    "TableScoring",
    "prediction_columns",
    "reserved_columns",
]

_TYPES: dict[str, TypeName] = {
    "number": "number",
    "boolean": "boolean",
    "category": "string",
    "text": "string",
}


class Scoring(Protocol):
    """Rows of a table to predictions."""

    @property
    def inputs(self) -> RequestRows:
        """What the table must have."""

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """The good rows, typed, and what is wrong with the others."""

    def score(self, read: pl.DataFrame) -> tuple[Floats, Floats]:
        """The model's matrix of rows that were read, and its output."""


@dataclass(frozen=True)
class FeatureScoring:
    """The table holds the features themselves."""

    bundle: Bundle

    @cached_property
    def inputs(self) -> RequestRows:
        """See ``Scoring.inputs``."""
        kinds = self.bundle.encoder.kinds
        return RequestRows(
            {name: DTYPES[_TYPES[kind]] for name, kind in kinds.items()}, tuple(kinds)
        )

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """See ``Scoring.read``."""
        return self.inputs.read_frame(frame, thorough=True)

    def score(self, read: pl.DataFrame) -> tuple[Floats, Floats]:
        """See ``Scoring.score``."""
        matrix = self.bundle.encoder.transform(read)
        return matrix, self.bundle.predict_matrix(matrix)


@dataclass(frozen=True)
class TableScoring:
    """Raw rows; joins and windows look into whole tables, as featurize does."""

    scorer: RequestScorer
    tables: Mapping[str, pl.LazyFrame]

    @property
    def inputs(self) -> RequestRows:
        """See ``Scoring.inputs``."""
        return self.scorer.inputs

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """See ``Scoring.read``."""
        return self.scorer.read_frame(frame, thorough=True)

    def score(self, read: pl.DataFrame) -> tuple[Floats, Floats]:
        """See ``Scoring.score``."""
        with refusing_values():
            features = self.scorer.program.transform(read.drop(AT, strict=False), self.tables)
        matrix = self.scorer.bundle.encoder.transform(features)
        return matrix, self.scorer.bundle.predict_matrix(matrix)


@dataclass(frozen=True)
class StoreScoring:
    """Raw rows; joins and windows look into the online store, as the service does.

    Parameters
    ----------
    since
        The store answers nothing older.
    """

    scorer: RequestScorer
    since: dt.datetime | None

    @property
    def inputs(self) -> RequestRows:
        """See ``Scoring.inputs``."""
        return self.scorer.inputs

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """See ``Scoring.read``."""
        read = self.scorer.read_frame(frame, thorough=True)
        if self.since is None or AT not in read.frame.columns:
            return read
        old = read.frame.get_column(AT) < self.since
        moments = read.frame.get_column(AT).to_list()
        errors = [
            RowError(
                read.index[i],
                AT,
                str(moments[i]),
                f"the online store begins at {self.since}, and this row is of {moments[i]}",
            )
            for i in old.arg_true().to_list()
        ]
        return read.only(~old, errors)

    def score(self, read: pl.DataFrame) -> tuple[Floats, Floats]:
        """See ``Scoring.score``."""
        scored = self.scorer.score(read)
        return scored.matrix, scored.output


def prediction_columns(bundle: Bundle, output: Floats) -> list[pl.Series]:
    """Columns of predictions (rows, classes) or (rows,), as the service names them."""
    import polars as pl

    if bundle.task == "regression":
        return [pl.Series("prediction", output, dtype=pl.Float64)]
    classes = pl.Series("prediction", list(bundle.labels.classes))
    columns = [classes.gather(output.argmax(axis=1))]
    for code, name in enumerate(_probabilities(bundle)):
        columns.append(pl.Series(name, output[:, code], dtype=pl.Float64))
    if bundle.threshold is not None:
        columns.append(classes.gather(bundle.decide(output)).alias("decision"))
    return columns


def explanations(
    scorer: RequestScorer, matrix: Floats, output: Floats, most: int
) -> list[pl.Series]:
    """``feature_1``, ``contribution_1`` and so on: what counts most in each row.

    See ``RequestScorer.explain``; null where fewer features count.
    """
    import polars as pl

    found = scorer.explain(ScoredRows({}, matrix, output, {}))
    order = np.argsort(-np.abs(found), axis=1, kind="stable")[:, :most]
    names = pl.Series(list(scorer.bundle.encoder.kinds), dtype=pl.String)
    columns = []
    for place in range(order.shape[1]):
        chosen = order[:, place]
        values = pl.Series(f"contribution_{place + 1}", found[np.arange(len(found)), chosen])
        features = names.gather(chosen).alias(f"feature_{place + 1}")
        counts = pl.DataFrame([features, values]).with_columns(pl.when(values != 0).then(pl.all()))
        columns += counts.get_columns()
    return columns


def reserved_columns(bundle: Bundle, explain: int) -> list[str]:
    """The columns that a prediction has, besides those that are kept."""
    explained = [f"{c}_{i + 1}" for i in range(explain) for c in ("feature", "contribution")]
    return [
        "row",
        "prediction",
        *_probabilities(bundle),
        "decision",
        *explained,
        "version",
        "warnings",
    ]


def _probabilities(bundle: Bundle) -> Sequence[str]:
    return [f"probability_{name}" for name in bundle.labels.names]
