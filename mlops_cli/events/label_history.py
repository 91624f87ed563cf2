"""Compare new labels with the stored history of their keys, alike for every database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlops_cli.events.base import CLOCK_STEP, Label

__all__ = ["classify_labels", "keys_to_look_up"]

StoredPredictions = set[Any]
"""Ids of stored predictions, and (entity, moment) of stored predictions."""


def keys_to_look_up(
    labels: Iterable[Label],
) -> tuple[list[str], list[str], list[tuple[str, float]]]:
    """Label keys, prediction ids and (entity, moment) of predictions to query for some labels."""
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
    stored_labels: Iterable[tuple[str, float, str]],
    stored_predictions: StoredPredictions,
    *,
    from_spill: bool,
) -> tuple[list[str], list[Label]]:
    """Classify each label as new, same, changed or unknown; also return the labels to store.

    A label is compared with the last one of its key and ordered after it, even if the clock was
    set back.

    Parameters
    ----------
    stored_labels
        Key, time of receipt and value of the stored labels, in the order of their history.
    stored_predictions
        The stored predictions among those that the labels refer to.
    from_spill
        The labels were spilled, so later ones may be stored already: each is inserted into the
        history at its time of receipt, and only once.
    """
    history: Mapping[str, list[tuple[float, str]]] = defaultdict(list)
    for key, at, value in stored_labels:
        history[key].append((at, value))
    results, to_store = [], []
    for label in labels:
        past = history[label.key]
        position = sum(at <= label.at for at, _ in past) if from_spill else len(past)
        if position and past[position - 1][1] == label.value:
            results.append("same")
            continue
        clock_set_back = past and not from_spill and label.at < past[-1][0]
        at = past[-1][0] + CLOCK_STEP if clock_set_back else label.at
        is_known = (label.prediction or (label.entity, label.moment)) in stored_predictions
        results.append("changed" if past else "new" if is_known else "unknown")
        past.insert(position, (at, label.value))
        to_store.append(label._replace(at=at))
    return results, to_store
