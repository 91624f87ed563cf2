"""A label as the event log keeps it, whoever brings it: the service or an import."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.events import LONGEST_ENTITY, Label, entity_key

if TYPE_CHECKING:
    from mlops_cli.serving.service.loaded_model import LoadedModel

__all__ = ["InvalidLabel", "LabelParser"]

_ID = 100
"""Characters of the longest id."""
_SHOWN = 10


class InvalidLabel(Exception):
    """Why a label can't be understood, as the rest of a sentence that begins with its place."""


@dataclass(frozen=True)
class LabelParser:
    """What a version's labels look like.

    Attributes
    ----------
    served
        The version: its classes, and how its columns are read.
    """

    served: LoadedModel

    @property
    def columns(self) -> tuple[str, ...]:
        """The entity's columns without the time, which is kept beside them."""
        time = self.served.scorer.program.base.time
        return tuple(c for c in self.served.entity if c != time)

    def by_id(self, given: Any, label: Any, at: float) -> Label:
        """A label of a prediction.

        Raises
        ------
        Unfit
            If the id can be none, or the label is none of the model's.
        """
        value = self.value(label)
        if not isinstance(given, str) or not 0 < len(given) <= _ID:
            raise InvalidLabel("`id` is not an id that a prediction has")
        return Label(given, given, None, None, value, at)

    def by_entity(self, given: Any, moment: float, label: Any, at: float) -> Label:
        """A label of an entity at a moment, in seconds since 1970; see ``by_id``."""
        value = self.value(label)
        return self.labelled(self._entity(given), moment, value, at)

    def labelled(self, entity: str, moment: float, value: str, at: float) -> Label:
        """The same of parts that are as the log has them."""
        return Label(entity_key(entity, moment), None, entity, moment, value, at)

    def moment(self, given: Any) -> float:
        """Seconds since 1970 of ISO 8601 text; without a zone it is UTC.

        Raises
        ------
        Unfit
            If it isn't one.
        """
        try:
            moment = dt.datetime.fromisoformat(given)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            # In another zone it may lie outside of the years 1 to 9999.
            return moment.astimezone(dt.UTC).timestamp()
        except (TypeError, ValueError, OverflowError):
            raise InvalidLabel("`time` is not a moment as ISO 8601") from None

    def value(self, label: Any) -> str:
        """The label as JSON, as the model's classes have it; see ``by_id``."""
        classes = self.served.scorer.bundle.labels.classes
        if not classes:
            if isinstance(label, bool) or not isinstance(label, (int, float)):
                raise InvalidLabel("it is not a number")
            return orjson.dumps(label).decode()
        for known in classes:
            if known is label or (type(known) is type(label) and known == label):
                return orjson.dumps(known).decode()
        shown = ", ".join(map(repr, classes[:_SHOWN]))
        raise InvalidLabel(f"it is not one of the model's classes: {shown}")

    def _entity(self, given: Any) -> str:
        wanted = self.columns
        if not wanted:
            raise InvalidLabel("this model names no entity (serve.entity); give an id")
        if not isinstance(given, Mapping) or any(c not in given for c in wanted):
            raise InvalidLabel(f"`entity` needs the columns {', '.join(wanted)}")
        read = self.served.scorer.inputs.values({c: given[c] for c in wanted})
        if read is None:
            raise InvalidLabel("`entity` has a value of another type than its column")
        text = orjson.dumps(read)
        if len(text) > LONGEST_ENTITY:
            raise InvalidLabel(
                f"`entity` has {len(text):,} bytes, and at most {LONGEST_ENTITY:,} are kept"
            )
        return text.decode()
