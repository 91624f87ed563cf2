"""Champion gate: a non-inferiority test of the candidate against the champion in use.

The test (Wellek, "Testing Statistical Hypotheses of Equivalence and Noninferiority", 2010) uses
paired bootstrap resamples. The candidate passes if the lower confidence bound of its gain is not
below minus the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.slices import slices
from mlops_cli.registry.gates import GateResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.metrics.bootstrap import Interval
    from mlops_cli.metrics.catalog import Floats, Metric, Truth
    from mlops_cli.params.register import ChampionGate

__all__ = ["PairedPredictions", "describe_gain", "judge_paired", "too_few"]


@dataclass(frozen=True)
class PairedPredictions:
    """Predictions of two models for the same rows.

    Attributes
    ----------
    y
        True labels, (n,).
    candidate, champion
        Predictions, each (n,) or (n, classes).
    weights
        Weight of each row, (n,); None: 1.
    """

    y: Truth
    candidate: Floats
    champion: Floats
    weights: Floats | None = None


def judge_paired(
    gate: ChampionGate,
    metric: Metric,
    paired: PairedPredictions,
    columns: Mapping[str, pl.Series],
    *,
    min_rows: int,
    resamples: int,
    seed: int,
    champion_label: str = "the champion's",
) -> tuple[GateResult, ...]:
    """Compare on all rows, and on each slice that is large enough.

    Parameters
    ----------
    metric
        The gate's metric.
    columns
        The columns that define the slices, each (n,).
    min_rows
        Slices with fewer rows are skipped.
    champion_label
        How reasons call the predictions in ``paired.champion``.
    """
    # A one-sided bound is the end of a two-sided interval with twice the error.
    bootstrap = Bootstrap(resamples, 2 * gate.confidence - 1, (seed, 7))

    def compare_rows(rows: Any) -> Interval | None:
        comparison = compare(
            [metric],
            paired.y[rows],
            {"candidate": paired.candidate[rows], "champion": paired.champion[rows]},
            bootstrap,
            weights=None if paired.weights is None else paired.weights[rows],
        )
        return comparison.gains["champion"].get(metric.name)

    def result(name: str, gain: Interval | None, margin: float, where: str) -> GateResult:
        if gain is None:
            reason = f"{where}the gain in {metric.name} is not defined on the test rows"
            return GateResult(name, None, -margin, passed=False, reason=reason)
        reason = where + describe_gain(metric.name, gain, margin, champion_label)
        return GateResult(name, gain.low, -margin, gain.low >= -margin, reason)

    results = [result("champion", compare_rows(slice(None)), gate.margin, "")]
    margin = gate.margin if gate.slice_margin is None else gate.slice_margin
    for name, column in columns.items():
        for part in slices(column):
            if len(part.rows) >= min_rows:
                where = f"where {name} is {part.value}: "
                results.append(result(f"champion.{name}", compare_rows(part.rows), margin, where))
    return tuple(results)


def describe_gain(metric: str, gain: Interval, margin: float, champion_label: str) -> str:
    """Describe a gain with its interval, and how much worse is accepted.

    Examples
    --------
    >>> from mlops_cli.metrics.bootstrap import Interval
    >>> describe_gain("mae", Interval(-0.02, -0.03, -0.01), 0.05, "the champion's")
    "mae is worse than the champion's by 0.02 [0.01, 0.03] (accepted: up to 0.05)"
    """
    # Adding zero makes -0.0 into 0.0.
    value, low, high = (x + 0.0 for x in (gain.value, gain.low, gain.high))
    accepted = f"up to {margin:.4g}" if margin else "none"
    if low > 0:
        return f"{metric} is better than {champion_label} by {value:.4g} [{low:.4g}, {high:.4g}]"
    if high < 0:
        span = f"{-value:.4g} [{-high:.4g}, {-low:.4g}]"
        return f"{metric} is worse than {champion_label} by {span} (accepted: {accepted})"
    if low == high:
        return f"{metric} is the same as {champion_label}"
    unclear = f"{metric} shows no clear difference from {champion_label}: gain {value:.4g}"
    worse = f"worse by up to {-low:.4g} is possible, {accepted} accepted"
    return f"{unclear} [{low:.4g}, {high:.4g}] ({worse})"


def too_few(rows: int, total: int, min_rows: int) -> bool:
    """Whether too few rows remain for a comparison, after the others had to be excluded.

    Parameters
    ----------
    min_rows
        This many rows are always enough, however many were excluded.
    """
    return rows < total and rows < min_rows and 2 * rows < total
