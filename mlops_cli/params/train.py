"""Section ``train``: how the final model is fitted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlops_cli.params.base import Section

__all__ = ["Ensemble", "Train"]

_OBJECTIVE = r"^(squared|absolute|poisson|quantile:0\.(0[1-9]|[1-9][0-9]?))$"


class Ensemble(Section):
    """Limits of a model with several members."""

    members: Annotated[int, Field(ge=1, le=50)] = 6
    """The most trials in the ensemble; after a cross-validation one trial may be several models."""
    milliseconds: Annotated[float, Field(gt=0)] = 0.6
    """The longest time to score one row, by what the families usually need."""
    megabytes: Annotated[float, Field(gt=0)] = 15.0
    """The largest size of the members' files together."""


class Train(Section):
    """The final fit."""

    early_stopping: Annotated[int, Field(ge=1)] = 50
    """Rounds without a better validation score after which boosting stops."""
    weight: str | None = None
    """Column (feature or kept) with the weight of each row, in the fits and the search."""
    objective: Annotated[str, Field(pattern=_OBJECTIVE)] = "squared"
    """Regression: squared, absolute, poisson, or a quantile such as quantile:0.9."""
    monotone: dict[str, Literal[1, -1]] = {}
    """Feature -> 1 where the output may only rise with it, -1 where it may only fall."""
    ensemble: Ensemble | Literal[False] = Ensemble()
    """A weighted mean of the best trials' models; false: the best trial's model alone."""
    calibrate: bool = True
    """Calibrate predictions where that lowers the held-out loss."""
