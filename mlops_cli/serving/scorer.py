"""Request scorer: raw rows to features to predictions, with one model version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.data.atomic_files import read_json
from mlops_cli.data.column_types import outside_years
from mlops_cli.data.sql.expressions import value_refusal
from mlops_cli.data.untrusted import refuse_malformed
from mlops_cli.errors import DataRefused
from mlops_cli.features.hook import load_hook
from mlops_cli.features.program import FeatureProgram
from mlops_cli.features.windows import PREDICTION_TIME
from mlops_cli.models import bundle as bundles
from mlops_cli.online.lookup_cache import LookupCache
from mlops_cli.online.request_program import RequestProgram, plain_columns
from mlops_cli.online.request_rows import ParsedRows, RowError
from mlops_cli.online.value_policies import ValuePolicies, seen_in_training

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from mlops_cli.models.bundle import Bundle
    from mlops_cli.online.store.cache import CachedEntries, Lookups
    from mlops_cli.params.serve import ColumnPolicy

    Floats = npt.NDArray[np.float64]

__all__ = ["RequestScorer", "ScoredRows", "UnscorableValue", "refusing_values"]

_HINT = "Use another version, or train it again with `mlops run`."
_EXPLAINED_VALUES = 4_000_000
"""Values of an explanation's matrix that are computed at once: 32 MB."""
_QUERY_ROWS = 80
"""From this many rows on, one Polars query over all features beats plain Python per feature."""


class UnscorableValue(DataRefused):
    """An expression of the feature program can't be computed for a value of the rows."""


@dataclass(frozen=True)
class ScoredRows:
    """Features and predictions of some rows.

    Attributes
    ----------
    features
        Feature -> its value for each row, as computed by the feature program.
    matrix
        The features encoded for the model, float64.
    output
        Probabilities (rows, classes), or values (rows,).
    misses
        Table of the online store -> number of rows whose key it doesn't have.
    """

    features: Mapping[str, Sequence[Any]]
    matrix: Floats
    output: Floats
    misses: Mapping[str, int]


