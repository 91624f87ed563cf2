"""What each source of features, or each feature, is worth: the model fitted without it.

A paired comparison: both models are fitted on the same rows and judged on the same resamples of
the test rows. Features that say the same are each worth little; a source takes them out together.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import Usage
from mlops_cli.live.studies.case import Found, cell
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.live.studies.case import Case
    from mlops_cli.reporting import Progress
    from mlops_cli.store.bundle import Bundle

__all__ = ["ablation", "sources"]

BASE = "(base)"
"""Features that need no join and no window."""
_CALLS = 200


def ablation(case: Case, progress: Progress) -> Found:
    """Fit without each group of features, and compare with the model that has them all."""
    if case.options.by not in ("source", "feature"):
        raise Usage(f"--by is {case.options.by!r}", "Give source or feature.")
    features = list(case.bundle.encoder.kinds)
    groups = {name: [name] for name in features}
    if case.options.by == "source":
        groups = sources(case.bundle)
    groups = {name: held for name, held in groups.items() if len(held) < len(features)}
    frame = case.drawn(case.known, case.options.rows)
    progress.update("fitting with all features", 0, len(groups) + 1)
    whole = case.refitted(frame, features)
    predictions = {"all": whole.predict(case.test)}
    one = case.test.head(1)
    full = _milliseconds(whole, one)
    saved = {}
    for done, (name, held) in enumerate(groups.items(), 1):
        progress.update(f"fitting without {name}", done, len(groups) + 1)
        less = case.refitted(frame, [f for f in features if f not in held])
        predictions[f"without {name}"] = less.predict(case.test)
        saved[name] = full - _milliseconds(less, one)
    progress.update("comparing")
    found = case.judged(predictions)
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
    rows = tuple(
        (name, len(groups[name]), cell(worth[name]), round(saved[name], 4)) for name in order
    )
    columns = (case.options.by, "features", f"worth in {metric}", "ms saved a row")
    return Found(
        report,
        Summary(
            headline=f"{metric} {cell(found.figures['all'].get(metric))} with all features",
            tables=(Table("What the model loses without", columns, rows),),
            facts=report
            | {
                "milliseconds": {
                    "all": round(full, 4),
                    "saved": {n: round(s, 4) for n, s in saved.items()},
                }
            },
        ),
    )


def sources(bundle: Bundle) -> dict[str, list[str]]:
    """Join or window, or ``BASE``, -> the features that cannot be made without it.

    A feature of two joins counts with both.
    """
    from mlops_cli.core.online import online_tables
    from mlops_cli.core.program import FeatureProgram

    rules = bundle.program.get("rules", {})
    if not {"joins", "windows", "features"} <= rules.keys() or rules.get("hook"):
        # Of what a project's own hook reads nothing is known.
        return {BASE: list(bundle.encoder.kinds)}
    program = FeatureProgram.from_json(bundle.program)
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


def _milliseconds(bundle: Bundle, row: pl.DataFrame) -> float:
    """Median time to encode and score one row; joins and windows are not in it."""
    taken = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        bundle.predict(row)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000
