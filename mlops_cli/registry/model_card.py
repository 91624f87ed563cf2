"""Model card as Markdown: purpose, data, quality and limits of a model.

The card's text is in ``templates/model_card.md.jinja``, or in a template of the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.data import templates
from mlops_cli.metrics.catalog import METRICS
from mlops_cli.registry.markdown import code, line, literal, yaml
from mlops_cli.reporting import figure_text

if TYPE_CHECKING:
    from mlops_cli.params import Project
    from mlops_cli.registry.card_template import CardTemplate

__all__ = ["CardFacts", "render"]


@dataclass(frozen=True)
class CardFacts:
    """Results of a run that the card shows, as its files have them.

    Attributes
    ----------
    model
        ``bundle.json``: task, labels, threshold, members, facts.
    program
        ``program.json``: the feature rules.
    lineage
        ``lineage.json``: clock, sources, splits, versions.
    metrics, evaluation
        ``metrics.json`` and ``evaluation.json``.
    rows
        Row counts of the base source: read, labelled, and unlabelled by reason.
    """

    model: Mapping[str, Any]
    program: Mapping[str, Any]
    lineage: Mapping[str, Any]
    metrics: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    rows: Mapping[str, Any]


def render(
    name: str, project: Project, facts: CardFacts, template: CardTemplate | None = None
) -> str:
    """Render the card as Markdown.

    Parameters
    ----------
    name
        The model's name.
    project
        The team's own statements: owner, purpose, stakeholders, risks, ...
    facts
        The run's results.
    template
        The project's own template; by default the one of this package.

    Raises
    ------
    BadParams
        If the project's own template can't be rendered.
    """
    values = {"name": name, "project": project.model_dump(), **_values(facts)}
    if template is not None:
        return template.render(_FILTERS, values)
    return templates.render("mlops_cli.registry", "model_card.md.jinja", _FILTERS, **values)


def _values(facts: CardFacts) -> dict[str, Any]:
    evaluation, members = facts.evaluation, facts.model["members"]
    splits = facts.lineage["splits"].values()
    return {
        **vars(facts),
        "classes": facts.model["labels"].get("classes") or [],
        "families": list(dict.fromkeys(member["family"] for member in members)),
        "better": {
            metric: "large" if METRICS[metric].maximise else "small"
            for metric in evaluation["metrics"]
        },
        "last_time": max((part["time"][1] for part in splits if "time" in part), default=None),
        "reasons": [reason for reason, count in facts.rows["unlabelled"].items() if count],
        "small_groups": [
            column
            for column, report in evaluation["slices"].items()
            if report["too_small"]["slices"]
        ],
    }


def _figure(figure: Mapping[str, float] | None) -> str:
    return figure_text(figure, absent="")


_FILTERS: templates.Filters = {
    "code": code,
    "figure": _figure,
    "line": line,
    "literal": literal,
    "number": format,
    "yaml": yaml,
}
