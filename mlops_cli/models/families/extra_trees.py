"""Extra-trees (Geurts, Ernst and Wehenkel 2006): averages of trees with random splits."""

from __future__ import annotations

from mlops_cli.models.families.base import Setting
from mlops_cli.models.families.forest import forest_family
from mlops_cli.params.tune import Dimension

__all__ = ["FAMILY"]

FAMILY = forest_family(
    "extra_trees",
    "ExtraTrees",
    {
        "max_leaves": Setting(Dimension(low=64, high=512, log=True), 512),
        "min_leaf": Setting(Dimension(low=1, high=50, log=True), 2),
        "features": Setting(Dimension(low=0.1, high=1.0), 0.5),
    },
    ({"min_leaf": 1, "features": 1.0}, {"min_leaf": 8, "features": 0.75}),
)
