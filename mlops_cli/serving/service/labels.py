"""Validates labels for the event log, from the feedback endpoint or an import."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.events import MAX_ENTITY_BYTES, Label, entity_key

if TYPE_CHECKING:
    from mlops_cli.serving.service.loaded_model import LoadedModel

__all__ = ["InvalidLabel", "LabelParser"]

_MAX_ID = 100
"""Most characters of a prediction id."""
_MAX_LISTED = 10
"""Classes that an error message lists."""


class InvalidLabel(Exception):
    """A label is invalid; the message completes a sentence that starts with its position."""


@dataclass(frozen=True)
class LabelParser:
    """Parser of the labels for one version's predictions.

    Attributes
    ----------
    served
        The version, with its classes and the types of its columns.
    """

    served: LoadedModel

    @property
    def entity_columns(self) -> tuple[str, ...]:
        """The entity's columns without the time column, which is logged separately."""
        time = self.served.scorer.program.base.time
        return tuple(c for c in self.served.entity_columns if c != time)

    def by_id(self, prediction_id: Any, label: Any, received_at: float) -> Label:
        """The label of a prediction, by its id.

        Raises
        ------
        InvalidLabel
            If the id isn't valid, or the label isn't one of the model's.
        """
        value = self.encode_label(label)
        if not isinstance(prediction_id, str) or not 0 < len(prediction_id) <= _MAX_ID:
            raise InvalidLabel("`id` is not an id that a prediction has")
        return Label(prediction_id, prediction_id, None, None, value, received_at)

    def by_entity(self, entity: Any, moment: float, label: Any, received_at: float) -> Label:
        """The label of an entity at a time in seconds since 1970; see ``by_id``."""
        value = self.encode_label(label)
        return self.entity_label(self._entity(entity), moment, value, received_at)

    def entity_label(self, entity: str, moment: float, value: str, received_at: float) -> Label:
        """The label of an entity, whose parts are in the event log's format already."""
        return Label(entity_key(entity, moment), None, entity, moment, value, received_at)

    def parse_moment(self, text: Any) -> float:
        """Seconds since 1970 of a time as ISO 8601; without a zone it is UTC.

        Raises
        ------
        InvalidLabel
            If it isn't such a time.
        """
        try:
            moment = dt.datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            # In UTC it may be outside of the years 1 to 9999.
            return moment.astimezone(dt.UTC).timestamp()
        except (TypeError, ValueError, OverflowError):
            raise InvalidLabel("`time` is not a moment as ISO 8601") from None

    def encode_label(self, label: Any) -> str:
        """The label as JSON, written like the model's class; see ``by_id``."""
        classes = self.served.scorer.bundle.labels.classes
        if not classes:
            if isinstance(label, bool) or not isinstance(label, (int, float)):
                raise InvalidLabel("it is not a number")
            return orjson.dumps(label).decode()
        for class_ in classes:
            if class_ is label or (type(class_) is type(label) and class_ == label):
                return orjson.dumps(class_).decode()
        names = ", ".join(map(repr, classes[:_MAX_LISTED]))
        raise InvalidLabel(f"it is not one of the model's classes: {names}")

    def _entity(self, entity: Any) -> str:
        columns = self.entity_columns
        if not columns:
            raise InvalidLabel("this model names no entity (serve.entity); give an id")
        if not isinstance(entity, Mapping) or any(c not in entity for c in columns):
            raise InvalidLabel(f"`entity` needs the columns {', '.join(columns)}")
        read = self.served.scorer.inputs.convert_values({c: entity[c] for c in columns})
        if read is None:
            raise InvalidLabel("`entity` has a value of another type than its column")
        text = orjson.dumps(read)
        if len(text) > MAX_ENTITY_BYTES:
            raise InvalidLabel(
                f"`entity` has {len(text):,} bytes, and at most {MAX_ENTITY_BYTES:,} are kept"
            )
        return text.decode()
