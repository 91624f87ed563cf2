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
from mlops_cli.splitting.folds import Fold, cross_validation, fold_parts, hold_out, strata
from mlops_cli.splitting.reader import feature_kinds, read_split, read_target
from mlops_cli.splitting.strategies import dense_ids, repeats_rows
from mlops_cli.training.judge import CvScorer
from mlops_cli.training.objective import CvObjective

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.models.families.task_info import TaskInfo
    from mlops_cli.models.labels import LabelCodec
    from mlops_cli.params.data import Split
    from mlops_cli.params.modelling import Train
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
    rules
        Row weights, objective and monotone features.
    targets
        Split -> labels, for train and validation.
    """

    layout: Layout
    kinds: dict[str, str]
    split: Split
    rules: Train
    targets: dict[str, pl.Series]

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows of each split."""
        return {name: len(target) for name, target in self.targets.items()}

    @cached_property
    def both(self) -> pl.DataFrame:
        """The rows of both splits, train first."""
        return pl.concat(self._read(name) for name in self.targets)

    def _read(self, name: str, rows: int | None = None, seed: int = 0) -> pl.DataFrame:
        columns = (self.split.group, self.rules.weight)
        return read_split(self.layout, name, self.kinds, rows, seed, columns)

    def truth(self, labels: LabelCodec, plan: SearchPlan) -> npt.NDArray[Any]:
        """Encoded labels of the rows on which trials are scored.

        With cross-validation these are all rows, else the rows of the validation split.

        Raises
        ------
        DataRefused
            If validation has a class that train lacks, or only one class without cross-validation.
        """
        y = labels.encode(self.targets["validation"], "the validation split")
        if plan.crossed:
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
        if not plan.crossed:
            return hold_out(plan.rows, self.rows["validation"])
        classes = len(labels.classes)
        grouped = self.split.strategy == "grouped"
        strat = None if grouped else strata(self.truth(labels, plan), classes)
        return cross_validation(self._fold_units(), strat, plan.folds, seed, grouped=grouped)

    def judge(self, plan: SearchPlan, labels: LabelCodec, metric: Metric, seed: int) -> CvScorer:
        """Build the scorer of predictions for all validation rows."""
        frame = self.both if plan.crossed else self._read("validation")
        weight = fit_weights(frame, self.rules.weight)
        parts = fold_parts(self.folds(plan, labels, seed))
        return CvScorer(metric, self.truth(labels, plan), parts, weight)

    def problem(
        self, plan: SearchPlan, labels: LabelCodec, metric: Metric, *, seed: int, patience: int
    ) -> CvObjective:
        """Build the objective of the trials, from at most ``plan.rows`` training rows."""
        import numpy as np

        truth = self.truth(labels, plan)
        folds = self.folds(plan, labels, seed)
        if plan.crossed:
            return self.all_of(plan, labels, metric, seed=seed, patience=patience)
        train, validation = self._read("train", plan.rows, seed), self._read("validation")
        encoder = Encoder.fit(train, self.kinds)
        X = np.concatenate([encoder.transform(train), encoder.transform(validation)])
        y = np.concatenate([labels.encode(train[TARGET], "the train split"), truth])
        task = self._task(labels, encoder, y)
        weight = fit_weights(pl.concat([train, validation]), self.rules.weight)
        return CvObjective(task, metric, seed, X, y, folds, patience, weight)

    def whole(self, problem: CvObjective, plan: SearchPlan, labels: LabelCodec) -> CvObjective:
        """The same objective with all rows of train, scored on the validation split."""
        full_plan = replace(plan, rows=self.rows["train"])
        return self.problem(
            full_plan, labels, problem.metric, seed=problem.seed, patience=problem.patience
        )

    def all_of(
        self, plan: SearchPlan, labels: LabelCodec, metric: Metric, *, seed: int, patience: int
    ) -> CvObjective:
        """Build the objective whose matrix has all rows, for the final fits."""
        import numpy as np

        encoder = Encoder.fit(self.both, self.kinds)
        y = np.concatenate([labels.encode(self.targets[name], name) for name in self.targets])
        folds = self.folds(plan, labels, seed)
        X = encoder.transform(self.both)
        task, weight = self._task(labels, encoder, y), fit_weights(self.both, self.rules.weight)
        return CvObjective(task, metric, seed, X, y, folds, patience, weight)

    def _task(self, labels: LabelCodec, encoder: Encoder, y: npt.NDArray[Any]) -> TaskInfo:
        """Describe the task, after checking that the objective is defined for the labels."""
        check_target(y, self.rules.objective, "train and validation")
        return task_info(labels.type, len(labels.classes), self.rules, encoder)

    def _fold_units(self) -> npt.NDArray[np.int64]:
        """A number per row; rows with the same number (a group, or duplicates) share a fold."""
        import numpy as np

        if self.split.group is not None:
            return dense_ids(self.both[self.split.group].cast(pl.String).fill_null(""))
        row_hashes = self.both.select(pl.struct(list(self.kinds)).hash(seed=0)).to_series()
        units = dense_ids(row_hashes)
        return np.arange(len(units)) if repeats_rows(units) else units


def load_training_data(split: Split, rules: Train, layout: Layout) -> TrainingData:
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
        layout, kinds, split, rules, {n: read_target(layout, n, kinds) for n in names}
    )