class RequestScorer:
    """A verified bundle with its feature program and the online look-ups that the program needs."""

    def __init__(
        self,
        bundle: Bundle,
        program: FeatureProgram,
        entries: CachedEntries | None,
        extra_columns: Sequence[str] = (),
        rules: Mapping[str, Any] = MappingProxyType({}),
        policies: Mapping[str, ColumnPolicy] = MappingProxyType({}),
    ) -> None:
        self.bundle = bundle
        self.program = program
        self._requests = RequestProgram(program, extra_columns)
        self.entries = entries
        self.inputs = self._requests.inputs
        seen = seen_in_training(program, bundle.signature, bundle.encoder.pooled)
        self._policies = ValuePolicies(self.inputs, rules, seen, policies)

    @classmethod
    def open(
        cls,
        folder: Path,
        root: Path,
        lookups: Lookups | None = None,
        extra_columns: Sequence[str] = (),
        policies: Mapping[str, ColumnPolicy] = MappingProxyType({}),
    ) -> RequestScorer:
        """Verify and load the bundle in a folder.

        Parameters
        ----------
        root
            Folder with the project's feature hook, if it has one.
        lookups
            Look-ups in the online store; not needed by a program without joins and windows.
        extra_columns
            Base columns to read if the rows have them, besides the inputs of the features.
        policies
            The setting `serve.columns`.

        Raises
        ------
        NotFound
            If there is no bundle, or the store has nothing for its feature program.
        DataRefused
            If the bundle is damaged.
        """
        bundle = bundles.load(folder)
        with refuse_malformed(f"the model bundle in {folder}", _HINT):
            hook = load_hook(bundle.program["rules"].get("hook"), root)
            program = FeatureProgram.from_json(bundle.program, hook)
            scorer = cls(bundle, program, None, extra_columns, _rules(folder), policies)
        return scorer if lookups is None else scorer.with_lookups(lookups)

    def with_lookups(self, lookups: Lookups) -> RequestScorer:
        """A copy of this scorer that looks up its features' inputs in the online store.

        Raises
        ------
        NotFound
            If the store has nothing for its feature program.
        """
        scorer = copy(self)
        if self.program.plans:
            scorer.entries = lookups.cached_entries(self.program, self._requests.tables)
        return scorer

    @property
    def needs_store(self) -> bool:
        """Whether its features need look-ups in the online store."""
        return bool(self._requests.tables)

    def read(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Parse rows from JSON: typed values, derived columns and the prediction time."""
        return self._start(self.inputs.parse(rows))

    def read_frame(self, frame: pl.DataFrame, *, thorough: bool = False) -> ParsedRows:
        """Parse a table; with ``thorough``, report every error of every row."""
        read = self.inputs.parse_frame(frame, list_all=thorough)
        return self._start(read, thorough=thorough)

    def score(self, frame: pl.DataFrame) -> ScoredRows:
        """Compute features and predictions of rows that ``read`` parsed.

        Raises
        ------
        UnscorableValue
            If an expression of the feature program can't be computed for one of their values.
        """
        if self.entries is None:
            cache = LookupCache(self._requests.tables, lambda _, keys: [None] * len(keys))
        else:
            cache = self.entries.current_cache()
        if frame.height < _QUERY_ROWS:
            with refusing_values():
                features, misses = self._requests.features(frame, cache)
            matrix = self.bundle.encoder.transform_columns(features)
        else:
            with refusing_values():
                table, misses = self._requests.feature_series(frame, cache)
            features = plain_columns(table)
            numbers = {name: c for name, c in table.items() if c.dtype.is_numeric()}
            matrix = self.bundle.encoder.transform_columns({**features, **numbers})
        return ScoredRows(features, matrix, self.bundle.predict_matrix(matrix), misses)

    def explain(
        self, scored: ScoredRows, before_chunk: Callable[[], None] = lambda: None
    ) -> Floats:
        """Contribution of each feature to the output of each row, (rows, features).

        A contribution is the drop of the output when the feature is set to missing (occlusion;
        Zeiler and Fergus 2014). The output is the probability of the predicted class (binary: of
        the positive one), or the predicted value. The method is the same for all families.

        Parameters
        ----------
        before_chunk
            Called before each chunk; an exception that it raises ends the computation. Chunks
            bound the memory.
        """
        encoder = self.bundle.encoder
        rows, width = len(scored.matrix), len(encoder.kinds)
        # (features, matrix columns): whether the column encodes the feature.
        encodes = np.array(encoder.feature_of_column) == np.array(list(encoder.kinds))[:, None]
        class_codes = np.ones(rows, dtype=np.int64)
        if scored.output.ndim > 1 and scored.output.shape[1] != 2:  # noqa: PLR2004 - more classes
            class_codes = scored.output.argmax(axis=1)
        occluded = np.zeros(rows * width)
        step = max(1, _EXPLAINED_VALUES // max(1, encodes.shape[1]))
        for start in range(0, rows * width, step):
            before_chunk()
            pairs = np.arange(start, min(start + step, rows * width))
            row, feature = pairs // width, pairs % width
            masked = scored.matrix[row]
            masked[encodes[feature]] = np.nan
            output = self.bundle.predict_matrix(masked)
            occluded[pairs] = (
                output if output.ndim == 1 else output[np.arange(len(row)), class_codes[row]]
            )
        outputs: Floats = scored.output
        if outputs.ndim > 1:
            outputs = outputs[np.arange(rows), class_codes]
        return outputs[:, None] - occluded.reshape(rows, width)

    def _start(self, read: ParsedRows, *, thorough: bool = False) -> ParsedRows:
        """Add derived columns and the prediction time; a row without that time is an error."""
        read = self._policies.apply(read, list_all=thorough)
        if not read.frame.height:
            return read
        with refusing_values():
            frame = self._requests.prepare(read.frame)
        started = replace(read, frame=frame)
        if PREDICTION_TIME not in frame.columns:
            return started
        outside = outside_years(frame.get_column(PREDICTION_TIME))
        if outside is None and not frame.get_column(PREDICTION_TIME).null_count():
            return started
        at = self.program.predict_at
        assert at is not None  # noqa: S101 - the frame has the column
        where = ", ".join(c for c in at.columns)
        valid = frame.get_column(PREDICTION_TIME).is_not_null()
        if outside is not None:
            valid &= ~outside.fill_null(value=False)
        errors = [
            RowError(read.index[i], where, None, f"no moment of prediction follows from {at.sql!r}")
            for i in (~valid).arg_true()
        ]
        return started.keep_valid(valid, errors)


@contextmanager
def refusing_values() -> Iterator[None]:
    """Turn Polars' errors about values of the rows into a refusal of the data.

    Raises
    ------
    UnscorableValue
        Instead of Polars' error.
    """
    from polars.exceptions import ComputeError, InvalidOperationError, PanicException

    try:
        yield
    except (ComputeError, InvalidOperationError, PanicException) as error:
        refusal = value_refusal(error, "the feature program")
        raise UnscorableValue(refusal.message, refusal.hint) from error


def _rules(folder: Path) -> Mapping[str, Any]:
    """Validation rules of the base source's columns; none before the register stage."""
    if not (folder / "schema.json").is_file():
        return {}
    schema = read_json(folder / "schema.json")
    columns: Mapping[str, Any] = schema["sources"][schema["base"]]["rules"].get("columns", {})
    return columns
