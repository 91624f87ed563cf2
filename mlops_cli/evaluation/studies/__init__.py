"""Studies of a model that cost refits, by name; never part of the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.errors import Usage, nearest

if TYPE_CHECKING:
    from mlops_cli.evaluation.studies.base import Options
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress, Summary

__all__ = ["STUDIES", "study"]

STUDIES = ("ablation", "learning", "staleness", "adversarial")


def study(
    name: str, params: Params, layout: Layout, options: Options, progress: Progress
) -> Summary:
    """Run one, and write ``reports/studies/<name>.json`` (``ablation-feature.json`` by feature).

    Raises
    ------
    Usage
        If there is no study of that name.
    NotFound
        If there is no model, or no splits.
    DataRefused
        If the rows don't allow the study: too few, or without a time.
    """
    if name not in STUDIES:
        raise Usage(f"there is no study {name!r}", nearest(name, STUDIES))
    from mlops_cli.evaluation.studies.ablation import ablation
    from mlops_cli.evaluation.studies.adversarial import adversarial
    from mlops_cli.evaluation.studies.base import load_context, write_report
    from mlops_cli.evaluation.studies.learning_curves import learning, staleness

    run = dict(zip(STUDIES, (ablation, learning, staleness, adversarial), strict=True))[name]
    from threadpoolctl import threadpool_limits

    # BLAS rounds otherwise with another number of threads.
    with threadpool_limits(limits=1, user_api="blas"):
        found = run(load_context(params, layout, options), progress)
    by_feature = name == "ablation" and options.by == "feature"
    write_report(layout, "ablation-feature" if by_feature else name, found.report)
    return found.summary
