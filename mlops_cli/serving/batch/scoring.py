"""Scoring of a slice of rows: from features, from validated tables, or from the online store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlops_cli.data.column_types import DTYPES
from mlops_cli.features.windows import PREDICTION_TIME
from mlops_cli.online.request_rows import ParsedRows, RequestRows, RowError
from mlops_cli.serving.scorer import RequestScorer, ScoredRows, refusing_values

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params.ingest import TypeName

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
"""Kind of a feature -> type of its column in the file."""


class Scoring(Protocol):
    """Turns rows of a table into predictions."""

    @property
    def inputs(self) -> RequestRows:
        """The columns that the table must or may have, with their types."""

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """Parse rows: valid rows as typed columns, and the errors of the others."""

    def score(self, frame: pl.DataFrame) -> tuple[Floats, Floats]:
        """Compute the model's feature matrix and its output for rows that ``read`` parsed."""


@dataclass(frozen=True)
class FeatureScoring:
    """Scores a table that holds the model's features."""

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
        return self.inputs.parse_frame(frame, list_all=True)

    def score(self, frame: pl.DataFrame) -> tuple[Floats, Floats]:
        """See ``Scoring.score``."""
        matrix = self.bundle.encoder.transform(frame)
        return matrix, self.bundle.predict_matrix(matrix)


@dataclass(frozen=True)
class TableScoring:
    """Scores raw rows; joins and windows read the validated tables, as featurize does."""

    scorer: RequestScorer
    tables: Mapping[str, pl.LazyFrame]

    @property
    def inputs(self) -> RequestRows:
        """See ``Scoring.inputs``."""
        return self.scorer.inputs

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """See ``Scoring.read``."""
        return self.scorer.read_frame(frame, thorough=True)

    def score(self, frame: pl.DataFrame) -> tuple[Floats, Floats]:
        """See ``Scoring.score``."""
        with refusing_values():
            features = self.scorer.program.transform(
                frame.drop(PREDICTION_TIME, strict=False), self.tables
            )
        matrix = self.scorer.bundle.encoder.transform(features)
        return matrix, self.scorer.bundle.predict_matrix(matrix)


@dataclass(frozen=True)
class StoreScoring:
    """Scores raw rows; joins and windows read the online store, as the service does.

    Parameters
    ----------
    earliest
        The earliest prediction time that the store covers; None if it covers all.
    """

    scorer: RequestScorer
    earliest: dt.datetime | None

    @property
    def inputs(self) -> RequestRows:
        """See ``Scoring.inputs``."""
        return self.scorer.inputs

    def read(self, frame: pl.DataFrame) -> ParsedRows:
        """See ``Scoring.read``."""
        read = self.scorer.read_frame(frame, thorough=True)
        if self.earliest is None or PREDICTION_TIME not in read.frame.columns:
            return read
        too_old = read.frame.get_column(PREDICTION_TIME) < self.earliest
        times = read.frame.get_column(PREDICTION_TIME).to_list()
        errors = [
            RowError(
                read.index[i],
                PREDICTION_TIME,
                str(times[i]),
                f"the online store begins at {self.earliest}, and this row is of {times[i]}",
            )
            for i in too_old.arg_true().to_list()
        ]
        return read.keep_valid(~too_old, errors)

    def score(self, frame: pl.DataFrame) -> tuple[Floats, Floats]:
        """See ``Scoring.score``."""
        scored = self.scorer.score(frame)
        return scored.matrix, scored.output


def prediction_columns(bundle: Bundle, output: Floats) -> list[pl.Series]:
    """Prediction columns, named like the service's; ``output`` is (rows, classes) or (rows,)."""
    import polars as pl

    if bundle.task == "regression":
        return [pl.Series("prediction", output, dtype=pl.Float64)]
    classes = pl.Series("prediction", list(bundle.labels.classes))
    columns = [classes.gather(output.argmax(axis=1))]
    for code, name in enumerate(_probability_columns(bundle)):
        columns.append(pl.Series(name, output[:, code], dtype=pl.Float64))
    if bundle.threshold is not None:
        columns.append(classes.gather(bundle.decide(output)).alias("decision"))
    return columns


def explanations(
    scorer: RequestScorer, matrix: Floats, output: Floats, max_features: int
) -> list[pl.Series]:
    """Columns ``feature_1``, ``contribution_1`` and so on: each row's largest contributions.

    See ``RequestScorer.explain``. Null where a row has fewer contributions that aren't zero.
    """
    import polars as pl

    shap = scorer.explain(ScoredRows({}, matrix, output, {}))
    order = np.argsort(-np.abs(shap), axis=1, kind="stable")[:, :max_features]
    names = pl.Series(list(scorer.bundle.encoder.kinds), dtype=pl.String)
    columns = []
    for rank in range(order.shape[1]):
        positions = order[:, rank]
        values = pl.Series(f"contribution_{rank + 1}", shap[np.arange(len(shap)), positions])
        features = names.gather(positions).alias(f"feature_{rank + 1}")
        nonzero = pl.DataFrame([features, values]).with_columns(pl.when(values != 0).then(pl.all()))
        columns += nonzero.get_columns()
    return columns


def reserved_columns(bundle: Bundle, explain: int) -> list[str]:
    """Names of the output columns that predictions may have, other than those of ``--keep``."""
    explained = [f"{c}_{i + 1}" for i in range(explain) for c in ("feature", "contribution")]
    return [
        "row",
        "prediction",
        *_probability_columns(bundle),
        "decision",
        *explained,
        "version",
        "warnings",
    ]


def _probability_columns(bundle: Bundle) -> Sequence[str]:
    return [f"probability_{name}" for name in bundle.labels.names]
