"""Paths of a project: every file that the pipeline reads or writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PENDING", "REASON", "ROW", "SPLITS", "TARGET", "TIME", "Layout"]

# Bookkeeping columns of the feature table; they start with an underscore so that no feature
# can have their name (params.yaml refuses such names).
ROW = "_row"
"""UInt32: number of the row in the validated base source."""
TIME = "_time"
"""Datetime[us, UTC]: the row's event time; absent if the base source has no `time`."""
TARGET = "_target"
"""The label, from the target expression; never null in the feature table."""

PENDING = "_pending"
"""In ingested sources with `known_at` by column: true if a value isn't known at the data clock."""
REASON = "_reason"
"""In quarantined rows: the rules that the row breaks."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Layout:
    """The files of one project.

    Attributes
    ----------
    root
        The folder with ``params.yaml``; paths in it, and in a hook, are relative to this folder.
    output_override
        Another folder for all generated files, for a run apart from the project's own.
    """

    root: Path
    output_override: Path | None = None

    @property
    def output_root(self) -> Path:
        """The folder that contains all generated files."""
        return self.output_override or self.root

    @property
    def params(self) -> Path:
        """The project's settings."""
        return self.root / "params.yaml"

    @property
    def dvc_yaml(self) -> Path:
        """The definition of the DVC pipeline."""
        return self.root / "dvc.yaml"

    @property
    def work(self) -> Path:
        """Untracked working files: locks, temporary files, unfinished searches, measured times."""
        return self.output_root / ".mlops"

    @property
    def online(self) -> Path:
        """The default online store: SQLite."""
        return self.work / "online.sqlite"

    @property
    def events(self) -> Path:
        """The default event log of predictions and labels: SQLite."""
        return self.work / "events.sqlite"

    @property
    def ingested(self) -> Path:
        """Ingested sources: a ``<source>.parquet`` for each, and ``manifest.json``."""
        return self.output_root / "data" / "ingested"

    @property
    def ingest_manifest(self) -> Path:
        """Rows, columns, types, time range and content hash of each ingested source."""
        return self.ingested / "manifest.json"

    @property
    def validated(self) -> Path:
        """Validated sources: a ``<source>.parquet`` for each."""
        return self.output_root / "data" / "validated"

    @property
    def quarantine(self) -> Path:
        """Rows that validation rejected: ``<source>.parquet``, with the column ``_reason``."""
        return self.output_root / "data" / "quarantine"

    @property
    def validation_report(self) -> Path:
        """Each validation rule with count, share and examples of the rows that break it."""
        return self.output_root / "reports" / "validation.json"

    @property
    def features(self) -> Path:
        """The feature table: ``part-00000.parquet`` and so on, in the base source's row order."""
        return self.output_root / "data" / "features"

    @property
    def program(self) -> Path:
        """The compiled feature program: rules, source schemas, feature names and kinds."""
        return self.output_root / "data" / "program.json"

    @property
    def feature_report(self) -> Path:
        """Number of rows with and without a label, with reasons, and a profile of each feature."""
        return self.output_root / "reports" / "features.json"

    @property
    def splits(self) -> Path:
        """``train.parquet``, ``validation.parquet``, ``test.parquet``."""
        return self.output_root / "data" / "splits"

    @property
    def split_report(self) -> Path:
        """Rows, time range and class shares of each split, and the leakage checks."""
        return self.output_root / "reports" / "split.json"

    def split(self, name: str) -> Path:
        """The Parquet file of one split: train, validation or test."""
        return self.splits / f"{name}.parquet"

    @property
    def tuning(self) -> Path:
        """``best.json`` (family, settings, iterations, score) and ``trials.json``."""
        return self.output_root / "models" / "tuning"

    @property
    def fitted(self) -> Path:
        """The bundle that train writes: what a prediction needs, and ``manifest.json``."""
        return self.output_root / "models" / "fitted"

    @property
    def model(self) -> Path:
        """The complete bundle: the fitted one with metrics, schema, lineage and model card."""
        return self.output_root / "models" / "model"

    @property
    def metrics(self) -> Path:
        """Test metrics with intervals; kept in Git."""
        return self.output_root / "reports" / "metrics.json"

    @property
    def headline(self) -> Path:
        """The first test metrics without intervals, for `dvc exp show`; kept in Git."""
        return self.output_root / "reports" / "headline.json"

    @property
    def evaluation(self) -> Path:
        """The other results of the evaluation: slices, threshold, costs, importance."""
        return self.output_root / "reports" / "evaluation.json"

    @property
    def plots(self) -> Path:
        """Data for ``dvc plots``."""
        return self.output_root / "reports" / "plots"

    def study(self, name: str) -> Path:
        """Result of a study by `mlops study`."""
        return self.output_root / "reports" / "studies" / f"{name}.json"

    @property
    def backtest(self) -> Path:
        """Result of `mlops backtest`; ``.html`` and ``-plot.json`` are beside it."""
        return self.output_root / "reports" / "backtest.json"

    @property
    def registration(self) -> Path:
        """The gates' decision with the figures; kept in Git."""
        return self.output_root / "models" / "registration.json"

    def record(self, stage: str) -> Path:
        """The small JSON file that identifies a stage's result: another result has other bytes."""
        return {
            "ingest": self.ingest_manifest,
            "validate": self.validation_report,
            "featurize": self.feature_report,
            "split": self.split_report,
            "tune": self.tuning / "best.json",
            "train": self.fitted / "manifest.json",
            "evaluate": self.metrics,
            "register": self.registration,
        }[stage]
