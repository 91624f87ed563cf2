"""Paired comparison of two revisions' models on the test rows that both have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.untrusted import refuse_malformed
from mlops_cli.errors import MlopsError, NotFound
from mlops_cli.layout import ROW, TARGET, Layout
from mlops_cli.models import bundle as bundles
from mlops_cli.registry.compare_revisions import Difference, MetricValue, PairedMetrics, compare
from mlops_cli.registry.read_training_rows import output_files
from mlops_cli.registry.revision_facts import commit_of, facts_at

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.registry.compare_revisions import RevisionFacts

__all__ = ["compare_models"]

_VALIDATED = "data/validated"


def compare_models(
    root: Path, old: str, new: str | None, *, fetch: bool, allow_missing: bool = False
) -> Difference:
    """Compare two revisions; their models are evaluated on the same test rows if possible.

    Parameters
    ----------
    new
        None for the workspace.
    fetch
        Fetch models and test rows that DVC's cache lacks from the remote.
    allow_missing
        See ``facts_at``, also for the errors.
    """
    facts = (facts_at(root, old, allow_missing=allow_missing), facts_at(root, new))
    paired = _compare_paired(root, (old, new), facts, fetch=fetch)
    reports = f"a report of {facts[0].name} or {facts[1].name}"
    with refuse_malformed(reports, "Create it again with `mlops run`."):
        return compare(*facts, paired)


def _compare_paired(
    root: Path,
    revisions: tuple[str, str | None],
    facts: tuple[RevisionFacts, RevisionFacts],
    *,
    fetch: bool,
) -> PairedMetrics | str:
    """Compare both models on the same rows; a sentence says why if that isn't possible."""
    data = {side.outputs.get(_VALIDATED) for side in facts}
    models = {side.registration.get("bundle_sha256") for side in facts}
    if len(data) > 1 or None in data | models or len(models) == 1:
        return ""  # the notes of the comparison report that the rows differ
    layout = Layout(root)
    layout.work.mkdir(exist_ok=True)
    try:
        with (
            refuse_malformed("a file of these revisions", "Create it again with `mlops run`."),
            TemporaryDirectory(prefix="compare-", dir=layout.work) as scratch,
        ):
            folders = [Path(scratch) / name for name in ("old", "new")]
            sides = [
                _load_side(layout, revision, side_facts, folder, fetch=fetch)
                for revision, side_facts, folder in zip(revisions, facts, folders, strict=True)
            ]
            return _bootstrap_difference(sides[0], sides[1], facts[1])
    except MlopsError as error:
        hint = "" if fetch else " (--fetch brings what is missing)"
        return f"the models can't be compared on the same rows: {error.message}{hint}"


@dataclass(frozen=True)
class _Side:
    """A revision's model and test rows."""

    bundle: Bundle
    test: pl.DataFrame


def _load_side(
    layout: Layout, revision: str | None, facts: RevisionFacts, folder: Path, *, fetch: bool
) -> _Side:
    if revision is None:
        model, test = layout.model, layout.split("test")
    else:
        commit = commit_of(layout.root, revision)
        test = output_files(layout, commit, layout.splits, fetch=fetch)["test.parquet"]
        model = folder
        for name, file in output_files(layout, commit, layout.model, fetch=fetch).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    bundle = bundles.load(model)
    if bundle.sha256 != facts.registration.get("bundle_sha256"):
        raise NotFound(f"the model of {facts.name} is not the one of its reports", "mlops run")
    return _Side(bundle, parquet.scan(test).collect())


def _bootstrap_difference(old: _Side, new: _Side, facts: RevisionFacts) -> PairedMetrics | str:
    from mlops_cli.metrics import bootstrap
    from mlops_cli.metrics.weighted import row_weights

    keys = [side.test.select(ROW, TARGET) for side in (old, new)]
    shared_rows = keys[0].join(keys[1], on=[ROW, TARGET], how="inner").select(ROW).sort(ROW)
    if (old.bundle.task, old.bundle.labels) != (new.bundle.task, new.bundle.labels):
        return "the models predict different things, so no difference is shown to be clear"
    if not shared_rows.height:
        return "no test row is one of both models with the same target"
    tests = [shared_rows.join(side.test, on=ROW, how="left") for side in (old, new)]
    settings: dict[str, Any] = dict(facts.params.get("evaluate") or {})
    weight = settings.get("weight")
    metrics = _reported_metrics(facts, new.bundle)
    comparison = bootstrap.compare(
        metrics,
        new.bundle.labels.encode(tests[1][TARGET], "the test split"),
        {"new": new.bundle.predict(tests[1]), "old": old.bundle.predict(tests[0])},
        bootstrap.Bootstrap(
            facts.evaluation.get("resamples") or 400,
            facts.evaluation.get("confidence") or 0.95,
            ((facts.params.get("project") or {}).get("seed") or 0, 17),
        ),
        weights=None if weight is None else row_weights(tests[1][weight], weight),
    )
    signs = {metric.name: 1 if metric.maximise else -1 for metric in metrics}
    return PairedMetrics(
        shared_rows.height,
        max(side.test.height for side in (old, new)),
        {
            name: MetricValue(sign * gain.value, *sorted((sign * gain.low, sign * gain.high)))
            for name, gain in comparison.gains["old"].items()
            for sign in (signs[name],)
        },
    )


def _reported_metrics(facts: RevisionFacts, bundle: Bundle) -> list[Metric]:
    from mlops_cli.metrics.catalog import lookup
    from mlops_cli.metrics.costs import cost_matrix
    from mlops_cli.params.task import Task

    costs = cost_matrix(Task.model_validate(dict(facts.params["task"])), bundle.labels.classes)
    names = facts.evaluation.get("metrics") or facts.metrics["model"]
    return [lookup(name, bundle.task, costs) for name in names]
