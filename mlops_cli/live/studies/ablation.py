"""What each source of features, or each feature, is worth: the model fitted without it.

A paired comparison: both models are fitted on the same rows and judged on the same resamples of
the test rows. Features that say the same are each worth little; a source takes them out together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.errors import Usage
from mlops_cli.live.studies.case import Found, cell
from mlops_cli.live.studies.latency import of_lookups, of_models
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    from mlops_cli.core.program import FeatureProgram
    from mlops_cli.live.studies.case import Case
    from mlops_cli.reporting import Progress
    from mlops_cli.store.bundle import Bundle

__all__ = ["ablation", "sources"]

BASE = "(base)"
"""Features that need no join and no window."""


def ablation(case: Case, progress: Progress) -> Found:
    """Fit without each group of features, and compare with the model that has them all."""
    if case.options.by not in ("source", "feature"):
        raise Usage(f"--by is {case.options.by!r}", "Give source or feature.")
    features = list(case.bundle.encoder.kinds)
    program = _program(case.bundle) if case.options.by == "source" else None
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
    frame = case.drawn(case.known, case.options.rows)
    progress.update("fitting with all features", 0, len(groups) + 1)
    whole = case.refitted(frame, features)
    models = {"all": whole}
    for done, (name, held) in enumerate(groups.items(), 1):
        progress.update(f"fitting without {name}", done, len(groups) + 1)
        less = case.refitted(frame, [f for f in features if f not in held])
        models[f"without {name}"] = less
    progress.update("comparing")
    found = case.judged({name: model.predict(case.test) for name, model in models.items()})
    progress.update("measuring times")
    scoring = of_models(models, case.test.head(1))
    lookups = {} if program is None else of_lookups(program, case.layout, case.test)
    metric = case.metric.name
    worth = {name: found.gains[f"without {name}"].get(metric) for name in groups}
    order = sorted(groups, key=lambda n: -(worth[n].value if worth[n] else float("-inf")))  # type: ignore[union-attr]
    report: dict[str, Any] = {
        "metric": metric,
        "by": case.options.by,
        "fitted_on": len(frame),
        "judged_on": len(case.test),
        "all": found.figures["all"][metric].rounded() if metric in found.figures["all"] else None,
        "groups": [
            {"group": name, "features": groups[name]}
            | ({"worth": gain.rounded()} if (gain := worth[name]) else {})
            for name in order
        ],
    }
    saved = {name: scoring["all"] - scoring[f"without {name}"] for name in groups}
    rows = tuple(
        (name, len(groups[name]), cell(worth[name]), round(saved[name], 3))
        + ((round(lookups[name], 3) if name in lookups else None,) if lookups else ())
        for name in order
    )
    columns = (case.options.by, "features", f"worth in {metric}", "ms of scoring saved")
    title = "What the model loses without"
    measured = {"scoring": scoring["all"], "scoring_saved": saved, "look_up": lookups}
    return Found(
        report,
        Summary(
            headline=f"{metric} {cell(found.figures['all'].get(metric))} with all features; "
            f"{scoring['all']:.3f} ms to score a row",
            tables=(Table(title, columns + (("ms to look up",) if lookups else ()), rows),),
            facts=report | {"milliseconds": measured},
        ),
    )


def _program(bundle: Bundle) -> FeatureProgram | None:
    """The feature program; None where a project's own hook hides what features read."""
    from mlops_cli.core.program import FeatureProgram

    rules = bundle.program.get("rules", {})
    if not {"joins", "windows", "features"} <= rules.keys() or rules.get("hook"):
        return None
    return FeatureProgram.from_json(bundle.program)


def sources(bundle: Bundle, program: FeatureProgram | None) -> dict[str, list[str]]:
    """Join or window, or ``BASE``, -> the features that cannot be made without it.

    A feature of two joins counts with both.
    """
    from mlops_cli.core.online import online_tables

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
