"""Model families: one table, one contract. A further family is one module and one row here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mlops_cli.core.learners import forest, hist_gradient_boosting, lightgbm, linear
from mlops_cli.core.learners.contract import Family, Fitted, Pruned, Setting, TaskInfo, Watch

__all__ = ["FAMILIES", "Family", "Fitted", "Pruned", "Setting", "TaskInfo", "Watch"]

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        module.FAMILY.name: module.FAMILY
        for module in (linear, forest, hist_gradient_boosting, lightgbm)
    }
)
"""By name, the cheapest first."""
