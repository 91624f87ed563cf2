"""Ablation study: how much the model loses without each source of features, or each feature.

A paired comparison: all models are fitted on the same rows, and compared on the same resamples of
the test rows. Redundant features are each worth little; a source removes them together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import Usage
from mlops_cli.evaluation.studies.base import StudyResult, format_cell
from mlops_cli.evaluation.studies.latency import measure_lookups, measure_scoring
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.evaluation.studies.base import StudyContext
    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.metrics.bootstrap import Interval
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.reporting import Progress

__all__ = ["ablation", "sources"]

BASE = "(base)"
"""Name of the group of features that need no join and no window."""


def ablation(case: StudyContext, progress: Progress) -> StudyResult:
    """Refit without each group of features, and compare with the model of all features."""
    if case.options.by not in ("source", "feature"):
        raise Usage(f"--by is {case.options.by!r}", "Give source or feature.")
    program = _load_program(case.bundle) if case.options.by == "source" else None
    groups = _groups(case, program)
    frame = case.sample_rows(case.training_rows, case.options.max_rows)
    models = _fit_models(case, frame, groups, progress)
    progress.update("comparing")
    comparison = case.compare({name: model.predict(case.test) for name, model in models.items()})
    progress.update("measuring times")
    scoring_ms = measure_scoring(models, case.test.head(1))
    lookup_ms = {} if program is None else measure_lookups(program, case.layout, case.test)
    metric = case.metric.name
    full = comparison.figures["all"].get(metric)
    worth = {name: comparison.gains[f"without {name}"].get(metric) for name in groups}
    report = {
        "metric": metric,
        "by": case.options.by,
        "fitted_on": len(frame),
        "judged_on": len(case.test),
        "all": None if full is None else full.to_json(),
        "groups": _rank_groups(groups, worth),
    }
    saved_ms = {name: scoring_ms["all"] - scoring_ms[f"without {name}"] for name in groups}
    return StudyResult(
        report,
        Summary(
            headline=f"{metric} {format_cell(full)} with all features; "
            f"{scoring_ms['all']:.3f} ms to score a row",
            tables=(_table(report, worth, saved_ms, lookup_ms),),
            facts=report
            | {
                "milliseconds": {
                    "scoring": scoring_ms["all"],
                    "scoring_saved": saved_ms,
                    "look_up": lookup_ms,
                }
            },
        ),
    )


def _groups(case: StudyContext, program: FeatureProgram | None) -> dict[str, list[str]]:
    """Map each source, or feature, to the features that are left out together."""
    features = list(case.bundle.encoder.kinds)
    groups = {name: [name] for name in features}
    if case.options.by == "source":
        groups = sources(case.bundle, program)
    groups = {name: group for name, group in groups.items() if len(group) < len(features)}
    if not groups:
        raise Usage(
            f"all {len(features)} features come from one source, so there is nothing to leave out",
            "mlops study ablation --by feature"
            if features[1:]
            else "A model of one feature has no ablation.",
        )
    return groups


def _fit_models(
    case: StudyContext, frame: pl.DataFrame, groups: Mapping[str, list[str]], progress: Progress
) -> dict[str, Bundle]:
    """Fit the model with all features (``all``), and one ``without`` each group."""
    features, total = list(case.bundle.encoder.kinds), len(groups) + 1
    progress.update("fitting with all features", 0, total)
    models = {"all": case.refit(frame, features)}
    for done, (name, group) in enumerate(groups.items(), 1):
        progress.update(f"fitting without {name}", done, total)
        remaining = [feature for feature in features if feature not in group]
        models[f"without {name}"] = case.refit(frame, remaining)
    return models


def _rank_groups(
    groups: Mapping[str, list[str]], worth: Mapping[str, Interval | None]
) -> list[dict[str, Any]]:
    """Make the report's entries: most worth first, undefined figures last."""
    entries = []
    for name, features in groups.items():
        gain = worth[name]
        figure = {} if gain is None else {"worth": gain.to_json()}
        entries.append((-math.inf if gain is None else gain.value, name, features, figure))
    entries.sort(key=lambda entry: -entry[0])
    return [
        {"group": name, "features": group_features} | figure
        for _, name, group_features, figure in entries
    ]


def _table(
    report: Mapping[str, Any],
    worth: Mapping[str, Interval | None],
    saved_ms: Mapping[str, float],
    lookup_ms: Mapping[str, float],
) -> Table:
    """Make the table of worth, scoring time and lookup time by group."""
    rows = []
    for entry in report["groups"]:
        name = entry["group"]
        row = (name, len(entry["features"]), format_cell(worth[name]), round(saved_ms[name], 3))
        rows.append((*row, _round(lookup_ms.get(name))) if lookup_ms else row)
    columns = (report["by"], "features", f"worth in {report['metric']}", "ms of scoring saved")
    lookup_column = ("ms to look up",) if lookup_ms else ()
    return Table("What the model loses without", columns + lookup_column, tuple(rows))


def _round(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _load_program(bundle: Bundle) -> FeatureProgram | None:
    """Load the feature program; None if a project's hook hides what features read."""
    from mlops_cli.features.program import FeatureProgram

    rules = bundle.program.get("rules", {})
    if not {"joins", "windows", "features"} <= rules.keys() or rules.get("hook"):
        return None
    return FeatureProgram.from_json(bundle.program)


def sources(bundle: Bundle, program: FeatureProgram | None) -> dict[str, list[str]]:
    """Map each join or window, or ``BASE``, to the features that need it.

    A feature that needs two joins is listed under both.
    """
    from mlops_cli.online.online_entries import online_tables

    if program is None:
        return {BASE: list(bundle.encoder.kinds)}
    tables = online_tables(program)
    source_of = {column: table.plan.name for table in tables for column in table.columns}
    sources_of = {
        name: {source_of[c] for c in expression.expr.meta.root_names() if c in source_of}
        for name, expression in program.features.items()
    }
    groups: dict[str, list[str]] = {BASE: []}
    groups |= {table.plan.name: [] for table in tables}
    for name in bundle.encoder.kinds:
        for source in sources_of.get(name) or {BASE}:
            groups[source].append(name)
    return {source: features for source, features in groups.items() if features}
