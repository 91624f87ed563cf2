"""What a label is to the labels before it, the same for every database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlops_cli.store.events import Label

__all__ = ["judged", "wanted"]

Found = set[Any]
"""Ids of predictions that are there, and their (entity, moment)."""


def wanted(labels: Iterable[Label]) -> tuple[list[str], list[str], list[tuple[str, float]]]:
    """Which keys of labels, ids and (entity, moment) of predictions have to be looked up."""
    keys, ids, moments = set(), set(), set()
    for label in labels:
        keys.add(label.key)
        if label.prediction is not None:
            ids.add(label.prediction)
        elif label.entity is not None and label.moment is not None:
            moments.add((label.entity, label.moment))
    return list(keys), list(ids), list(moments)


def judged(
    labels: Sequence[Label], before: Iterable[tuple[str, float, str]], found: Found
) -> tuple[list[str], list[Label]]:
    """Of each label new, same, changed or unknown; and those to keep.

    A label is compared with the last one of its key that isn't younger than itself: one that comes
    late, because it had to be spilled, finds its place in the history, and only once.

    Parameters
    ----------
    before
        Key, time of receipt and value of what is kept, in the order in which it counts.
    """
    history: Mapping[str, list[tuple[float, str]]] = defaultdict(list)
    for key, at, value in before:
        history[key].append((at, value))
    results, kept = [], []
    for label in labels:
        past = history[label.key]
        place = sum(at <= label.at for at, _ in past)
        if place and past[place - 1][1] == label.value:
            results.append("same")
            continue
        known = (label.prediction or (label.entity, label.moment)) in found
        results.append("changed" if past else "new" if known else "unknown")
        past.insert(place, (label.at, label.value))
        kept.append(label)
    return results, kept
