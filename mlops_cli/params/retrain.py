"""Section ``retrain``: how far data reach, and when to retrain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlops_cli.params.base import Duration, Section
from mlops_cli.params.monitor import Verdict

__all__ = ["Retrain"]


class Retrain(Section):
    """When to retrain, and what happens to the new version."""

    when: Annotated[tuple[Verdict, ...], Field(strict=False)] = ("drift", "degraded")
    """Findings of monitoring that count as a reason for `mlops retrain --if-needed`."""
    every: Duration | None = None
    """Retrain also when the data clock is this much older than the newest labels."""
    min_rows: Annotated[int, Field(ge=1)] = 1
    """Minimum number of new labelled rows."""
    promote: bool = False
    """Put the new version into ``stage``; requires `register.champion` for that stage."""
    stage: str = "production"
