"""The pipeline's stages: a table of modules with one signature.

Each module has ``run(params, layout, progress) -> Summary``: files in, files out, nothing
printed. A stage reads and writes only the paths of ``Layout``; what it reads of ``params`` is
listed for it in ``dvc.yaml``. A further stage is one module and one row here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from mlops_cli.layout import Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Progress, Summary

__all__ = ["STAGES", "Stage", "load"]

STAGES = (
    "ingest",
    "validate",
    "featurize",
    "split",
    "tune",
    "train",
    "evaluate",
    "register",
)
"""In the order in which they run."""


class Stage(Protocol):
    """What each module of this package offers."""

    def run(self, params: Params, layout: Layout, progress: Progress) -> Summary:
        """Do the stage's work; on any error nothing half-written is left in place."""


def load(name: str) -> Stage:
    """The stage's module, imported only now: each brings its own heavy libraries."""
    return cast("Stage", import_module(f"{__name__}.{name}"))
