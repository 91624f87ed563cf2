"""Section ``feedback``: labels from the base source."""

from __future__ import annotations

from mlops_cli.params.base import Duration, Section

__all__ = ["Feedback"]


class Feedback(Section):
    """Labels that arrive later."""

    delay: Duration | None = None
    """How long a label arrives after the ``known_at`` of its values."""
