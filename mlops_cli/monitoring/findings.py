"""What monitoring finds: a kind, what it means, a sentence, and figures beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Means", "MonitoringFinding", "overall_verdict"]

Means = Literal["drift", "degraded", "warning", "note"]
"""drift and degraded are what exit codes, alerts and retraining go by; a warning is for people."""


@dataclass(frozen=True)
class MonitoringFinding:
    """One thing that was found.

    Attributes
    ----------
    kind
        Such as drift, missing, vanished, performance, slice, calibration, skew, latency, age.
    column
        The feature that it is about, if it is about one.
    sentence
        What is wrong, with figures.
    """

    kind: str
    means: Means
    sentence: str
    column: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What makes it the same finding the next time."""
        return f"{self.means}/{self.kind}/{self.column or self.details.get('of', '')}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "kind": self.kind,
            "means": self.means,
            "column": self.column,
            "sentence": self.sentence,
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> MonitoringFinding:
        """From what ``to_json`` gave."""
        return cls(tree["kind"], tree["means"], tree["sentence"], tree["column"], tree["details"])


def overall_verdict(findings: Iterable[MonitoringFinding]) -> tuple[str, ...]:
    """``drift`` and ``degraded``, as far as there is one of each."""
    there = {finding.means for finding in findings}
    return tuple(name for name in ("drift", "degraded") if name in there)
