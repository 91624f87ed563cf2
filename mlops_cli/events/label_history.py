"""What a label is to the labels before it, the same for every database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlops_cli.events.base import Label

__all__ = ["classify_labels", "keys_to_look_up"]

_STEP = 1e-6
"""Seconds between two values of a label where the clock was set back."""
Found = set[Any]
"""Ids of predictions that are there, and their (entity, moment)."""


def keys_to_look_up(
    labels: Iterable[Label],
) -> tuple[list[str], list[str], list[tuple[str, float]]]:
    """Which keys of labels, ids and (entity, moment) of predictions have to be looked up."""
    keys, ids, moments = set(), set(), set()
    for label in labels:
        keys.add(label.key)
        if label.prediction is not None:
            ids.add(label.prediction)
        elif label.entity is not None and label.moment is not None:
            moments.add((label.entity, label.moment))
    return list(keys), list(ids), list(moments)


def classify_labels(
    labels: Sequence[Label],
    before: Iterable[tuple[str, float, str]],
    found: Found,
    *,
    late: bool,
) -> tuple[list[str], list[Label]]:
    """Of each label new, same, changed or unknown; and those to keep.

    A label is compared with the last one of its key, and comes after it, whatever the clock says.

    Parameters
    ----------
    before
        Key, time of receipt and value of what is kept, in the order in which it counts.
    late
        These were spilled, so that others may have overtaken them: each finds its place in the
        history by the time at which it was received, and only once.
    """
    history: Mapping[str, list[tuple[float, str]]] = defaultdict(list)
    for key, at, value in before:
        history[key].append((at, value))
    results, kept = [], []
    for label in labels:
        past = history[label.key]
        place = sum(at <= label.at for at, _ in past) if late else len(past)
        if place and past[place - 1][1] == label.value:
            results.append("same")
            continue
        overtaken = past and not late and label.at < past[-1][0]
        at = past[-1][0] + _STEP if overtaken else label.at
        known = (label.prediction or (label.entity, label.moment)) in found
        results.append("changed" if past else "new" if known else "unknown")
        past.insert(place, (at, label.value))
        kept.append(label._replace(at=at))
    return results, kept
