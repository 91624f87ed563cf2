"""The sections of the feedback loop: feedback, retrain, backtest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlops_cli.params.base import Duration, Section

__all__ = ["Backtest", "Feedback", "Retrain"]


class Feedback(Section):
    """Labels that come later."""

    delay: Duration | None = None
    """How long after its values are known a label arrives, beyond what ``known_at`` says."""


class Retrain(Section):
    """When a new model is made, and what becomes of it."""

    when: Annotated[tuple[Literal["drift", "degraded"], ...], Field(strict=False)] = (
        "drift",
        "degraded",
    )
    """What monitoring must have found for `mlops retrain --if-needed`."""
    every: Duration | None = None
    """Also when the data clock is so much older than the newest labels."""
    min_rows: Annotated[int, Field(ge=1)] = 1
    """Fewer new labelled rows aren't worth it."""
    promote: bool = False
    """Put the new version into ``stage``; needs `register.champion` for that stage."""
    stage: str = "production"


class Backtest(Section):
    """What the policies are compared by."""

    error_cost: Annotated[float, Field(ge=0)] = 1.0
    """Of a unit of error: by ``task.cost`` (binary), a wrong class, or a unit of the target."""
    retrain_cost: Annotated[float, Field(ge=0)] = 0.0
    """Of one retraining, in the same unit."""
    trials: Annotated[int, Field(ge=0)] = 0
    """Trials of the search at each training; 0: the settings in ``models/tuning``."""
