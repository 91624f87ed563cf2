"""Events as rows of a table."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from mlops_cli.store.events import Label, Prediction

__all__ = ["label_row", "prediction_row"]

_HEAD = attrgetter("id", "at", "moment", "version", "role", "entity")


def prediction_row(p: Prediction) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return (
        *_HEAD(p),
        p.inputs.decode(),
        p.features.decode(),
        p.output.decode(),
        p.milliseconds,
    )


def label_row(label: Label) -> tuple[Any, ...]:
    """In the order of the table's columns, without its number."""
    return (
        label.key,
        label.prediction,
        label.entity,
        label.moment,
        label.value.decode(),
        label.at,
    )
