"""Labels from outside: what really happened to what was predicted."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.errors import MlopsError
from mlops_cli.live.service.bodies import json_of
from mlops_cli.live.service.http import Problem
from mlops_cli.store.events import Label, Unkeepable

if TYPE_CHECKING:
    from mlops_cli.live.service.served import Served
    from mlops_cli.params.serving import Limits
    from mlops_cli.store.events.writer import EventLog

__all__ = ["taken"]


async def taken(body: bytes, log: EventLog | None, served: Served, limits: Limits) -> list[str]:
    """Keep labels, and say of each what became of it: new, same, changed or unknown.

    Raises
    ------
    Problem
        404 without a log, 422 for a label that can't be understood.
    """
    if log is None:
        raise Problem(404, "this service keeps no log, so it takes no labels")
    content = json_of(body)
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
    labels = [_label(one, number, served, at) for number, one in enumerate(content)]
    try:
        async with asyncio.timeout(limits.seconds):
            results = await asyncio.wrap_future(log.take(labels))
    except Unkeepable:
        raise Problem(422, "a label can't be kept: the database refuses its value") from None
    except TimeoutError:
        raise Problem(504, f"the labels were not kept in {limits.seconds:g} s") from None
    except MlopsError:
        raise Problem(503, "the event log is full", {"retry-after": "5"}) from None
    return results


def _label(content: Any, number: int, served: Served, at: float) -> Label:
    if not isinstance(content, dict) or "label" not in content:
        raise Problem(422, f"label {number} is not an object with `label`")
    value = _value(content["label"], number, served)
    if "id" in content:
        if not isinstance(content["id"], str) or not 0 < len(content["id"]) <= 100:  # noqa: PLR2004
            raise Problem(422, f"label {number}: `id` is not an id that a prediction has")
        return Label(key=content["id"], prediction=content["id"], entity=None, moment=None,
                     value=value, at=at)  # fmt: skip
    entity, moment = _entity(content, number, served), _moment(content, number)
    return Label(key=f"{entity}|{moment!r}", prediction=None, entity=entity, moment=moment,
                 value=value, at=at)  # fmt: skip


def _value(label: Any, number: int, served: Served) -> str:
    """The label as the model's classes have it."""
    classes = served.scorer.bundle.labels.classes
    if not classes:
        if isinstance(label, bool) or not isinstance(label, (int, float)):
            raise Problem(422, f"label {number} is not a number")
        return orjson.dumps(label).decode()
    for known in classes:
        if known is label or (type(known) is type(label) and known == label):
            return orjson.dumps(known).decode()
    shown = ", ".join(map(repr, classes[:10]))
    raise Problem(422, f"label {number} is not one of the model's classes: {shown}")


def _entity(content: dict[str, Any], number: int, served: Served) -> str:
    wanted = [c for c in served.entity if c != served.scorer.program.base.time]
    given = content.get("entity")
    if not wanted:
        raise Problem(422, f"label {number}: this model names no entity (serve.entity); give an id")
    if not isinstance(given, dict) or any(c not in given for c in wanted):
        raise Problem(422, f"label {number}: `entity` needs the columns {', '.join(wanted)}")
    read = served.scorer.inputs.values({c: given[c] for c in wanted})
    if read is None:
        raise Problem(422, f"label {number}: `entity` has a value of another type than its column")
    return orjson.dumps(read).decode()


def _moment(content: dict[str, Any], number: int) -> float:
    try:
        moment = dt.datetime.fromisoformat(content.get("time", ""))
    except (TypeError, ValueError):
        raise Problem(422, f"label {number}: `time` is not a moment as ISO 8601") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
