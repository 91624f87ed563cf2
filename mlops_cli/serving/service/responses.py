"""Turns scored rows into responses, log events and metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from mlops_cli.online.request_rows import ParsedRows

if TYPE_CHECKING:
    from mlops_cli.events import Prediction
    from mlops_cli.serving.scorer import ScoredRows
    from mlops_cli.serving.service.ids import Ids
    from mlops_cli.serving.service.loaded_model import LoadedModel
    from mlops_cli.serving.service.metrics import Metrics
    from mlops_cli.serving.service.routing import RoutedRows
    from mlops_cli.serving.service.versions import Versions

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["ResponseWriter", "as_json"]


class ResponseWriter:
    """Assigns ids to rows, writes their answers as JSON, and counts them.

    Parameters
    ----------
    log_events
        Whether there is an event log, which needs events.
    """

    def __init__(self, versions: Versions, metrics: Metrics, ids: Ids, *, log_events: bool) -> None:
        self._versions = versions
        self._metrics = metrics
        self._ids = ids
        self._log_events = log_events

    def write(self, routed: RoutedRows, started: float) -> tuple[list[str], list[Prediction]]:
        """Answers with ids, and the log events of the responding version and the shadow."""
        served, rows, read, scored = routed.served, routed.rows, routed.parsed, routed.scored
        assert scored is not None  # noqa: S101 - the callers scored it
        answers = [as_json(answer) for answer in served.answers(scored, read)]
        ids = self._ids.next_ids(len(answers))
        events: list[Prediction] = []
        at = time.time()
        spent = (time.perf_counter() - started) * 1e3
        role = self._versions.role(served)
        if self._log_events:
            events = served.events(
                ids, rows, read, scored, answers, received_at=at, milliseconds=spent, role=role
            )
            shadow = self._versions.shadow
            if shadow is not None:
                events += self._shadow_events(shadow, ids, rows, at)
        self._count(served, scored, role)
        for f in read.flagged:
            self._metrics.warnings[f.column, f.kind, f.policy] += int(f.is_flagged.sum())
        # The JSON is written once: for the log, and with the id for the client.
        mark = "" if routed.positions is None else served.row_prefix
        responses = [
            f'{{"id":"{i}",{mark}{answer[1:]}' for i, answer in zip(ids, answers, strict=True)
        ]
        return responses, events

    def _shadow_events(
        self, shadow: LoadedModel, ids: Sequence[str], rows: Rows, received_at: float
    ) -> list[Prediction]:
        """Score rows with the shadow, for its log events; its failures affect no response."""
        started = time.perf_counter()
        try:
            read = shadow.scorer.read(rows)
            scored = shadow.scorer.score(read.frame)
        except Exception:  # noqa: BLE001 - no response depends on the shadow
            self._metrics.rows[shadow.model.number, "shadow-failed"] += len(rows)
            return []
        spent = (time.perf_counter() - started) * 1e3
        shadow_ids = [f"{ids[i]}-shadow" for i in read.index]
        self._count(shadow, scored, "shadow")
        return shadow.events(
            shadow_ids, [rows[i] for i in read.index], read, scored,
            [as_json(answer) for answer in shadow.answers(scored, ParsedRows(read.frame, ()))],
            received_at=received_at, milliseconds=spent, role="shadow",
        )  # fmt: skip

    def _count(self, served: LoadedModel, scored: ScoredRows, role: str) -> None:
        metrics, number = self._metrics, served.model.number
        rows = len(scored.output)
        metrics.rows[number, role] += rows
        metrics.batches.add(rows)
        metrics.drift_gauges.add_batch(served, scored)
        for table, missed in scored.misses.items():
            metrics.misses[table] += missed
        if scored.output.ndim == 1:
            return
        binary = scored.output.shape[1] == 2  # noqa: PLR2004
        if binary:
            metrics.scores[number, served.positive_class].add_all(scored.output[:, 1])
            return
        for code, p in zip(
            scored.output.argmax(axis=1).tolist(), scored.output.max(axis=1).tolist(), strict=True
        ):
            metrics.scores[number, served.class_name(code)].add(p)


def as_json(content: Any) -> str:
    """Serialise plain values as JSON text."""
    return orjson.dumps(content, default=str).decode()
