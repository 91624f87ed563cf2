"""Model card as Markdown: purpose, data, quality and limits of a model.

The sections follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019, arXiv
1810.03993). The front matter follows Hugging Face's model card metadata, with results as a
``model-index``. Facts that the project doesn't state are marked as missing, never made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.metrics.catalog import METRICS
from mlops_cli.registry.markdown import bullets, code, front_matter, line, literal, table
from mlops_cli.registry.model_card_tables import analyses, fairness

if TYPE_CHECKING:
    from mlops_cli.params import Project

__all__ = ["CardFacts", "render"]

_CLASSES = 20
"""Maximum number of classes in the card; evaluation.json has all of them."""


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

    @property
    def families(self) -> list[str]:
        """Families of the model's members, each once."""
        return list(dict.fromkeys(member["family"] for member in self.model["members"]))


def render(name: str, project: Project, facts: CardFacts) -> str:
    """Render the card as Markdown.

    Parameters
    ----------
    name
        The model's name.
    project
        The team's own statements: owner, purpose, stakeholders, risks, ...
    facts
        The run's results.
    """
    sections = {
        "Model details": _details(project, facts),
        "Intended use": _intended_use(project),
        "Factors": _factors(facts),
        "Metrics": _metrics(facts),
        "Evaluation data": _evaluation_data(facts),
        "Training data": _training_data(facts),
        "Quantitative analyses": analyses(facts.metrics, facts.evaluation),
        "Ethical considerations": _ethics(project, facts),
        "Caveats and recommendations": _caveats(facts),
    }
    head = f"# {name}\n\n" + (f"{line(project.description)}\n\n" if project.description else "")
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return front_matter(_metadata(name, project, facts)) + "\n" + head + body + "\n"


def _metadata(name: str, project: Project, facts: CardFacts) -> dict[str, Any]:
    task = facts.model["task"]
    kind = "tabular-regression" if task == "regression" else "tabular-classification"
    confidence = facts.evaluation["confidence"]
    metrics = facts.metrics["model"]
    results = [
        {
            "type": metric,
            "value": float(f["value"]),
            "name": f"{metric} ({confidence:.0%} interval {f['low']:.4g} to {f['high']:.4g})",
        }
        for metric, f in metrics.items()
    ]
    data = {"type": project.name, "name": line(project.description) or project.name}
    result = {
        "task": {"type": kind, "name": f"{task} prediction"},
        "dataset": {**data, "split": "test"},
        "metrics": results,
    }
    return {
        **({"license": project.license} if project.license else {}),
        "library_name": "mlops-cli",
        "pipeline_tag": kind,
        "tags": [kind, task, *facts.families],
        **({"metrics": list(metrics)} if metrics else {}),
        # Parsers of model cards reject an index without metrics.
        **({"model-index": [{"name": name, "results": [result]}]} if results else {}),
    }


def _value_or_missing(value: str, key: str) -> str:
    return line(value) or f"not stated in params.yaml (project.{key})"


def _titled_list(title: str, values: tuple[str, ...], key: str) -> str:
    items = bullets(values) if values else bullets([_value_or_missing("", key)])
    return f"{title}:\n\n{items}"


def _details(project: Project, facts: CardFacts) -> str:
    model, rules = facts.model, facts.program["rules"]
    items = [
        f"Owner: {_value_or_missing(project.owner, 'owner')}",
        f"Licence: {_value_or_missing(project.license, 'license')}",
        f"Predicts: {code(rules['target'])}, for each row of {code(rules['base'])}",
    ]
    if rules.get("predict_at"):
        items.append(f"Moment of prediction: {code(rules['predict_at'])}")
    items.append(f"Task: {model['task']}{_classes(model)}")
    items += [f"Model: {_member(member)}" for member in model["members"]]
    versions = ", ".join(f"{name} {version}" for name, version in facts.lineage["versions"].items())
    inputs = (
        f"Inputs: {len(facts.program['features'])} features, listed in `signature.json`; the rules "
        "that make them are in `program.json`, the tables they read in `schema.json`"
    )
    items += [
        inputs,
        f"Made with: {versions or 'unknown versions'}; seed {facts.lineage['seed']}",
        "Version, date and stage stand in the Git tags of the project's repository",
    ]
    return bullets(items)


def _classes(model: Mapping[str, Any]) -> str:
    classes = [literal(label) for label in model["labels"].get("classes") or ()]
    if model["task"] == "binary":
        return (
            f"; gives the probability of {classes[1]} (against {classes[0]}), and decides for it "
            f"from {model['threshold']:.4g} on"
        )
    if not classes:
        return ""
    more = f", and {len(classes) - _CLASSES} more" if len(classes) > _CLASSES else ""
    return f"; gives the probability of each class: {', '.join(classes[:_CLASSES])}{more}"


def _member(member: Mapping[str, Any]) -> str:
    settings = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in member["settings"].items()
    )
    rounds = f", {member['iterations']} rounds" if member["iterations"] else ""
    return literal(f"{member['family']}{rounds}" + (f" ({settings})" if settings else ""))


def _intended_use(project: Project) -> str:
    return "\n\n".join(
        [
            f"Purpose: {_value_or_missing(project.purpose, 'purpose')}",
            _titled_list(
                "Who uses the predictions or is affected", project.stakeholders, "stakeholders"
            ),
            _titled_list("Out of scope", project.out_of_scope, "out_of_scope"),
        ]
    )


