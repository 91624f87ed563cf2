"""Compare the workspace's candidate with a registered version on the same test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.data import parquet
from mlops_cli.errors import BadParams, MlopsError, nearest
from mlops_cli.features.hook import load_hook
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import ROW, TARGET, TIME
from mlops_cli.metrics.catalog import lookup
from mlops_cli.metrics.costs import cost_matrix
from mlops_cli.metrics.weighted import row_weights
from mlops_cli.models import bundle as bundles
from mlops_cli.project.dvc_lock import hash_of, lock_at
from mlops_cli.registry.champion_gate import PairedPredictions, judge_paired, too_few
from mlops_cli.registry.gates import GateResult
from mlops_cli.registry.read_training_rows import split_files, training_rows_of_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.catalog import Floats
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.params.register import ChampionGate
    from mlops_cli.registry.training_rows import TrainingRows
    from mlops_cli.registry.versions import Version

__all__ = ["champion_features", "compare_to_champion", "contest", "unseen_rows"]


def compare_to_champion(
    params: Params, layout: Layout, champion_folder: Path, version: Version | None = None
) -> tuple[GateResult, ...]:
    """Check the gate ``register.champion`` against a champion's bundle in a folder.

    Parameters
    ----------
    version
        The champion's version; None: its splits aren't available.

    Raises
    ------
    BadParams
        If the gate names a column that the test split doesn't have.
    DataRefused
        If a bundle was changed.
    """
    gate = params.register_.champion
    if gate is None:
        return ()
    candidate_bundle, champion_bundle = bundles.load(layout.model), bundles.load(champion_folder)
    test = parquet.scan(layout.split("test")).collect()
    for name in gate.slices:
        if name not in test.columns:
            raise BadParams(
                f"register.champion.slices names {name!r}, which the test split doesn't have "
                "(params.yaml)",
                nearest(name, [c for c in test.columns if not c.startswith("_")]),
            )
    if (candidate_bundle.task, candidate_bundle.labels) != (
        champion_bundle.task,
        champion_bundle.labels,
    ):
        reason = f"the champion's task is {champion_bundle.task} over other classes: no comparison"
        return (GateResult("champion", None, -gate.margin, passed=False, reason=reason),)
    try:
        champion_rows = champion_features(champion_bundle, candidate_bundle, test, layout)
        prediction = champion_bundle.predict(champion_rows)
        splits = (lambda: None) if version is None else (lambda: split_files(layout, version))
        training_rows = training_rows_of_bundle(champion_folder, "the champion", splits)
        unseen = unseen_rows(
            training_rows, test, champion_rows, lambda: _same_table(layout, version)
        )
    except MlopsError as error:
        reason = f"the champion cannot score these rows: {error.message}"
        return (GateResult("champion", None, -gate.margin, passed=False, reason=reason),)
    return contest(
        params, gate, candidate_bundle, test, prediction, unseen, training_rows.exclusion_reason
    )


def _same_table(layout: Layout, version: Version | None) -> bool:
    """Whether a version was trained on the workspace's table, so that row numbers agree."""
    name = layout.validated.relative_to(layout.root).as_posix()
    lock = None if version is None else lock_at(layout.root, version.commit)
    version_hash = None if lock is None else lock.output_md5(name)
    return version_hash is not None and version_hash == hash_of(layout.root, name)


def unseen_rows(
    training_rows: TrainingRows,
    test: pl.DataFrame,
    champion_rows: pl.DataFrame,
    same_table: Callable[[], bool] = lambda: False,
) -> pl.Series:
    """Whether each test row is certainly no training row of the champion, (n,).

    Parameters
    ----------
    training_rows
        The champion's training rows.
    test, champion_rows
        The candidate's test rows, and the same rows with the champion's own features.
    same_table
        Returns whether the row numbers of both models refer to the same table.
    """
    import polars as pl

    no_times = pl.Series([None] * test.height, dtype=pl.Datetime("us", "UTC"))
    times = test[TIME] if TIME in test.columns else no_times
    numbers = (lambda: test[ROW] if same_table() else None) if ROW in test.columns else None
    return training_rows.unseen_mask(times, lambda: champion_rows, numbers)


def contest(
    params: Params,
    gate: ChampionGate,
    candidate: Bundle,
    test: pl.DataFrame,
    prediction: Floats,
    unseen: pl.Series,
    reason: str,
) -> tuple[GateResult, ...]:
    """Compare candidate and champion on the test rows that the champion wasn't trained on.

    Parameters
    ----------
    candidate
        The candidate's bundle.
    prediction
        The champion's predictions for the test rows.
    unseen
        Whether each test row is certainly no training row of the champion, (n,).
    reason
        Why the other rows are excluded.
    """
    usable, total = int(unseen.sum()), test.height
    note = f"{total - usable:,} of {total:,} test rows are left out: {reason}"
    if not usable or too_few(usable, total, params.evaluate.slice_rows):
        too_few_reason = f"{usable:,} test rows are left to judge by, which are too few; {note}"
        return (GateResult("champion", None, -gate.margin, passed=False, reason=too_few_reason),)
    if usable == total:
        return _check_gate(params, gate, candidate, test, prediction)
    first, *others = _check_gate(
        params, gate, candidate, test.filter(unseen), prediction[unseen.to_numpy()]
    )
    return (replace(first, reason=f"{first.reason}; {note}"), *others)


def _check_gate(
    params: Params, gate: ChampionGate, candidate: Bundle, test: pl.DataFrame, prediction: Floats
) -> tuple[GateResult, ...]:
    weight = params.evaluate.weight
    return judge_paired(
        gate,
        lookup(gate.metric, candidate.task, cost_matrix(params.task, candidate.labels.classes)),
        PairedPredictions(
            candidate.labels.encode(test[TARGET], "the test split"),
            candidate.predict(test),
            prediction,
            None if weight is None else row_weights(test[weight], weight),
        ),
        {name: test[name] for name in gate.slices},
        min_rows=params.evaluate.slice_rows,
        resamples=params.evaluate.resamples,
        seed=params.project.seed,
    )


def champion_features(
    champion: Bundle, candidate: Bundle, test: pl.DataFrame, layout: Layout
) -> pl.DataFrame:
    """Rows of a split with the champion's own features, recomputed if its rules differ."""
    import polars as pl

    if _rules(champion) == _rules(candidate):
        return test
    content = champion.program
    hook = load_hook(content["rules"].get("hook"), layout.root)
    program = FeatureProgram.from_json(content, hook)
    name = program.rules.base
    scans = {
        s: parquet.scan(layout.validated / f"{s}.parquet") for s in (*program.used_sources, name)
    }
    cleaned = {s: program.clean(s, scans[s]) for s in program.used_sources}
    row_ids = test.select(ROW)
    base = program.replace_values(name, scans[name].with_row_index(ROW))
    rows = base.join(row_ids.lazy(), on=ROW, how="semi").sort(ROW).collect()
    features = rows.select(ROW).hstack(program.transform(rows, cleaned))
    return (
        row_ids.join(features, on=ROW, how="left", maintain_order="left")
        .drop(ROW)
        .cast({pl.Categorical: pl.String})
    )


def _rules(bundle: Bundle) -> object:
    return {key: bundle.program.get(key) for key in ("rules", "sources")}
