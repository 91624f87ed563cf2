"""The feedback endpoint: labels of earlier predictions, into the event log."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import MlopsError
from mlops_cli.events import Label, RefusedEvents
from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.service.labels import InvalidLabel, LabelParser

if TYPE_CHECKING:
    from mlops_cli.events.writer import EventLog
    from mlops_cli.params.serve import Limits
    from mlops_cli.serving.service.loaded_model import LoadedModel

__all__ = ["handle_feedback"]


async def handle_feedback(
    content: Any, event_log: EventLog | None, served: LoadedModel, limits: Limits
) -> list[str]:
    """Store labels; returns a result for each: new, same, changed or unknown.

    Raises
    ------
    Problem
        404 without a log, 413 for too many labels, 422 for a label that is invalid or refused by
        the database, 503 if the log is full, 504 if it takes too long.
    """
    if event_log is None:
        raise Problem(404, "this service keeps no log, so it takes no labels")
    if isinstance(content, dict) and "labels" in content:
        content = content["labels"]
    elif isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not content:
        raise Problem(
            422, "`labels` is a list of objects with `id` (or `entity`, `time`) and `label`"
        )
    if len(content) > limits.rows:
        raise Problem(413, f"there are {len(content)} labels, and at most {limits.rows} are taken")
    at = time.time()
    parser = LabelParser(served)
    labels = [_label(label, number, parser, at) for number, label in enumerate(content)]
    try:
        async with asyncio.timeout(limits.seconds):
            results = await asyncio.wrap_future(event_log.append_labels(labels))
    except RefusedEvents:
        raise Problem(422, "a label can't be kept: the database refuses its value") from None
    except TimeoutError:
        raise Problem(504, f"the labels were not kept in {limits.seconds:g} s") from None
    except MlopsError:
        raise Problem(503, "the event log is full", {"retry-after": "5"}) from None
    return results


def _label(content: Any, number: int, parser: LabelParser, received_at: float) -> Label:
    if not isinstance(content, dict) or "label" not in content:
        raise Problem(422, f"label {number}: it is not an object with `label`")
    try:
        if "id" in content:
            return parser.by_id(content["id"], content["label"], received_at)
        moment = parser.parse_moment(content.get("time", ""))
        return parser.by_entity(content.get("entity"), moment, content["label"], received_at)
    except InvalidLabel as error:
        raise Problem(422, f"label {number}: {error}") from None
