"""What the event log has of a request: its features, the answer, and the label that came."""

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
    """Features as the log has them, in the types that an encoder reads."""
    import orjson
    import polars as pl

    types = {"number": pl.Float64(), "boolean": pl.Boolean()}
    rows = [orjson.loads(text) for text in texts]
    schema = {name: types.get(kinds[name], pl.String()) for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False).select(list(kinds))


def read_responses(bundle: Bundle, texts: list[str]) -> tuple[LoggedResponses, Any]:
    """What was answered, and which of it can be compared."""
    import orjson

    told = [orjson.loads(text) for text in texts]
    classes = bundle.labels.classes
    if not classes:
        values = [t.get("prediction") for t in told]
        good = np.array([isinstance(v, (int, float)) for v in values], dtype=bool)
        return LoggedResponses(
            np.array([v if g else np.nan for v, g in zip(values, good, strict=True)])
        ), good
    names = bundle.labels.names
    probabilities = [t.get("probabilities") or {} for t in told]
    good = np.array([p.keys() == set(names) for p in probabilities], dtype=bool)
    matrix = np.array([[p.get(name, np.nan) for name in names] for p in probabilities])
    codes = {name: code for code, name in enumerate(classes)}
    decided = [codes.get(t.get("decision", t.get("prediction")), -1) for t in told]
    return LoggedResponses(
        matrix.reshape(len(told), len(names)), np.array(decided, dtype=np.intp)
    ), good


def responses_of(bundle: Bundle, output: Any) -> LoggedResponses:
    """A model's output, with what is decided by it."""
    return (
        LoggedResponses(output)
        if output.ndim == 1
        else LoggedResponses(output, bundle.decide(output))
    )


def labels_of(bundle: Bundle, rows: pl.DataFrame, reader: Reader) -> pl.Series:
    """The last label of each request, by its id or its entity and moment; null: none yet."""
    import orjson
    import polars as pl

    from mlops_cli.events import entity_key

    # As the service makes them: microseconds times this, see Labelling.
    moments = [None if m is None else m * 1e-6 for m in rows["moment"].dt.epoch("us").to_list()]
    abouts = [
        None if entity is None or moment is None else entity_key(entity, moment)
        for entity, moment in zip(rows["entity"].to_list(), moments, strict=True)
    ]
    ids = rows["id"].to_list()
    found = reader.labelled([*ids, *dict.fromkeys(a for a in abouts if a is not None)])
    last = {key: (at, value) for key, value, at in found.select("key", "value", "at").iter_rows()}
    codes = {c: i for i, c in enumerate(bundle.labels.classes)}
    values: list[Any] = []
    for id_, about in zip(ids, abouts, strict=True):
        given = [last[key] for key in (id_, about) if key in last]
        value = orjson.loads(max(given)[1]) if given else None
        values.append(codes.get(value) if codes and value is not None else value)
    return pl.Series(values, dtype=pl.Int64() if codes else pl.Float64(), strict=False)
