"""A loaded model version: turns rows into responses and log events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from mlops_cli.data.atomic_files import read_json
from mlops_cli.data.untrusted import refuse_malformed
from mlops_cli.events import MAX_ENTITY_BYTES, Prediction
from mlops_cli.features.windows import PREDICTION_TIME
from mlops_cli.online.request_rows import ParsedRows, RequestRows, RowError, shorten_value
from mlops_cli.serving.scorer import RequestScorer

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

    from mlops_cli.online.store.cache import Lookups
    from mlops_cli.params.serve import Serve
    from mlops_cli.serving.scorer import ScoredRows
    from mlops_cli.serving.service.settings import Model

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["LoadedModel", "default_entity"]

_MICROSECOND = 1e-6
"""In seconds."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded version, and the columns that identify an entity."""

    model: Model
    scorer: RequestScorer
    entity_columns: tuple[str, ...]

    @classmethod
    def open(cls, model: Model, root: Path, lookups: Lookups | None, serve: Serve) -> LoadedModel:
        """Verify, load and warm up a bundle; see ``RequestScorer.open`` for what it raises."""
        with refuse_malformed(f"the model bundle in {model.folder}", "Serve another version."):
            entity = serve.entity or default_entity(model.folder)
            schema = read_json(model.folder / "schema.json")
            time = schema["sources"][schema["base"]]["time"]
            carried = [*entity, *([time] if time else [])]
            scorer = RequestScorer.open(model.folder, root, lookups, carried, serve.columns)
            served = cls(model, scorer, entity)
            if served.example is not None:
                # Warm-up: the first query of a process takes longer than a thousand later ones.
                for _ in range(3):
                    read = scorer.read([served.example] * 2)
                    if read.frame.height:
                        scorer.score(read.frame)
        return served

    @property
    def example(self) -> dict[str, Any] | None:
        """A synthetic row that a client could send; None if the bundle has none."""
        row = self.scorer.bundle.program.get("example")
        return dict(row) if row else None

    def answers(self, scored: ScoredRows, parsed: ParsedRows) -> list[dict[str, Any]]:
        """The answer to each parsed row, without its id."""
        answers = self._outputs(scored.output)
        for w in parsed.warnings:
            warning = {"column": w.column, "value": w.value, "message": w.message}
            warning |= {"kind": w.kind, "policy": w.policy}
            answers[w.row].setdefault("warnings", []).append(warning)
        for row, count in parsed.count_unlisted_warnings().items():
            answers[row]["more_warnings"] = count
        return answers

    def _outputs(self, output: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
        bundle = self.scorer.bundle
        if output.ndim == 1:
            return [{"prediction": value} for value in output.tolist()]
        classes, names = bundle.labels.classes, bundle.labels.names
        best = output.argmax(axis=1).tolist()
        answers = [
            {"prediction": classes[code], "probabilities": dict(zip(names, row, strict=True))}
            for code, row in zip(best, output.tolist(), strict=True)
        ]
        if bundle.threshold is not None:
            for answer, code in zip(answers, bundle.decide(output).tolist(), strict=True):
                answer["decision"] = classes[code]
        return answers

    @cached_property
    def response_prefix(self) -> str:
        """Start of each response: name, version and threshold of the model, as JSON."""
        content: dict[str, Any] = {"model": self.model.name, "version": self.model.number}
        threshold = self.scorer.bundle.threshold
        if threshold is not None:
            content["threshold"] = threshold
        return orjson.dumps(content).decode()[:-1]

    @cached_property
    def row_prefix(self) -> str:
        """Version and threshold as JSON, for each prediction where several versions respond."""
        return self.response_prefix.partition(",")[2] + ","

    def routing_keys(self, rows: Rows | pl.DataFrame) -> list[str]:
        """A text for each raw row that is equal for equal entities, however values are written.

        It is the text of the whole row where the entity's columns are missing or have invalid
        values.
        """
        columns = self.scorer.inputs.columns
        reader = RequestRows(columns, (), tuple(c for c in self._key_columns if c in columns))
        listed = isinstance(rows, list)
        read = reader.parse(rows) if listed else reader.parse_frame(rows)  # type: ignore[arg-type]
        keys = zip(read.index, read.frame.iter_rows(), strict=True) if reader.optional else ()
        named = {i: repr(key) for i, key in keys if any(v is not None for v in key)}
        if len(named) == len(rows):
            return list(named.values())
        raw = rows if listed else rows.to_dicts()  # type: ignore[union-attr]
        return [named.get(i) or repr(sorted(row.items())) for i, row in enumerate(raw)]

    def explanations(
        self, scored: ScoredRows, before_chunk: Callable[[], None], max_features: int = 10
    ) -> list[list[dict[str, Any]]]:
        """The largest contributions to each row, with values; see ``RequestScorer.explain``."""
        contributions = self.scorer.explain(scored, before_chunk)
        names = list(scored.features)
        order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :max_features]
        return [
            [
                {
                    "feature": names[j],
                    "value": scored.features[names[j]][i],
                    "contribution": round(float(contributions[i, j]), 6),
                }
                for j in places.tolist()
                if contributions[i, j]
            ]
            for i, places in enumerate(order)
        ]

    def entities(self, frame: pl.DataFrame) -> list[str | None]:
        """Each row's entity as JSON; None where its columns are missing."""
        columns = [frame.get_column(c).to_list() for c in self._key_columns if c in frame.columns]
        if not self._key_columns or len(columns) < len(self._key_columns):
            return [None] * frame.height
        return [orjson.dumps(values).decode() for values in zip(*columns, strict=True)]

    def refuse_long_entities(self, parsed: ParsedRows) -> ParsedRows:
        """Refuse rows whose entity is longer than the event log can store."""
        import polars as pl

        frame = parsed.frame
        columns = [frame.get_column(c) for c in self._key_columns if c in frame.columns]
        longest = sum(
            max(map(len, filter(None, column.to_list())), default=0)
            for column in columns
            if column.dtype == pl.String
        )
        # An upper bound: an escaped character takes up to six bytes; 40 more for each column cover
        # numbers, quotes and commas.
        if 6 * longest + 40 * len(columns) <= MAX_ENTITY_BYTES:
            return parsed
        lengths = [len(entity.encode()) if entity else 0 for entity in self.entities(frame)]
        names = ", ".join(self._key_columns)
        errors = [
            RowError(
                row, names, None, f"an entity of {length:,} bytes; {MAX_ENTITY_BYTES:,} are kept"
            )
            for row, length in zip(parsed.index, lengths, strict=True)
            if length > MAX_ENTITY_BYTES
        ]
        return parsed.keep_valid(
            pl.Series([length <= MAX_ENTITY_BYTES for length in lengths]), errors
        )

    def event_times(self, frame: pl.DataFrame) -> list[float | None]:
        """Event time of each row in seconds since 1970, or else its prediction time."""
        import polars as pl

        time = self.scorer.program.base.time
        for column in (time, PREDICTION_TIME):
            if column is not None and column in frame.columns:
                values = frame.get_column(column).cast(pl.Datetime("us")).cast(pl.Int64).to_list()
                return [None if v is None else v * _MICROSECOND for v in values]
        return [None] * frame.height

    def events(
        self,
        ids: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        parsed: ParsedRows,
        scored: ScoredRows,
        answers: Sequence[str],
        *,
        received_at: float,
        milliseconds: float,
        role: str,
    ) -> list[Prediction]:
        """Log events of scored rows; ``rows`` are the raw rows that were parsed without error."""
        features = zip(*scored.features.values(), strict=True)
        count = len(ids)
        columns = (
            ids, [received_at] * count, self.event_times(parsed.frame), [self.model.number] * count,
            [role] * count, self.entities(parsed.frame), map(_row_json, rows),
            [orjson.dumps(values, default=str).decode() for values in features], answers,
            [milliseconds] * count,
        )  # fmt: skip
        return list(starmap(Prediction, zip(*columns, strict=True)))

    @property
    def positive_class(self) -> str:
        """The name of a binary model's positive class."""
        return self.scorer.bundle.labels.names[1]

    def class_name(self, code: int) -> str:
        """The name of a class in JSON and metrics."""
        return self.scorer.bundle.labels.names[code]

    @cached_property
    def _key_columns(self) -> tuple[str, ...]:
        """The entity's columns without the time column, which is logged separately."""
        return tuple(c for c in self.entity_columns if c != self.scorer.program.base.time)


def _row_json(row: Mapping[str, Any]) -> str:
    """A raw row as JSON for the log, with values as text if JSON can't express one."""
    try:
        return orjson.dumps(row, default=str).decode()
    except TypeError:
        # Integers of a table beyond 64 bits, and deeply nested values.
        return orjson.dumps({c: shorten_value(v) for c, v in row.items()}).decode()


def default_entity(folder: Path) -> tuple[str, ...]:
    """The columns that are unique in the base source, from the bundle's schema."""
    schema = read_json(folder / "schema.json")
    unique = schema["sources"][schema["base"]]["rules"].get("unique")
    return tuple(unique["value"]) if unique else ()
