"""Section ``split``: train, validation and test rows."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from mlops_cli.params.base import Duration, Portion, Section

__all__ = ["Split"]


class Split(Section):
    """How rows are split into train, validation and test."""

    strategy: Literal["random", "stratified", "grouped", "time"] = "random"
    validation: Portion = 0.2
    test: Portion = 0.2
    """A share of the rows; with `time` also a duration before the data clock, such as 1mo."""
    group: str | None = None
    """With `grouped`: rows with the same value in this column stay together."""
    gap: Duration | None = None
    """With `time`: rows of this span before validation and before test are left out."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Split:
        if (self.strategy == "grouped") != (self.group is not None):
            msg = "strategy 'grouped' and `group` go together"
            raise ValueError(msg)
        for name in ("validation", "test"):
            share = getattr(self, name)
            if isinstance(share, str) and self.strategy != "time":
                msg = f"{name} is the span {share!r}; strategy {self.strategy!r} takes a share"
                raise ValueError(msg)
        if isinstance(self.validation, float) and isinstance(self.test, float):
            total = self.validation + self.test
            if total >= 1:
                msg = f"validation and test together take {total:g} of the rows; train gets none"
                raise ValueError(msg)
        if self.gap is not None and self.strategy != "time":
            msg = f"gap is only for strategy 'time', not {self.strategy!r}"
            raise ValueError(msg)
        return self
