"""Findings of monitoring: kind, severity, sentence and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["MonitoringFinding", "Severity", "overall_verdict"]

Severity = Literal["drift", "degraded", "warning", "note"]
"""drift and degraded decide exit codes, alerts and retraining; a warning is for people."""


@dataclass(frozen=True)
class MonitoringFinding:
    """One finding of a monitoring run.

    Attributes
    ----------
    kind
        For example drift, missing, vanished, performance, slice, calibration, skew, latency, age.
    column
        The feature, if the finding is about one.
    sentence
        What is wrong, with figures.
    """

    kind: str
    severity: Severity
    sentence: str
    column: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identifier of the finding, the same in later runs."""
        return f"{self.severity}/{self.kind}/{self.column or self.details.get('of', '')}"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "kind": self.kind,
            "means": self.severity,
            "column": self.column,
            "sentence": self.sentence,
            "details": dict(self.details),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> MonitoringFinding:
        """Restore from the result of ``to_json``."""
        return cls(tree["kind"], tree["means"], tree["sentence"], tree["column"], tree["details"])


def overall_verdict(findings: Iterable[MonitoringFinding]) -> tuple[str, ...]:
    """``drift``, ``degraded``, both or none, by the findings' severities."""
    severities = {finding.severity for finding in findings}
    return tuple(name for name in ("drift", "degraded") if name in severities)
