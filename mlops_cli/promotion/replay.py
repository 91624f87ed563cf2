"""Logged requests answered again by another version, before it is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, MlopsError, NotFound
from mlops_cli.events.open_log import reader_for
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

    from mlops_cli.events.reader import By, Reader
    from mlops_cli.layout import Layout
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.params.modelling import ReplayGate
    from mlops_cli.registry.gates import GateResult
    from mlops_cli.reporting import Progress
    from mlops_cli.serving.batch.scoring import Scoring

__all__ = ["ReplayResult", "gate_of", "remedy", "replay", "replay_gate"]

_PAGE = 20_000
"""Requests that are worked on at a time."""


@dataclass(frozen=True)
class ReplayResult:
    """What came of it.

    Attributes
    ----------
    report
        See ``promotion.replay_report.Replay.report``; with the versions that had answered, and
        requests that could not be scored or compared, or that one of both sides has learnt from.
    gate
        The verdict of the stage's gate, if it was asked for.
    """

    version: str
    report: dict[str, Any]
    gate: GateResult | None = None

    def refuse_empty(self) -> None:
        """Refuse a report about nothing.

        Raises
        ------
        NotFound
            If no request is left to compare on.
        """
        if self.report["rows"]:
            return
        left = self.report["left_out"]
        if not left:
            raise NotFound(
                f"the log has no answered request of that time to replay {self.version} on "
                f"(monitor.time: {self.report['time']})",
                "Name another --since or --until; without them, all requests are replayed.",
            )
        why = max(left, key=lambda reason: left[reason])
        raise NotFound(
            f"none of {sum(left.values()):,} requests is left to replay {self.version} on; "
            f"{left[why]:,} are left out: {why}",
            "Take later requests, or a version whose data end earlier."
            if self.report["learnt"]
            else "Take a version that can answer what was asked.",
        )


def replay(
    params: Params,
    layout: Layout,
    wanted: str,
    *,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    gate: ReplayGate | None = None,
    progress: Progress,
) -> ReplayResult:
    """Score requests from ``since`` to before ``until``, and compare with what was answered.

    Both are of the time that ``monitor.time`` names.

    Raises
    ------
    NotFound
        If there is no such version, or no event log.
    SourceUnreadable
        If the log can't be read.
    DataRefused
        If the bundle isn't as it was written.
    BadParams
        If the gate's metric doesn't fit the task.
    """
    choice = select_model(params, layout, wanted, progress)
    scorer = RequestScorer.open(choice.folder, layout.root, policies=params.serve.columns)
    run = _Run(params, layout, choice, scorer)
    reader, by = reader_for(layout, "nothing to replay"), params.monitor.by
    try:
        if gate is not None and gate.since is not None and since is None:
            since = _from_end(reader, gate.since, by)
        start, end = (None if t is None else t.timestamp() for t in (since, until))
        total = sum(m.rows for m in reader.mix(start, end, by=by) if m.role == "answered")
        done = 0
        for page in reader.predictions(start, end, role="answered", by=by, batch=_PAGE):
            run.add(page, reader)
            done += page.height
            progress.update("requests", done, total)
    finally:
        reader.close()
    progress.update("comparing")
    return run.told(gate)


def gate_of(params: Params, stage: str) -> ReplayGate:
    """The gate of a stage.

    Raises
    ------
    BadParams
        If it has none.
    """
    rule = params.register_.stages.get(stage)
    if rule is None or rule.replay is None:
        raise BadParams(
            f"register.stages.{stage}.replay is not set (params.yaml), so there is nothing to "
            "judge by",
            f"Set it, such as {{metric: {default_metrics(params.task.type)[0]}, margin: 0.01}}.",
        )
    return rule.replay


def replay_gate(params: Params, layout: Layout, wanted: str, gate: ReplayGate) -> GateResult:
    """The gate's verdict on a version; what can't be judged refuses."""
    from mlops_cli.registry.gates import GateResult

    try:
        found = replay(params, layout, wanted, gate=gate, progress=Silent()).gate
    except NotFound as error:
        return GateResult("replay", None, -gate.margin, passed=False, reason=error.message)
    assert found is not None  # noqa: S101 - it was asked for
    return found


def remedy(verdict: GateResult, stage: str) -> str:
    """What to do about a gate that refuses."""
    if verdict.figure is None:
        return (
            "Wait for labels of requests that neither version has learnt from, take a version "
            f"whose data end earlier, or change register.stages.{stage}.replay."
        )
    return f"Improve the model, or change register.stages.{stage}.replay."


class _Run:
    """One version over the log."""

    def __init__(
        self, params: Params, layout: Layout, choice: SelectedModel, scorer: RequestScorer
    ) -> None:
        self._params, self._layout = params, layout
        self._choice, self._scorer = choice, scorer
        self._found = Replay()
        self._programs: dict[str, list[str] | None] = {}
        self._scoring: Scoring | MlopsError | None = None
        self._by: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._unseen = UnseenRequests(params, layout, choice)
        self._recomputed = 0

    @property
    def bundle(self) -> Bundle:
        return self._scorer.bundle

    def add(self, page: pl.DataFrame, reader: Reader) -> None:
        """Take in a page of the log."""
        for (version,), part in page.partition_by("version", as_dict=True).items():
            self._by[version] = self._by.get(version, 0) + part.height
            for rows, features in self._features(str(version), part):
                fair = self._unseen.mask(str(version), rows, features)
                self._compare(rows.filter(fair), features.filter(fair), reader)

    def _compare(self, rows: pl.DataFrame, features: pl.DataFrame, reader: Reader) -> None:
        if not rows.height:
            return
        old, good = read_responses(self.bundle, rows["output"].to_list())
        self._leave("answers of other classes", len(good) - int(good.sum()))
        if not good.any():
            return
        kept, seen = rows.filter(good), features.filter(good)
        new = responses_of(self.bundle, self.bundle.predict(seen))
        labels = labels_of(self.bundle, kept, reader)
        self._found.add(kept["id"], seen, old.where(good), new, labels)

    def told(self, gate: ReplayGate | None) -> ReplayResult:
        """The report, and the gate's verdict."""
        params, bundle = self._params, self.bundle
        task = params.task.type
        costs = cost_matrix(params.task, bundle.labels.classes)
        names = params.evaluate.metrics or default_metrics(task)
        features = list(bundle.encoder.kinds)
        judging = ReplayRules(
            task,
            [lookup(name, task, costs) for name in names],
            [name for name in params.evaluate.slices if name in features],
            features,
            params.evaluate.slice_rows,
            params.evaluate.resamples,
            params.evaluate.confidence,
            params.project.seed,
            costs,
        )
        report = {
            "version": self._choice.label,
            "time": params.monitor.time,
            "answered_by": dict(sorted(self._by.items())),
            "features_made_anew": self._recomputed,
            "learnt": self._unseen.left_out.total(),
            "left_out": dict(sorted({**self._left, **self._unseen.left_out}.items())),
            **self._found.report(judging),
        }
        verdict = None
        if gate is not None:
            verdict = self._found.judged(gate, judging, self._unseen.left_out)
        return ReplayResult(self._choice.label, report, verdict)

    def _features(
        self, version: str, part: pl.DataFrame
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Rows of the log with their features: as they were logged, or made anew."""
        if version not in self._programs:
            self._programs[version] = self._same_program(version)
        names = self._programs[version]
        if names is not None:
            yield (
                part,
                logged_features(self.bundle.encoder.kinds, names, part["features"].to_list()),
            )
            return
        scoring = self._way()
        if isinstance(scoring, MlopsError):
            self._leave(scoring.message, part.height)
            return
        yield from self._made(scoring, part)

    def _same_program(self, version: str) -> list[str] | None:
        """The names of a version's features, if its rules are those of the candidate."""
        import json

        def rules(program: Any) -> Any:
            return {key: program.get(key) for key in ("rules", "sources")}

        if version == self._choice.number:
            return list(self.bundle.encoder.kinds)
        try:
            folder = select_model(self._params, self._layout, version).folder
            text = (folder / "program.json").read_text(encoding="utf-8")
        except (MlopsError, OSError):
            return None
        program = json.loads(text)
        return list(program["features"]) if rules(program) == rules(self.bundle.program) else None

    def _way(self) -> Scoring | MlopsError:
        from pathlib import Path

        from mlops_cli.serving.batch.predict import BatchRequest, choose_scoring

        if self._scoring is None:
            try:
                batch = BatchRequest("", Path())
                self._scoring, _ = choose_scoring(batch, self._scorer, self._layout)
            except NotFound as error:
                self._scoring = error
        return self._scoring

    def _made(
        self, scoring: Scoring, part: pl.DataFrame
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        import orjson
        import polars as pl

        from mlops_cli.features.windows import AT

        given = pl.DataFrame(
            [orjson.loads(text) for text in part["inputs"].to_list()],
            infer_schema_length=None,
            strict=False,
        )
        inputs = scoring.inputs
        lacking = [c for c in inputs.needed if c not in given.columns]
        if lacking:
            self._leave(f"requests without {lacking[0]!r}, which the version needs", part.height)
            return
        read = scoring.read(given)
        self._leave("requests that the version can't read", part.height - read.frame.height)
        if not read.frame.height:
            return
        program: FeatureProgram = self._scorer.program
        tables = getattr(scoring, "tables", None)
        if tables is not None:
            features = program.transform(read.frame.drop(AT, strict=False), tables)
        else:
            features = pl.DataFrame(dict(self._scorer.score(read.frame).features))
        self._recomputed += features.height
        yield part[read.index], features

    def _leave(self, why: str, rows: int) -> None:
        if rows:
            self._left[why] = self._left.get(why, 0) + rows


def _from_end(reader: Reader, span: str, by: By) -> dt.datetime | None:
    import datetime as dt

    from mlops_cli.data.durations import subtract

    last = reader.newest(by=by)
    return None if last is None else subtract(dt.datetime.fromtimestamp(last, dt.UTC), span)
