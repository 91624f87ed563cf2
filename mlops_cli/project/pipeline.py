"""Table of the pipeline's stages: modules with one signature.

Each stage's module has ``run(params, layout, progress) -> Summary``: it reads files, writes files,
and prints nothing. A stage reads and writes only the paths of ``Layout``; ``dvc.yaml`` lists the
parameters that it reads. A new stage is one module and one row here.
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
"""Each stage's module, in the order in which the stages run."""

STAGES = tuple(MODULES)


class Stage(Protocol):
    """The interface of a stage's module."""

    def run(self, params: Params, layout: Layout, progress: Progress) -> Summary:
        """Run the stage; after any error no half-written file is left in place."""


def load(name: str) -> Stage:
    """Import a stage's module; not earlier, because each imports heavy libraries."""
    return cast("Stage", import_module(MODULES[name]))
