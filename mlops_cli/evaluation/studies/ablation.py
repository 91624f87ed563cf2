"""What each source of features, or each feature, is worth: the model fitted without it.

A paired comparison: both models are fitted on the same rows and judged on the same resamples of
the test rows. Features that say the same are each worth little; a source takes them out together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import Usage
from mlops_cli.evaluation.studies.base import StudyResult, format_cell
from mlops_cli.evaluation.studies.latency import of_lookups, of_models
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
"""Features that need no join and no window."""


def ablation(case: StudyContext, progress: Progress) -> StudyResult:
    """Fit without each group of features, and compare with the model that has them all."""
    if case.options.by not in ("source", "feature"):
        raise Usage(f"--by is {case.options.by!r}", "Give source or feature.")
    program = _program(case.bundle) if case.options.by == "source" else None
    groups = _groups(case, program)
    frame = case.drawn(case.known, case.options.rows)
    models = _fit(case, frame, groups, progress)
    progress.update("comparing")
    compared = case.judged({name: model.predict(case.test) for name, model in models.items()})
    progress.update("measuring times")
    scoring = of_models(models, case.test.head(1))
    lookups = {} if program is None else of_lookups(program, case.layout, case.test)
    metric = case.metric.name
    whole = compared.figures["all"].get(metric)
    worth = {name: compared.gains[f"without {name}"].get(metric) for name in groups}
    report = {
        "metric": metric,
        "by": case.options.by,
        "fitted_on": len(frame),
        "judged_on": len(case.test),
        "all": None if whole is None else whole.rounded(),
        "groups": _ranked(groups, worth),
    }
    saved = {name: scoring["all"] - scoring[f"without {name}"] for name in groups}
    return StudyResult(
        report,
        Summary(
            headline=f"{metric} {format_cell(whole)} with all features; "
            f"{scoring['all']:.3f} ms to score a row",
            tables=(_table(report, worth, saved, lookups),),
            facts=report
            | {
                "milliseconds": {
                    "scoring": scoring["all"],
                    "scoring_saved": saved,
                    "look_up": lookups,
                }
            },
        ),
    )


def _groups(case: StudyContext, program: FeatureProgram | None) -> dict[str, list[str]]:
    """Source, or feature, -> the features that are left out together."""
    features = list(case.bundle.encoder.kinds)
    groups = {name: [name] for name in features}
    if case.options.by == "source":
        groups = sources(case.bundle, program)
    groups = {name: held for name, held in groups.items() if len(held) < len(features)}
    if not groups:
        raise Usage(
            f"all {len(features)} features come from one source, so there is nothing to leave out",
            "mlops study ablation --by feature"
            if features[1:]
            else "A model of one feature has no ablation.",
        )
    return groups


def _fit(
    case: StudyContext, frame: pl.DataFrame, groups: Mapping[str, list[str]], progress: Progress
) -> dict[str, Bundle]:
    """The model with all features (``all``), and ``without`` each group."""
    features, total = list(case.bundle.encoder.kinds), len(groups) + 1
    progress.update("fitting with all features", 0, total)
    models = {"all": case.refitted(frame, features)}
    for done, (name, held) in enumerate(groups.items(), 1):
        progress.update(f"fitting without {name}", done, total)
        others = [feature for feature in features if feature not in held]
        models[f"without {name}"] = case.refitted(frame, others)
    return models


def _ranked(
    groups: Mapping[str, list[str]], worth: Mapping[str, Interval | None]
) -> list[dict[str, Any]]:
    """The report's entries: who is worth most comes first, who has no figure last."""
    entries = []
    for name, features in groups.items():
        gain = worth[name]
        figure = {} if gain is None else {"worth": gain.rounded()}
        entries.append((-math.inf if gain is None else gain.value, name, features, figure))
    entries.sort(key=lambda entry: -entry[0])
    return [{"group": name, "features": of} | figure for _, name, of, figure in entries]


def _table(
    report: Mapping[str, Any],
    worth: Mapping[str, Interval | None],
    saved: Mapping[str, float],
    lookups: Mapping[str, float],
) -> Table:
    """What each group is worth, and what it costs in time."""
    rows = []
    for entry in report["groups"]:
        name = entry["group"]
        row = (name, len(entry["features"]), format_cell(worth[name]), round(saved[name], 3))
        rows.append((*row, _rounded(lookups.get(name))) if lookups else row)
    columns = (report["by"], "features", f"worth in {report['metric']}", "ms of scoring saved")
    more = ("ms to look up",) if lookups else ()
    return Table("What the model loses without", columns + more, tuple(rows))


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def _program(bundle: Bundle) -> FeatureProgram | None:
    """The feature program; None where a project's own hook hides what features read."""
    from mlops_cli.features.program import FeatureProgram

    rules = bundle.program.get("rules", {})
    if not {"joins", "windows", "features"} <= rules.keys() or rules.get("hook"):
        return None
    return FeatureProgram.from_json(bundle.program)


def sources(bundle: Bundle, program: FeatureProgram | None) -> dict[str, list[str]]:
    """Join or window, or ``BASE``, -> the features that cannot be made without it.

    A feature of two joins counts with both.
    """
    from mlops_cli.online.online_entries import online_tables

    if program is None:
        return {BASE: list(bundle.encoder.kinds)}
    tables = online_tables(program)
    made = {column: table.plan.name for table in tables for column in table.columns}
    reads = {
        name: {made[c] for c in expression.expr.meta.root_names() if c in made}
        for name, expression in program.features.items()
    }
    groups: dict[str, list[str]] = {BASE: []}
    groups |= {table.plan.name: [] for table in tables}
    for name in bundle.encoder.kinds:
        for source in reads.get(name) or {BASE}:
            groups[source].append(name)
    return {source: held for source, held in groups.items() if held}
