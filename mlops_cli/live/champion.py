"""The candidate in the workspace against a registered version, on the same test rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.core.champion import judge
from mlops_cli.core.costs import cost_matrix
from mlops_cli.core.gates import GateResult
from mlops_cli.core.program import FeatureProgram
from mlops_cli.core.weighted import row_weights
from mlops_cli.errors import BadParams, DataRefused, MlopsError, nearest
from mlops_cli.layout import ROW, TARGET
from mlops_cli.store import bundle as bundles
from mlops_cli.store import tables
from mlops_cli.store.hooks import load_hook

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from mlops_cli.core.metrics import Floats
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.params.modelling import ChampionGate
    from mlops_cli.store.bundle import Bundle

__all__ = ["against", "as_seen_by", "contest"]


def against(params: Params, layout: Layout, champion: Path) -> tuple[GateResult, ...]:
    """Judge ``register.champion`` with the champion's bundle in a folder.

    Raises
    ------
    BadParams
        If the gate names a column that isn't there.
    DataRefused
        If a bundle is not as it was written.
    """
    gate = params.register_.champion
    if gate is None:
        return ()
    ours, theirs = bundles.load(layout.model), bundles.load(champion)
    test = tables.scan(layout.split("test")).collect()
    for name in gate.slices:
        if name not in test.columns:
            raise BadParams(
                f"register.champion.slices names {name!r}, which the test split doesn't have "
                "(params.yaml)",
                nearest(name, [c for c in test.columns if not c.startswith("_")]),
            )
    if (ours.task, ours.labels) != (theirs.task, theirs.labels):
        reason = f"the champion's task is {theirs.task} over other classes: no comparison"
        return (GateResult("champion", None, -gate.margin, passed=False, reason=reason),)
    try:
        prediction = theirs.predict(as_seen_by(theirs, ours, test, layout))
    except (DataRefused, MlopsError) as error:
        reason = f"the champion cannot score these rows: {error.message}"
        return (GateResult("champion", None, -gate.margin, passed=False, reason=reason),)
    return contest(params, gate, ours, test, prediction)


def contest(
    params: Params, gate: ChampionGate, ours: Bundle, test: pl.DataFrame, prediction: Floats
) -> tuple[GateResult, ...]:
    """Judge the candidate against what the champion predicts of the same test rows."""
    weight = params.evaluate.weight
    return judge(
        gate,
        ours.labels.encode(test[TARGET], "the test split"),
        ours.predict(test),
        prediction,
        {name: test[name] for name in gate.slices},
        task=ours.task,
        least_rows=params.evaluate.slice_rows,
        resamples=params.evaluate.resamples,
        seed=params.project.seed,
        costs=cost_matrix(params.task, ours.labels.classes),
        weights=None if weight is None else row_weights(test[weight], weight),
    )


def as_seen_by(
    champion: Bundle, candidate: Bundle, test: pl.DataFrame, layout: Layout
) -> pl.DataFrame:
    """Rows of a split with the champion's own features, made anew if its rules are others."""
    import polars as pl

    if _rules(champion) == _rules(candidate):
        return test
    content = champion.program
    hook = load_hook(content["rules"].get("hook"), layout.root)
    program = FeatureProgram.from_json(content, hook)
    name = program.rules.base
    scans = {s: tables.scan(layout.valid / f"{s}.parquet") for s in (*program.used_sources, name)}
    cleaned = {s: program.cleaned(s, scans[s]) for s in program.used_sources}
    wanted = test.select(ROW)
    base = program.repaired(name, scans[name].with_row_index(ROW))
    rows = base.join(wanted.lazy(), on=ROW, how="semi").sort(ROW).collect()
    made = rows.select(ROW).hstack(program.transform(rows, cleaned))
    return (
        wanted.join(made, on=ROW, how="left", maintain_order="left")
        .drop(ROW)
        .cast({pl.Categorical: pl.String})
    )


def _rules(bundle: Bundle) -> object:
    return {key: bundle.program.get(key) for key in ("rules", "sources")}
