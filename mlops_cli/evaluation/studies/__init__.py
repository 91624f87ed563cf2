"""Studies of a model that need refits, such as ablation; they are not part of the pipeline."""

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
    """Run a study and write its report, ``reports/studies/<name>.json``.

    The report of an ablation by feature is ``ablation-feature.json``.

    Raises
    ------
    Usage
        If there is no study of that name.
    NotFound
        If there is no model, or there are no splits.
    DataRefused
        If the rows don't allow the study: there are too few, or they have no time.
    """
    if name not in STUDIES:
        raise Usage(f"there is no study {name!r}", nearest(name, STUDIES))
    from mlops_cli.evaluation.studies.ablation import ablation
    from mlops_cli.evaluation.studies.adversarial import adversarial
    from mlops_cli.evaluation.studies.base import load_context, write_report
    from mlops_cli.evaluation.studies.learning_curves import learning, staleness

    run = dict(zip(STUDIES, (ablation, learning, staleness, adversarial), strict=True))[name]
    from threadpoolctl import threadpool_limits

    # The rounding of BLAS depends on the number of threads.
    with threadpool_limits(limits=1, user_api="blas"):
        result = run(load_context(params, layout, options), progress)
    by_feature = name == "ablation" and options.by == "feature"
    write_report(layout, "ablation-feature" if by_feature else name, result.report)
    return result.summary
