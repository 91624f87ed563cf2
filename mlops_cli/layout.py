"""Every path that the pipeline reads or writes, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PENDING", "REASON", "ROW", "SPLITS", "TARGET", "TIME", "Layout"]

# Bookkeeping columns of the feature table; they start with an underscore so that no feature
# can have their name (params.yaml refuses such names).
ROW = "_row"
"""UInt32: the row's number in the validated base source."""
TIME = "_time"
"""Datetime[us, UTC]: the row's event time; only there where the base source has a `time`."""
TARGET = "_target"
"""The label, as the target expression gives it; never null in the feature table."""

PENDING = "_pending"
"""Ingested sources with `known_at` by column: true where a value isn't known yet at the clock."""
REASON = "_reason"
"""Quarantined rows: the rules that the row breaks."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Layout:
    """The files of one project.

    Attributes
    ----------
    root
        The folder that holds ``params.yaml``; paths in it, and in a hook, are seen from here.
    aside
        Where all that is made goes instead of there: for a run apart from the project's own.
    """

    root: Path
    aside: Path | None = None

    @property
    def made(self) -> Path:
        """The folder below which everything lies that is made."""
        return self.aside or self.root

    @property
    def params(self) -> Path:
        """The project's settings."""
        return self.root / "params.yaml"

    @property
    def dvc_yaml(self) -> Path:
        """The pipeline as DVC knows it."""
        return self.root / "dvc.yaml"

    @property
    def work(self) -> Path:
        """Scratch: locks, temporary files, unfinished searches, measured times. Never tracked."""
        return self.made / ".mlops"

    @property
    def online(self) -> Path:
        """The online store, where no other is named: SQLite."""
        return self.work / "online.sqlite"

    @property
    def events(self) -> Path:
        """The log of predictions and labels, where no other is named: SQLite."""
        return self.work / "events.sqlite"

    @property
    def raw(self) -> Path:
        """Ingested sources: ``<source>.parquet`` each, and ``manifest.json``."""
        return self.made / "data" / "ingested"

    @property
    def ingest_manifest(self) -> Path:
        """Rows, columns, types, time range and content hash of each ingested source."""
        return self.raw / "manifest.json"

    @property
    def valid(self) -> Path:
        """Sources after validation: ``<source>.parquet`` each."""
        return self.made / "data" / "validated"

    @property
    def quarantine(self) -> Path:
        """Rows set aside by validation: ``<source>.parquet``, with the column ``_reason``."""
        return self.made / "data" / "quarantine"

    @property
    def validation_report(self) -> Path:
        """Each rule with its count, share and examples."""
        return self.made / "reports" / "validation.json"

    @property
    def features(self) -> Path:
        """The feature table: ``part-00000.parquet`` and so on, in the base source's row order."""
        return self.made / "data" / "features"

    @property
    def program(self) -> Path:
        """The compiled feature program: rules, source schemas, feature names and kinds."""
        return self.made / "data" / "program.json"

    @property
    def feature_report(self) -> Path:
        """Rows with and without a label and why, and a profile of each feature."""
        return self.made / "reports" / "features.json"

    @property
    def splits(self) -> Path:
        """``train.parquet``, ``validation.parquet``, ``test.parquet``."""
        return self.made / "data" / "splits"

    @property
    def split_report(self) -> Path:
        """Rows, time range and class shares of each split, and the leakage checks."""
        return self.made / "reports" / "split.json"

    def split(self, name: str) -> Path:
        """The Parquet file of one split: train, validation or test."""
        return self.splits / f"{name}.parquet"

    @property
    def tuning(self) -> Path:
        """``best.json`` (family, settings, iterations, score) and ``trials.json``."""
        return self.made / "models" / "tuning"

    @property
    def fitted(self) -> Path:
        """The bundle as train writes it: what is needed to predict, and ``manifest.json``."""
        return self.made / "models" / "fitted"

    @property
    def model(self) -> Path:
        """The whole bundle: the fitted one with metrics, schema, lineage and model card."""
        return self.made / "models" / "model"

    @property
    def metrics(self) -> Path:
        """Test metrics with intervals; kept in Git."""
        return self.made / "reports" / "metrics.json"

    @property
    def headline(self) -> Path:
        """The first test metrics without intervals, for `dvc exp show`; kept in Git."""
        return self.made / "reports" / "headline.json"

    @property
    def evaluation(self) -> Path:
        """Everything else of the evaluation: slices, threshold, costs, importance."""
        return self.made / "reports" / "evaluation.json"

    @property
    def plots(self) -> Path:
        """Data for ``dvc plots``."""
        return self.made / "reports" / "plots"

    def study(self, name: str) -> Path:
        """What a study by `mlops study` found."""
        return self.made / "reports" / "studies" / f"{name}.json"

    @property
    def backtest(self) -> Path:
        """What `mlops backtest` found; ``.html`` and ``-plot.json`` beside it."""
        return self.made / "reports" / "backtest.json"

    @property
    def registration(self) -> Path:
        """The gates' decision with each figure; kept in Git."""
        return self.made / "models" / "registration.json"

    def record(self, stage: str) -> Path:
        """The small JSON file that stands for a stage's result: other bytes, another result."""
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
