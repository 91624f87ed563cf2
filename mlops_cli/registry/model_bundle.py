"""Assemble the complete bundle: the fitted model with its reports, lineage and model card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import json_text, read_json
from mlops_cli.drift.reference_file import PROFILE, make_reference, reference_text
from mlops_cli.models import bundle as bundles
from mlops_cli.registry.lineage import fingerprints, lineage, schema
from mlops_cli.registry.model_card import CardFacts, render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_cli.layout import Layout
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Project
    from mlops_cli.params.base import Section
    from mlops_cli.params.validate import SourceRules
    from mlops_cli.registry.card_template import CardTemplate

__all__ = ["assemble"]


def assemble(
    bundle: Bundle,
    layout: Layout,
    name: str,
    project: Project,
    rules: Mapping[str, SourceRules],
    sections: Mapping[str, Section],
    template: CardTemplate | None = None,
) -> dict[str, Any]:
    """Write ``layout.model`` from ``layout.fitted`` and the reports; return its manifest.

    Parameters
    ----------
    bundle
        The loaded bundle of ``layout.fitted``.
    layout
        Where the project's files are.
    name
        The model's name.
    project
        The team's own statements for the model card.
    rules
        Validation rules by source.
    sections
        Sections of the parameters that determine the model, for their fingerprints.
    template
        The project's own template of the model card, if it has one.

    Raises
    ------
    BadParams
        If the project's own template can't be rendered.
    NotFound
        If an earlier stage has not run.
    DataRefused
        If the fitted bundle was changed.
    """
    model = read_json(layout.fitted / "bundle.json")
    program = read_json(layout.fitted / "program.json")
    metrics, evaluation = read_json(layout.metrics), read_json(layout.evaluation)
    manifest, split = read_json(layout.ingest_manifest), read_json(layout.split_report)
    origin = lineage(model["facts"], manifest, split, fingerprints(sections), bundle.sha256)
    facts = CardFacts(
        model=model,
        program=program,
        lineage=origin,
        metrics=metrics,
        evaluation=evaluation,
        rows=read_json(layout.feature_report)["rows"],
    )
    card = render(name, project, facts, template)
    texts = {
        "metrics.json": json_text(metrics),
        "evaluation.json": json_text(evaluation),
        "schema.json": json_text(schema(program, rules)),
        "lineage.json": json_text(origin),
        PROFILE: reference_text(make_reference(bundle, layout, project.seed)),
        "README.md": card,
    }
    return bundles.extend(layout.fitted, layout.model, texts)
