"""Logged requests that neither the version on trial nor the one that answered has learnt from."""

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
    """Tells, request by request, whether a fair comparison can count it.

    Attributes
    ----------
    left_out
        Why requests don't count -> how many.
    """

    def __init__(self, params: Params, layout: Layout, trial: SelectedModel) -> None:
        self._params, self._layout, self._trial = params, layout, trial
        self._learnt = {
            trial.number: training_rows_of_project(
                layout, trial.folder, trial.version, trial.number
            )
        }
        self._names: dict[str, list[str]] = {}
        self.left_out: Counter[str] = Counter()

    def mask(self, answerer: str, rows: pl.DataFrame, features: pl.DataFrame) -> pl.Series:
        """Which requests count, (n,).

        Parameters
        ----------
        answerer
            The version that answered.
        rows
            As the log has them.
        features
            As the version on trial sees them.
        """
        trial = self._learnt[self._trial.number]
        good = self._counted(trial, trial.unseen(rows["moment"], lambda: features))
        if answerer == self._trial.number:
            return good
        other = self._of(answerer)
        fair = other.unseen(
            rows["moment"],
            lambda: logged_features(other.kinds, self._names[answerer], rows["features"].to_list()),
        )
        return good & self._counted(other, fair | ~good)

    def _counted(self, learnt: TrainingRows, unseen: pl.Series) -> pl.Series:
        if left := len(unseen) - int(unseen.sum()):
            self.left_out[learnt.reason] += left
        return unseen

    def _of(self, version: str) -> TrainingRows:
        if version not in self._learnt:
            self._learnt[version] = self._read(version)
        return self._learnt[version]

    def _read(self, version: str) -> TrainingRows:
        from mlops_cli.data.atomic_files import read_json

        try:
            found = select_model(self._params, self._layout, version)
            self._names[version] = list(read_json(found.folder / "program.json")["features"])
            return training_rows_of_project(self._layout, found.folder, found.version, version)
        except MlopsError:
            # The log may hold answers of versions that were taken back, or of other projects.
            return unknown_training_rows(version)
