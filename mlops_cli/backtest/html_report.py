"""HTML report of a backtest: one self-contained file with SVG charts, also for printing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlops_cli.backtest.costs import costs_so_far
from mlops_cli.data.templates import render
from mlops_cli.monitoring.svg_charts import Chart, Line, lines
from mlops_cli.reporting import count_noun

__all__ = ["page"]

_STYLES = "abcdefg"
"""CSS classes of the lines, in the template."""
_MAX_DATES = 6
"""Maximum dates on the x-axis."""


def page(report: Mapping[str, Any]) -> str:
    """Render the HTML page of a report by ``backtest.report``."""
    policies = report["policies"]
    metrics = [[r["metric"] and r["metric"]["value"] for r in p["rounds"]] for p in policies]
    costs = [costs_so_far(report, policy) for policy in policies]
    return render(
        "mlops_cli.backtest",
        "backtest.html.jinja",
        {"number": _format, "count_noun": count_noun},
        report=report,
        metrics=_plot(policies, metrics, "from", f"{report['metric']} by start of the period"),
        costs=_plot(policies, costs, "to", "Cost so far by end of the period"),
    )


def _plot(
    policies: Sequence[Mapping[str, Any]],
    values: Sequence[Sequence[float | None]],
    date: str,
    what: str,
) -> Chart | None:
    """Plot a line for each policy over the periods."""
    dates = [(float(i), r[date][:10]) for i, r in enumerate(policies[0]["rounds"])]
    return lines(
        [
            Line(
                policy["name"],
                _STYLES[number % len(_STYLES)],
                list(enumerate(values[number])),
                marks=[list(_marks(policy, period)) for period in policy["rounds"]],
            )
            for number, policy in enumerate(policies)
        ],
        dates[:: -(-len(dates) // _MAX_DATES)],
        what=f"{what}, a line for each policy; the tables below have the figures.",
    )


def _marks(policy: Mapping[str, Any], period: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Mark a training by its outcome, and an alarm to which the policy reacts."""
    outcome = period["outcome"]
    if outcome is not None:
        text = f"{policy['name']}, {period['from'][:10]}: {outcome}"
        yield "fill" if outcome == "deployed" else "ring", text
    if policy["alarms"] is not None and period["alarm"]:
        yield "alarm", "; ".join(period["findings"]) or ", ".join(period["found"])


def _format(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.4g}"
