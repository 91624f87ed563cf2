"""One version, ready to score: raw rows to features to predictions."""

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
from mlops_cli.features.windows import AT
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
    from mlops_cli.params.serving import ColumnPolicy

    Floats = npt.NDArray[np.float64]

__all__ = ["RequestScorer", "ScoredRows", "UnscorableValue", "refusing_values"]

_HINT = "Use another version, or train it anew with `mlops run`."
_FLOATS = 4_000_000
"""Of an explanation's matrix at a time: 32 MB."""
_MANY = 80
"""Rows from which on a query over all features takes less time than Python's work on each."""


class UnscorableValue(DataRefused):
    """An expression of the feature program can't take a value of the rows."""


@dataclass(frozen=True)
class ScoredRows:
    """What a version says of some rows.

    Attributes
    ----------
    features
        Name -> value of each row, as the feature program makes them.
    matrix
        The same as the model reads them, float64.
    output
        Probabilities (rows, classes), or values (rows,).
    misses
        Table of the online store -> rows for whose key it knew nothing.
    """

    features: Mapping[str, Sequence[Any]]
    matrix: Floats
    output: Floats
    misses: Mapping[str, int]


class RequestScorer:
    """A verified bundle with its feature program and the look-ups that the program needs."""

    def __init__(
        self,
        bundle: Bundle,
        program: FeatureProgram,
        entries: CachedEntries | None,
        carried: Sequence[str] = (),
        rules: Mapping[str, Any] = MappingProxyType({}),
        policies: Mapping[str, ColumnPolicy] = MappingProxyType({}),
    ) -> None:
        self.bundle = bundle
        self.program = program
        self._requests = RequestProgram(program, carried)
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
        carried: Sequence[str] = (),
        policies: Mapping[str, ColumnPolicy] = MappingProxyType({}),
    ) -> RequestScorer:
        """Verify and load the bundle in a folder.

        Parameters
        ----------
        root
            Where the project's own hook is found, if there is one.
        lookups
            Into the online store; not needed by a program without joins and windows.
        carried
            Base columns to read where they are given, besides what the features need.
        policies
            What `serve.columns` says.

        Raises
        ------
        NotFound
            If there is no bundle, or the store has nothing for its feature program.
        DataRefused
            If the bundle isn't as it was written.
        """
        bundle = bundles.load(folder)
        with refuse_malformed(f"the model bundle in {folder}", _HINT):
            hook = load_hook(bundle.program["rules"].get("hook"), root)
            program = FeatureProgram.from_json(bundle.program, hook)
            scorer = cls(bundle, program, None, carried, _rules(folder), policies)
        return scorer if lookups is None else scorer.looking_into(lookups)

    def looking_into(self, lookups: Lookups) -> RequestScorer:
        """The same, with what its features look up.

        Raises
        ------
        NotFound
            If the store has nothing for its feature program.
        """
        found = copy(self)
        if self.program.plans:
            found.entries = lookups.entries(self.program, self._requests.tables)
        return found

    @property
    def needs_store(self) -> bool:
        """Whether its features look anything up."""
        return bool(self._requests.tables)

    def read(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Rows as JSON gives them, typed, with derived columns and the moment of prediction."""
        return self._started(self.inputs.read(rows))

    def read_frame(self, frame: pl.DataFrame, *, thorough: bool = False) -> ParsedRows:
        """The same for a table; with ``thorough``, every error of every row."""
        read = self.inputs.read_frame(frame, thorough=thorough)
        return self._started(read, thorough=thorough)

    def score(self, started: pl.DataFrame) -> ScoredRows:
        """Features and predictions of rows that ``read`` gave.

        Raises
        ------
        Unscorable
            If an expression of the feature program can't take a value of theirs.
        """
        if self.entries is None:
            remembered = LookupCache(self._requests.tables, lambda _, keys: [None] * len(keys))
        else:
            remembered = self.entries.refreshed()
        if started.height < _MANY:
            with refusing_values():
                features, misses = self._requests.features(started, remembered)
            matrix = self.bundle.encoder.transform_columns(features)
        else:
            with refusing_values():
                table, misses = self._requests.table(started, remembered)
            features = plain_columns(table)
            numbers = {name: c for name, c in table.items() if c.dtype.is_numeric()}
            matrix = self.bundle.encoder.transform_columns({**features, **numbers})
        return ScoredRows(features, matrix, self.bundle.predict_matrix(matrix), misses)

    def explain(self, scored: ScoredRows, between: Callable[[], None] = lambda: None) -> Floats:
        """How much each feature adds to the output of each row, (rows, features).

        Of the predicted class (binary: the positive one) or the value: what the output loses where
        the feature isn't known (occlusion; Zeiler and Fergus 2014). The same for all families.

        Parameters
        ----------
        between
            Called before each piece, of which none takes much memory; what it raises ends it.
        """
        encoder = self.bundle.encoder
        rows, width = len(scored.matrix), len(encoder.kinds)
        # Feature by feature all of its columns.
        owned = np.array(encoder.owners) == np.array(list(encoder.kinds))[:, None]
        chosen = np.ones(rows, dtype=np.int64)
        if scored.output.ndim > 1 and scored.output.shape[1] != 2:  # noqa: PLR2004 - more classes
            chosen = scored.output.argmax(axis=1)
        without = np.zeros(rows * width)
        step = max(1, _FLOATS // max(1, owned.shape[1]))
        for start in range(0, rows * width, step):
            between()
            pairs = np.arange(start, min(start + step, rows * width))
            row, feature = pairs // width, pairs % width
            blanked = scored.matrix[row]
            blanked[owned[feature]] = np.nan
            output = self.bundle.predict_matrix(blanked)
            without[pairs] = (
                output if output.ndim == 1 else output[np.arange(len(row)), chosen[row]]
            )
        given: Floats = scored.output
        if given.ndim > 1:
            given = given[np.arange(rows), chosen]
        return given[:, None] - without.reshape(rows, width)

    def _started(self, read: ParsedRows, *, thorough: bool = False) -> ParsedRows:
        """Derived columns and moments; a row without a moment of prediction can't be scored."""
        read = self._policies.apply(read, thorough=thorough)
        if not read.frame.height:
            return read
        with refusing_values():
            frame = self._requests.start(read.frame)
        started = replace(read, frame=frame)
        if AT not in frame.columns:
            return started
        outside = outside_years(frame.get_column(AT))
        if outside is None and not frame.get_column(AT).null_count():
            return started
        at = self.program.predict_at
        assert at is not None  # noqa: S101 - there is a moment
        where = ", ".join(c for c in at.columns)
        known = frame.get_column(AT).is_not_null()
        if outside is not None:
            known &= ~outside.fill_null(value=False)
        errors = [
            RowError(read.index[i], where, None, f"no moment of prediction follows from {at.sql!r}")
            for i in (~known).arg_true()
        ]
        return started.only(known, errors)


@contextmanager
def refusing_values() -> Iterator[None]:
    """What Polars can't compute of a row's values, as a refusal of the data.

    Raises
    ------
    Unscorable
        Instead of Polars' error.
    """
    from polars.exceptions import ComputeError, InvalidOperationError, PanicException

    try:
        yield
    except (ComputeError, InvalidOperationError, PanicException) as error:
        refusal = value_refusal(error, "the feature program")
        raise UnscorableValue(refusal.message, refusal.hint) from error


def _rules(folder: Path) -> Mapping[str, Any]:
    """What `validate` asks of the base source's columns; a bundle before register has none."""
    if not (folder / "schema.json").is_file():
        return {}
    schema = read_json(folder / "schema.json")
    found: Mapping[str, Any] = schema["sources"][schema["base"]]["rules"].get("columns", {})
    return found
