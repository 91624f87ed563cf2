"""Features, responses and labels of logged requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.promotion.replay_report import LoggedResponses

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.events.reader import Reader
    from mlops_cli.models.bundle import Bundle

__all__ = ["labels_of", "logged_features", "read_responses", "responses_of"]


def logged_features(kinds: Mapping[str, str], names: list[str], texts: list[str]) -> pl.DataFrame:
    """Logged features as a table, in the types that the encoder reads.

    Parameters
    ----------
    kinds
        Feature -> kind, in the order of the table.
    names
        Features in the order of the logged values.
    texts
        A JSON list of values for each request.
    """
    import orjson
    import polars as pl

    types = {"number": pl.Float64(), "boolean": pl.Boolean()}
    rows = [orjson.loads(text) for text in texts]
    schema = {name: types.get(kinds[name], pl.String()) for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False).select(list(kinds))


def read_responses(bundle: Bundle, texts: list[str]) -> tuple[LoggedResponses, Any]:
    """The logged responses, and a mask (n,) of those that can be compared."""
    import orjson

    outputs = [orjson.loads(text) for text in texts]
    classes = bundle.labels.classes
    if not classes:
        values = [output.get("prediction") for output in outputs]
        valid = np.array([isinstance(v, (int, float)) for v in values], dtype=bool)
        return LoggedResponses(
            np.array([v if is_valid else np.nan for v, is_valid in zip(values, valid, strict=True)])
        ), valid
    names = bundle.labels.names
    probabilities = [output.get("probabilities") or {} for output in outputs]
    valid = np.array([p.keys() == set(names) for p in probabilities], dtype=bool)
    matrix = np.array([[p.get(name, np.nan) for name in names] for p in probabilities])
    codes = {name: code for code, name in enumerate(classes)}
    decisions = [
        codes.get(output.get("decision", output.get("prediction")), -1) for output in outputs
    ]
    return LoggedResponses(
        matrix.reshape(len(outputs), len(names)), np.array(decisions, dtype=np.intp)
    ), valid


def responses_of(bundle: Bundle, output: Any) -> LoggedResponses:
    """A model's predictions, with the decisions made from them."""
    return (
        LoggedResponses(output)
        if output.ndim == 1
        else LoggedResponses(output, bundle.decide(output))
    )


def labels_of(bundle: Bundle, rows: pl.DataFrame, reader: Reader) -> pl.Series:
    """The last label of each request, by its id or its entity and moment; null if there is none."""
    import orjson
    import polars as pl

    from mlops_cli.events import entity_key

    # Computed as the event log does it (microseconds times 1e-6), so that the keys are equal.
    moments = [None if m is None else m * 1e-6 for m in rows["moment"].dt.epoch("us").to_list()]
    entity_keys = [
        None if entity is None or moment is None else entity_key(entity, moment)
        for entity, moment in zip(rows["entity"].to_list(), moments, strict=True)
    ]
    ids = rows["id"].to_list()
    labels = reader.last_labels([*ids, *dict.fromkeys(a for a in entity_keys if a is not None)])
    latest = {
        key: (time, value) for key, value, time in labels.select("key", "value", "at").iter_rows()
    }
    codes = {c: i for i, c in enumerate(bundle.labels.classes)}
    values: list[Any] = []
    for id_, entity_and_moment in zip(ids, entity_keys, strict=True):
        candidates = [latest[key] for key in (id_, entity_and_moment) if key in latest]
        value = orjson.loads(max(candidates)[1]) if candidates else None
        values.append(codes.get(value) if codes and value is not None else value)
    return pl.Series(values, dtype=pl.Int64() if codes else pl.Float64(), strict=False)
