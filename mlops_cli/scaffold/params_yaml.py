"""Renders the ``params.yaml`` of a new project: every section, with explaining comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data import templates
from mlops_cli.models.families import FAMILIES
from mlops_cli.scaffold.yaml_text import FILTERS

if TYPE_CHECKING:
    from mlops_cli.params.ingest import TypeName
    from mlops_cli.scaffold.infer_project import Proposal

__all__ = ["ReadOptions", "render"]

SMALL = 1000
"""With fewer rows, the search uses all of them."""
TRIED = ("linear", "mlp", "extra_trees", "lightgbm", "catboost")
"""Families that the search tries if they are installed; they differ from each other."""
SLICE_VALUES = 10

METRICS = {
    "binary": ("roc_auc", "the area under the ROC curve"),
    "multiclass": ("log_loss", "the log loss"),
    "regression": ("rmse", "the root mean squared error"),
}
"""Task type -> the metric of the search, and its name in words."""


@dataclass(frozen=True)
class ReadOptions:
    """How the data file is read: its entry in ``ingest.sources``."""

    source: str
    uri: str
    separator: str
    encoding: str
    null_values: dict[str, tuple[str, ...]]
    types: dict[str, TypeName]
    derive: dict[str, str]


def render(name: str, reading: ReadOptions, proposal: Proposal) -> str:
    """The text of the file."""
    target, rows = proposal.target, proposal.rows
    metric, metric_in_words = METRICS[target.task]
    categorical = [
        name
        for c in proposal.columns
        if c.role == "feature" and 1 < len(c.categories) <= SLICE_VALUES
        for name, _ in c.features
    ]
    return templates.render(
        "mlops_cli.scaffold",
        "project/params.yaml.jinja",
        FILTERS,
        name=name,
        reading=reading,
        proposal=proposal,
        target=target,
        class_rows=", ".join(f"{k}: {n} rows" for k, n in target.classes.items()),
        # A file with half of its rows was cut short; the data clock may leave as few as a tenth.
        least_rows=max(1, rows // (10 if proposal.time else 2)),
        prose=[name for c in proposal.columns if c.text for name, _ in c.features],
        metric=metric,
        metric_in_words=metric_in_words,
        families=[name for name in TRIED if FAMILIES[name].installed],
        search_rows=None if rows < SMALL else 50_000,
        slices=categorical[:2],
    )
