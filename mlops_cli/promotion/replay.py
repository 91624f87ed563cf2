"""Replay: logged requests are scored by another version, before it is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, MlopsError, NotFound
from mlops_cli.events.project_log import reader_for
from mlops_cli.features.program import FeatureProgram
from mlops_cli.metrics.catalog import default_metrics, lookup
from mlops_cli.metrics.costs import cost_matrix
from mlops_cli.promotion.logged_responses import (
    labels_of,
    logged_features,
    read_responses,
    responses_of,
)
from mlops_cli.promotion.replay_report import Replay, ReplayRules
from mlops_cli.promotion.unseen_requests import UnseenRequests
from mlops_cli.registry.select_version import SelectedModel, select_model
from mlops_cli.reporting import Silent
from mlops_cli.serving.scorer import RequestScorer

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from mlops_cli.events.reader import Reader, TimeColumn
    from mlops_cli.layout import Layout
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.params.register import ReplayGate
    from mlops_cli.registry.gates import GateResult
    from mlops_cli.reporting import Progress
    from mlops_cli.serving.batch.scoring import Scoring

__all__ = ["ReplayResult", "gate_of", "remedy", "replay", "replay_gate"]

_PAGE = 20_000
"""Requests that are scored at a time."""


@dataclass(frozen=True)
class ReplayResult:
    """Result of a replay.

    Attributes
    ----------
    report
        See ``promotion.replay_report.Replay.report``; also the versions that responded, and the
        number of requests that couldn't be scored or compared, or that one of both versions was
        trained on.
    gate
        The verdict of the stage's gate, if one was passed.
    """

    version: str
    report: dict[str, Any]
    gate: GateResult | None = None

    def refuse_empty(self) -> None:
        """Raise an error if no request could be compared.

        Raises
        ------
        NotFound
            If no request is left to compare on.
        """
        if self.report["rows"]:
            return
        left_out = self.report["left_out"]
        if not left_out:
            raise NotFound(
                f"the log has no answered request of that time to replay {self.version} on "
                f"(monitor.time: {self.report['time']})",
                "Name another --since or --until; without them, all requests are replayed.",
            )
        main_reason = max(left_out, key=lambda reason: left_out[reason])
        raise NotFound(
            f"none of {sum(left_out.values()):,} requests is left to replay {self.version} on; "
            f"{left_out[main_reason]:,} are left out: {main_reason}",
            "Take later requests, or a version whose data end earlier."
            if self.report["learnt"]
            else "Take a version that can answer what was asked.",
        )


def replay(
    params: Params,
    layout: Layout,
    version_or_stage: str,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    gate: ReplayGate | None = None,
    progress: Progress,
) -> ReplayResult:
    """Score requests from ``since`` to before ``until``; compare with the logged responses.

    Both refer to the time that ``monitor.time`` names.

    Raises
    ------
    NotFound
        If there is no such version, or no event log.
    SourceUnreadable
        If the log can't be read.
    DataRefused
        If the bundle was changed.
    BadParams
        If the gate's metric doesn't fit the task.
    """
    model = select_model(params, layout, version_or_stage, progress)
    scorer = RequestScorer.open(model.folder, layout.root, policies=params.serve.columns)
    run = _ReplayRun(params, layout, model, scorer)
    reader, by = reader_for(layout, "nothing to replay"), params.monitor.by
    try:
        if gate is not None and gate.since is not None and since is None:
            since = _time_before_end(reader, gate.since, by)
        start, end = (None if t is None else t.timestamp() for t in (since, until))
        total = sum(
            m.rows
            for m in reader.count_by_version(start, end, time_column=by)
            if m.role == "answered"
        )
        scored = 0
        for page in reader.predictions(
            start, end, role="answered", time_column=by, page_rows=_PAGE
        ):
            run.add(page, reader)
            scored += page.height
            progress.update("requests", scored, total)
    finally:
        reader.close()
    progress.update("comparing")
    return run.result(gate)


def gate_of(params: Params, stage: str) -> ReplayGate:
    """The replay gate of a stage.

    Raises
    ------
    BadParams
        If the stage has none.
    """
    rule = params.register_.stages.get(stage)
    if rule is None or rule.replay is None:
        raise BadParams(
            f"register.stages.{stage}.replay is not set (params.yaml), so there is nothing to "
            "judge by",
            f"Set it, such as {{metric: {default_metrics(params.task.type)[0]}, margin: 0.01}}.",
        )
    return rule.replay


def replay_gate(
    params: Params, layout: Layout, version_or_stage: str, gate: ReplayGate
) -> GateResult:
    """The gate's verdict on a version; it refuses if there is nothing to compare."""
    from mlops_cli.registry.gates import GateResult

    try:
        verdict = replay(params, layout, version_or_stage, gate=gate, progress=Silent()).gate
    except NotFound as error:
        return GateResult("replay", None, -gate.margin, passed=False, reason=error.message)
    assert verdict is not None  # noqa: S101 - a gate was passed
    return verdict


def remedy(verdict: GateResult, stage: str) -> str:
    """What to do if a gate refuses."""
    if verdict.figure is None:
        return (
            "Wait for labels of requests that neither version has learnt from, take a version "
            f"whose data end earlier, or change register.stages.{stage}.replay."
        )
    return f"Improve the model, or change register.stages.{stage}.replay."


