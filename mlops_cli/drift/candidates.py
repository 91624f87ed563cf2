"""What may become a finding, before it is known what else was tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Candidate"]


@dataclass(frozen=True)
class Candidate:
    """What would be a finding, were it significant (by ``p_value``) and ``large``.

    Without a p-value it is one by itself.
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
