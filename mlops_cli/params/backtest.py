"""Section ``backtest``: costs of retraining policies."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlops_cli.params.base import Section

__all__ = ["Backtest"]


class Backtest(Section):
    """Costs by which `mlops backtest` compares policies."""

    error_cost: Annotated[float, Field(ge=0)] = 1.0
    """Cost of a unit of error: by ``task.cost`` (binary), a wrong class or a unit of target."""
    retrain_cost: Annotated[float, Field(ge=0)] = 0.0
    """Cost of one retraining, in the same unit."""
    trials: Annotated[int, Field(ge=0)] = 0
    """Search trials in each training; 0: the settings in ``models/tuning``."""
