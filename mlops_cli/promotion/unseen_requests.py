"""Logged requests that neither the candidate nor the version that responded was trained on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mlops_cli.errors import MlopsError
from mlops_cli.promotion.logged_responses import logged_features
from mlops_cli.registry.read_training_rows import training_rows_of_project
from mlops_cli.registry.select_version import SelectedModel, select_model
from mlops_cli.registry.training_rows import TrainingRows, unknown_training_rows

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["UnseenRequests"]


class UnseenRequests:
    """Filter for requests on which a comparison is fair.

    Attributes
    ----------
    exclusion_counts
        Reason -> number of requests that don't count.
    """

    def __init__(self, params: Params, layout: Layout, candidate: SelectedModel) -> None:
        self._params, self._layout, self._candidate = params, layout, candidate
        self._training_rows = {
            candidate.number: training_rows_of_project(
                layout, candidate.folder, candidate.version, candidate.number
            )
        }
        self._feature_names: dict[str, list[str]] = {}
        self.exclusion_counts: Counter[str] = Counter()

    def mask(
        self, responding_version: str, rows: pl.DataFrame, features: pl.DataFrame
    ) -> pl.Series:
        """Mask of the requests that count, (n,).

        Parameters
        ----------
        responding_version
            The version that responded.
        rows
            Rows of the log.
        features
            Their features for the candidate.
        """
        candidate_rows = self._training_rows[self._candidate.number]
        unseen = self._count_left_out(
            candidate_rows, candidate_rows.unseen_mask(rows["moment"], lambda: features)
        )
        if responding_version == self._candidate.number:
            return unseen
        responder = self._training_rows_of(responding_version)
        fair = responder.unseen_mask(
            rows["moment"],
            lambda: logged_features(
                responder.kinds, self._feature_names[responding_version], rows["features"].to_list()
            ),
        )
        return unseen & self._count_left_out(responder, fair | ~unseen)

    def _count_left_out(self, training_rows: TrainingRows, unseen: pl.Series) -> pl.Series:
        if rows := len(unseen) - int(unseen.sum()):
            self.exclusion_counts[training_rows.exclusion_reason] += rows
        return unseen

    def _training_rows_of(self, version: str) -> TrainingRows:
        if version not in self._training_rows:
            self._training_rows[version] = self._read_training_rows(version)
        return self._training_rows[version]

    def _read_training_rows(self, version: str) -> TrainingRows:
        from mlops_cli.data.atomic_files import read_json

        try:
            model = select_model(self._params, self._layout, version)
            self._feature_names[version] = list(
                read_json(model.folder / "program.json")["features"]
            )
            return training_rows_of_project(self._layout, model.folder, model.version, version)
        except MlopsError:
            # The log may hold responses of versions that were withdrawn, or of other projects.
            return unknown_training_rows(version)
