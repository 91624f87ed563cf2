"""Train and validation rows as a feature matrix, labels and folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.atomic_files import read_json
from mlops_cli.errors import DataRefused
from mlops_cli.layout import TARGET
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.objectives import check_target, fit_weights, task_info
from mlops_cli.splitting.folds import Fold, cross_validation, fold_positions, hold_out, strata
from mlops_cli.splitting.reader import feature_kinds, read_split, read_target
from mlops_cli.splitting.strategies import dense_ids, repeats_rows
from mlops_cli.training.cv_scorer import CvScorer
from mlops_cli.training.objective import CvObjective

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.models.families.task_info import TaskInfo
    from mlops_cli.models.labels import LabelCodec
    from mlops_cli.params.split import Split
    from mlops_cli.params.train import Train
    from mlops_cli.training.time_budget import SearchPlan

__all__ = ["TrainingData", "load_training_data"]


@dataclass(frozen=True)
class TrainingData:
    """Train and validation rows of a project, without the test split.

    Parameters
    ----------
    layout
        Paths of the project's files.
    kinds
        Feature -> kind.
    split
        Settings of the splits; folds follow the same strategy.
    train_settings
        Row weights, objective and monotone features.
    targets
        Split -> labels, for train and validation.
    """

    layout: Layout
    kinds: dict[str, str]
    split: Split
    train_settings: Train
    targets: dict[str, pl.Series]

    @property
    def row_counts(self) -> dict[str, int]:
        """Number of rows of each split."""
        return {name: len(target) for name, target in self.targets.items()}

    @cached_property
    def all_rows(self) -> pl.DataFrame:
        """The rows of both splits, train first."""
        return pl.concat(self._read(name) for name in self.targets)

    def _read(self, name: str, rows: int | None = None, seed: int = 0) -> pl.DataFrame:
        columns = (self.split.group, self.train_settings.weight)
        return read_split(self.layout, name, self.kinds, rows, seed, columns)

    def validation_labels(self, labels: LabelCodec, plan: SearchPlan) -> npt.NDArray[Any]:
        """Encoded labels of the rows on which trials are scored.

        With cross-validation these are all rows, else the rows of the validation split.

        Raises
        ------
        DataRefused
            If validation has a class that train lacks, or only one class without cross-validation.
        """
        y = labels.encode(self.targets["validation"], "the validation split")
        if plan.cross_validated:
            import numpy as np

            return np.concatenate([labels.encode(self.targets["train"], "the train split"), y])
        if labels.classes and self.targets["validation"].n_unique() == 1:
            raise DataRefused(
                f"the validation split has one class: {self.targets['validation'][0]!r} in all "
                f"{len(y)} rows, so it can't decide which model is better",
                "Split so that each class is in every split, or let tune cross-validate "
                "(tune.folds).",
            )
        return y

    def folds(self, plan: SearchPlan, labels: LabelCodec, seed: int) -> list[Fold]:
        """Training and validation rows of each fold; one fold without cross-validation."""
        if not plan.cross_validated:
            return hold_out(plan.rows, self.row_counts["validation"])
        classes = len(labels.classes)
        grouped = self.split.strategy == "grouped"
        strat = None if grouped else strata(self.validation_labels(labels, plan), classes)
        return cross_validation(self._fold_units(), strat, plan.folds, seed, grouped=grouped)

    def scorer(self, plan: SearchPlan, labels: LabelCodec, metric: Metric, seed: int) -> CvScorer:
        """Build the scorer of predictions for all validation rows."""
        frame = self.all_rows if plan.cross_validated else self._read("validation")
        weight = fit_weights(frame, self.train_settings.weight)
        fold_rows = fold_positions(self.folds(plan, labels, seed))
        return CvScorer(metric, self.validation_labels(labels, plan), fold_rows, weight)

    def search_objective(
        self, plan: SearchPlan, labels: LabelCodec, metric: Metric, *, seed: int, patience: int
    ) -> CvObjective:
        """Build the objective of the trials, from at most ``plan.rows`` training rows."""
        import numpy as np

        truth = self.validation_labels(labels, plan)
        folds = self.folds(plan, labels, seed)
        if plan.cross_validated:
            return self.final_objective(plan, labels, metric, seed=seed, patience=patience)
        train, validation = self._read("train", plan.rows, seed), self._read("validation")
        encoder = Encoder.fit(train, self.kinds)
        X = np.concatenate([encoder.transform(train), encoder.transform(validation)])
        y = np.concatenate([labels.encode(train[TARGET], "the train split"), truth])
        task = self._task(labels, encoder, y)
        weight = fit_weights(pl.concat([train, validation]), self.train_settings.weight)
        return CvObjective(task, metric, seed, X, y, folds, patience, weight)

    def full_train_objective(
        self, objective: CvObjective, plan: SearchPlan, labels: LabelCodec
    ) -> CvObjective:
        """The same objective with all rows of train, scored on the validation split."""
        full_plan = replace(plan, rows=self.row_counts["train"])
        return self.search_objective(
            full_plan, labels, objective.metric, seed=objective.seed, patience=objective.patience
        )

    def final_objective(
        self, plan: SearchPlan, labels: LabelCodec, metric: Metric, *, seed: int, patience: int
    ) -> CvObjective:
        """Build the objective whose matrix has all rows, for the final fits."""
        import numpy as np

        encoder = Encoder.fit(self.all_rows, self.kinds)
        y = np.concatenate([labels.encode(self.targets[name], name) for name in self.targets])
        folds = self.folds(plan, labels, seed)
        X = encoder.transform(self.all_rows)
        task, weight = (
            self._task(labels, encoder, y),
            fit_weights(self.all_rows, self.train_settings.weight),
        )
        return CvObjective(task, metric, seed, X, y, folds, patience, weight)

    def _task(self, labels: LabelCodec, encoder: Encoder, y: npt.NDArray[Any]) -> TaskInfo:
        """Describe the task, after checking that the objective is defined for the labels."""
        check_target(y, self.train_settings.objective, "train and validation")
        return task_info(labels.type, len(labels.classes), self.train_settings, encoder)

    def _fold_units(self) -> npt.NDArray[np.int64]:
        """A number per row; rows with the same number (a group, or duplicates) share a fold."""
        import numpy as np

        if self.split.group is not None:
            return dense_ids(self.all_rows[self.split.group].cast(pl.String).fill_null(""))
        row_hashes = self.all_rows.select(pl.struct(list(self.kinds)).hash(seed=0)).to_series()
        units = dense_ids(row_hashes)
        return np.arange(len(units)) if repeats_rows(units) else units


def load_training_data(split: Split, train_settings: Train, layout: Layout) -> TrainingData:
    """Load the train and validation rows of a project, after stage split.

    Raises
    ------
    NotFound
        If a split is missing.
    DataRefused
        If a split has no rows, or lacks a feature.
    """
    kinds = feature_kinds(read_json(layout.program))
    names = ("train", "validation")
    return TrainingData(
        layout, kinds, split, train_settings, {n: read_target(layout, n, kinds) for n in names}
    )
