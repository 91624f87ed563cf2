"""Candidate findings of drift, before the correction for multiple tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Candidate"]


@dataclass(frozen=True)
class Candidate:
    """A finding, provided that it is significant (by ``p_value``) and ``large``.

    A candidate without a p-value needs no test.
    """

    kind: str
    column: str | None
    statistic: str
    value: float
    threshold: float
    p_value: float | None
    large: bool
    sentence: str
    part: str = "inputs"
    details: Mapping[str, Any] = field(default_factory=dict)
