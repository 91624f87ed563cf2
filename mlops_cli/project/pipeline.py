"""The pipeline's stages: a table of modules with one signature.

Each stage's module has ``run(params, layout, progress) -> Summary``: files in, files out, nothing
printed. A stage reads and writes only the paths of ``Layout``; what it reads of ``params`` is
listed for it in ``dvc.yaml``. A further stage is one module and one row here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from mlops_cli.layout import Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Progress, Summary

__all__ = ["MODULES", "STAGES", "Stage", "load"]

MODULES = {
    "ingest": "mlops_cli.ingestion.stage",
    "validate": "mlops_cli.validation.stage",
    "featurize": "mlops_cli.features.stage",
    "split": "mlops_cli.splitting.stage",
    "tune": "mlops_cli.training.tune_stage",
    "train": "mlops_cli.training.train_stage",
    "evaluate": "mlops_cli.evaluation.stage",
    "register": "mlops_cli.registry.stage",
}
"""Each stage's module, in the order in which they run."""

STAGES = tuple(MODULES)


class Stage(Protocol):
    """What each stage's module offers."""

    def run(self, params: Params, layout: Layout, progress: Progress) -> Summary:
        """Do the stage's work; on any error nothing half-written is left in place."""


def load(name: str) -> Stage:
    """The stage's module, imported only now: each brings its own heavy libraries."""
    return cast("Stage", import_module(MODULES[name]))