class _ReplayRun:
    """Replay of logged requests with one version."""

    def __init__(
        self, params: Params, layout: Layout, model: SelectedModel, scorer: RequestScorer
    ) -> None:
        self._params, self._layout = params, layout
        self._model, self._scorer = model, scorer
        self._replay = Replay()
        self._feature_names: dict[str, list[str] | None] = {}
        self._row_scoring: Scoring | MlopsError | None = None
        self._rows_by_version: dict[str, int] = {}
        self._left_out: dict[str, int] = {}
        self._unseen = UnseenRequests(params, layout, model)
        self._recomputed = 0

    @property
    def bundle(self) -> Bundle:
        return self._scorer.bundle

    def add(self, page: pl.DataFrame, reader: Reader) -> None:
        """Add a page of the log."""
        for (version,), part in page.partition_by("version", as_dict=True).items():
            self._rows_by_version[version] = self._rows_by_version.get(version, 0) + part.height
            for rows, features in self._features(str(version), part):
                fair = self._unseen.mask(str(version), rows, features)
                self._compare(rows.filter(fair), features.filter(fair), reader)

    def _compare(self, rows: pl.DataFrame, features: pl.DataFrame, reader: Reader) -> None:
        if not rows.height:
            return
        old, comparable = read_responses(self.bundle, rows["output"].to_list())
        self._count_left_out("answers of other classes", len(comparable) - int(comparable.sum()))
        if not comparable.any():
            return
        compared, inputs = rows.filter(comparable), features.filter(comparable)
        new = responses_of(self.bundle, self.bundle.predict(inputs))
        labels = labels_of(self.bundle, compared, reader)
        self._replay.add(compared["id"], inputs, old.filter(comparable), new, labels)

    def result(self, gate: ReplayGate | None) -> ReplayResult:
        """The report, and the gate's verdict."""
        params, bundle = self._params, self.bundle
        task = params.task.type
        costs = cost_matrix(params.task, bundle.labels.classes)
        metrics = params.evaluate.metrics or default_metrics(task)
        features = list(bundle.encoder.kinds)
        settings = ReplayRules(
            task,
            [lookup(name, task, costs) for name in metrics],
            [name for name in params.evaluate.slices if name in features],
            features,
            params.evaluate.slice_rows,
            params.evaluate.resamples,
            params.evaluate.confidence,
            params.project.seed,
            costs,
        )
        report = {
            "version": self._model.label,
            "time": params.monitor.time,
            "answered_by": dict(sorted(self._rows_by_version.items())),
            "features_recomputed": self._recomputed,
            "learnt": self._unseen.exclusion_counts.total(),
            "left_out": dict(sorted({**self._left_out, **self._unseen.exclusion_counts}.items())),
            **self._replay.report(settings),
        }
        verdict = None
        if gate is not None:
            verdict = self._replay.judge(gate, settings, self._unseen.exclusion_counts)
        return ReplayResult(self._model.label, report, verdict)

    def _features(
        self, version: str, part: pl.DataFrame
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Rows of the log with their features, as they were logged or recomputed."""
        if version not in self._feature_names:
            self._feature_names[version] = self._names_of_same_program(version)
        names = self._feature_names[version]
        if names is not None:
            yield (
                part,
                logged_features(self.bundle.encoder.kinds, names, part["features"].to_list()),
            )
            return
        scoring = self._open_scoring()
        if isinstance(scoring, MlopsError):
            self._count_left_out(scoring.message, part.height)
            return
        yield from self._recompute(scoring, part)

    def _names_of_same_program(self, version: str) -> list[str] | None:
        """A version's feature names, if its program has the candidate's rules; else None."""
        import json

        def rules(program: Any) -> Any:
            return {key: program.get(key) for key in ("rules", "sources")}

        if version == self._model.number:
            return list(self.bundle.encoder.kinds)
        try:
            folder = select_model(self._params, self._layout, version).folder
            text = (folder / "program.json").read_text(encoding="utf-8")
        except (MlopsError, OSError):
            return None
        program = json.loads(text)
        return list(program["features"]) if rules(program) == rules(self.bundle.program) else None

    def _open_scoring(self) -> Scoring | MlopsError:
        from pathlib import Path

        from mlops_cli.serving.batch.predict import BatchRequest, choose_scoring

        if self._row_scoring is None:
            try:
                batch = BatchRequest("", Path())
                self._row_scoring, _ = choose_scoring(batch, self._scorer, self._layout)
            except NotFound as error:
                self._row_scoring = error
        return self._row_scoring

    def _recompute(
        self, scoring: Scoring, part: pl.DataFrame
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        import orjson
        import polars as pl

        from mlops_cli.features.windows import PREDICTION_TIME

        requests = pl.DataFrame(
            [orjson.loads(text) for text in part["inputs"].to_list()],
            infer_schema_length=None,
            strict=False,
        )
        inputs = scoring.inputs
        missing = [c for c in inputs.required if c not in requests.columns]
        if missing:
            self._count_left_out(
                f"requests without {missing[0]!r}, which the version needs", part.height
            )
            return
        parsed = scoring.read(requests)
        self._count_left_out(
            "requests that the version can't read", part.height - parsed.frame.height
        )
        if not parsed.frame.height:
            return
        program: FeatureProgram = self._scorer.program
        tables = getattr(scoring, "tables", None)
        if tables is not None:
            features = program.transform(parsed.frame.drop(PREDICTION_TIME, strict=False), tables)
        else:
            features = pl.DataFrame(dict(self._scorer.score(parsed.frame).features))
        self._recomputed += features.height
        yield part[parsed.index], features

    def _count_left_out(self, reason: str, rows: int) -> None:
        if rows:
            self._left_out[reason] = self._left_out.get(reason, 0) + rows


def _time_before_end(reader: Reader, span: str, by: TimeColumn) -> dt.datetime | None:
    import datetime as dt

    from mlops_cli.data.durations import subtract

    last = reader.newest_time(time_column=by)
    return None if last is None else subtract(dt.datetime.fromtimestamp(last, dt.UTC), span)
