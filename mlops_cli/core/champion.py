"""Champion against challenger: the candidate is shown not to be worse than what is in use.

A non-inferiority test (Wellek, "Testing Statistical Hypotheses of Equivalence and
Noninferiority", 2010) on paired bootstrap resamples: the candidate passes where the lower
confidence bound of its gain is above minus the margin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.core.gates import GateResult
from mlops_cli.core.intervals import compare
from mlops_cli.core.metrics import lookup
from mlops_cli.core.slices import slices

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.core.intervals import Interval
    from mlops_cli.core.metrics import Floats, Metric, Truth
    from mlops_cli.params.modelling import ChampionGate

__all__ = ["judge"]


def judge(
    gate: ChampionGate,
    y: Truth,
    candidate: Floats,
    champion: Floats,
    columns: Mapping[str, pl.Series],
    *,
    task: str,
    least_rows: int,
    resamples: int,
    seed: int,
    costs: Floats | None = None,
    weights: Floats | None = None,
) -> tuple[GateResult, ...]:
    """Compare on all rows, and on each slice that is large enough.

    Parameters
    ----------
    y
        Truth, (n,).
    candidate, champion
        Predictions of the same rows, each (n,) or (n, classes).
    columns
        What the rows are sliced by, each (n,).
    costs, weights
        See ``metrics.lookup`` and ``intervals.draw``.
    """
    metric = lookup(gate.metric, task, costs)
    # A one-sided bound is the end of a two-sided interval of twice the error.
    width = 2 * gate.confidence - 1

    def gain(rows: Any) -> Interval | None:
        found = compare(
            [metric],
            y[rows],
            {"candidate": candidate[rows], "champion": champion[rows]},
            resamples=resamples,
            confidence=width,
            seed=(seed, 7),
            weights=None if weights is None else weights[rows],
        )
        return found.gains["champion"].get(metric.name)

    results = [_result("champion", gain(slice(None)), gate.margin, metric, "")]
    margin = gate.margin if gate.slice_margin is None else gate.slice_margin
    for name, column in columns.items():
        for part in slices(column):
            if len(part.rows) >= least_rows:
                where = f"where {name} is {part.value}: "
                found = gain(part.rows)
                results.append(_result(f"champion.{name}", found, margin, metric, where))
    return tuple(results)


def _result(
    name: str, gain: Interval | None, margin: float, metric: Metric, where: str
) -> GateResult:
    if gain is None:
        reason = f"{where}the gain in {metric.name} is not defined on the test rows"
        return GateResult(name, None, -margin, passed=False, reason=reason)
    reason = (
        f"{where}{metric.name} is better than the champion's by {gain.value:.4g} (at least "
        f"{gain.low:.4g}); down to {-margin:.4g} is accepted"
    )
    return GateResult(name, gain.low, -margin, gain.low >= -margin, reason)