def _factors(facts: CardFacts) -> str:
    columns = facts.evaluation["slices"]
    if not columns:
        return "No groups were judged apart: `evaluate.slices` in params.yaml names no column."
    items = []
    for column, report in columns.items():
        small = report["too_small"]
        note = f"; {small['slices']} too small to judge ({small['rows']:,} rows)"
        items.append(
            f"{literal(column)}: {len(report['judged'])} groups judged"
            + (note if small["slices"] else "")
        )
    return f"Test rows are also judged group by group, by:\n\n{bullets(items)}"


def _metrics(facts: CardFacts) -> str:
    evaluation = facts.evaluation
    items = [
        f"`{name}`: better when {'large' if METRICS[name].maximise else 'small'}"
        + (", not defined on these test rows" if name in evaluation["undefined"] else "")
        for name in evaluation["metrics"]
    ]
    text = (
        f"{bullets(items)}\n\nIntervals hold {evaluation['confidence']:.0%} of "
        f"{evaluation['resamples']} bootstrap resamples of the test rows. The model is compared "
        "with a constant and with a linear model of default settings on the same resamples; a gain "
        "is the difference in the direction that is better."
    )
    threshold = evaluation.get("threshold")
    if threshold:
        text += (
            f" The threshold, {threshold['threshold']:.4g}, is the one that cost least on the "
            "validation rows by `task.cost`."
        )
    return text


def _evaluation_data(facts: CardFacts) -> str:
    test = facts.lineage["splits"]["test"]
    return (
        f"The test split: {test['rows']:,} rows{_time_range(test)}, set apart by the strategy "
        f"`{facts.lineage['split']}` before any model was fitted; it has no part in choosing or "
        f"fitting one. Target: {_target_summary(test)}."
    )


def _time_range(part: Mapping[str, Any]) -> str:
    first, last = part.get("time") or (None, None)
    return f" from {first} to {last}" if first else ""


def _target_summary(part: Mapping[str, Any]) -> str:
    if "target_mean" in part:
        return f"mean {part['target_mean']:.6g}"
    shares = list(part.get("target", {}).items())
    text = ", ".join(f"{literal(label)} {share:.1%}" for label, share in shares[:_CLASSES])
    more = len(shares) - _CLASSES
    return (text + (f", and {more} more classes" if more > 0 else "")) or "unknown"


def _training_data(facts: CardFacts) -> str:
    lineage = facts.lineage
    sources = [
        [
            literal(name),
            literal(source["uri"]),
            f"{source['rows']:,}",
            source["time_min"] or "",
            source["time_max"] or "",
            f"`{source['sha256'][:12]}`",
        ]
        for name, source in lineage["sources"].items()
    ]
    splits = [
        [name, f"{part['rows']:,}", *(part.get("time") or ("", "")), _target_summary(part)]
        for name, part in lineage["splits"].items()
    ]
    clock = lineage["clock"]
    clock_text = (
        f"Only what was known before the data clock, {clock}, was taken."
        if clock
        else "No data clock was set: all that the sources held was taken."
    )
    unlabelled = "".join(
        f"; {count:,} without a label ({literal(why)})"
        for why, count in facts.rows["unlabelled"].items()
    )
    row_text = (
        f"Rows of {code(facts.program['rules']['base'])}: {facts.rows['read']:,} read, "
        f"{facts.rows['labelled']:,} labelled{unlabelled}. The model was chosen on validation "
        "and at last fitted on train and validation together."
    )
    source_table = table(["source", "from", "rows", "first", "last", "SHA-256"], sources)
    split_table = table(["split", "rows", "first", "last", "target"], splits)
    return f"{clock_text}\n\n{source_table}\n\n{row_text}\n\n{split_table}"


def _ethics(project: Project, facts: CardFacts) -> str:
    worst = facts.evaluation["worst_slice"]
    worst_text = (
        f"Of the groups judged, the worst is {literal(worst['column'])} = "
        f"{literal(worst['value'])}: {worst['metric']} {worst['figure']:.4g} on "
        f"{worst['rows']:,} rows."
        if worst
        else "No group was judged apart, so unequal quality would not have been seen."
    )
    return "\n\n".join(
        [_titled_list("Risks", project.risks, "risks"), worst_text, *fairness(facts.evaluation)]
    )


def _caveats(facts: CardFacts) -> str:
    lineage, rows = facts.lineage, facts.rows
    items = []
    reasons = [literal(reason) for reason, count in rows["unlabelled"].items() if count]
    if reasons:
        items.append(
            f"Rows without a label ({', '.join(reasons)}) were neither learnt from nor judged: "
            "nothing is known of predictions for their like."
        )
    ends = [part["time"][1] for part in lineage["splits"].values() if "time" in part]
    if ends:
        items.append(f"No labelled row after {max(ends)} was seen: watch for drift, and retrain.")
    small = {c: f["too_small"]["slices"] for c, f in facts.evaluation["slices"].items()}
    if any(small.values()):
        columns = ", ".join(literal(column) for column, n in small.items() if n)
        items.append(f"Groups with few rows were not judged ({columns}).")
    items += [
        f"`{name}` could not be judged on these test rows."
        for name in facts.evaluation["undefined"]
    ]
    items.append("The intervals cover the chance in the test rows, not another split or time.")
    items.append(
        "Feed it what `schema.json` and `signature.json` describe, and verify the bundle against "
        "`manifest.json` before loading it, as mlops-cli does."
    )
    return bullets(items)
