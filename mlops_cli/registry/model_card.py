"""The model card: what a model is, for whom, how good, and where it fails, as Markdown.

Sections as in Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019, arXiv 1810.03993);
front matter as in Hugging Face's model card metadata, with results as a ``model-index``. What the
project doesn't state is said to be missing, never made up.
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
"""So many classes are listed; evaluation.json has them all."""


@dataclass(frozen=True)
class CardFacts:
    """What a run found out, as its files have it.

    Attributes
    ----------
    model
        ``bundle.json``: task, labels, threshold, members, facts.
    program
        ``program.json``: the feature rules.
    lineage
        ``lineage.json``: clock, sources, splits, versions.
    metrics, evaluation
        What evaluate wrote.
    rows
        Rows of the base source by what became of them: read, unlabelled by reason, labelled.
    """

    model: Mapping[str, Any]
    program: Mapping[str, Any]
    lineage: Mapping[str, Any]
    metrics: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    rows: Mapping[str, Any]

    @property
    def families(self) -> list[str]:
        """The kinds of the model's members, each once."""
        return list(dict.fromkeys(member["family"] for member in self.model["members"]))


def render(name: str, project: Project, facts: CardFacts) -> str:
    """The card's text.

    Parameters
    ----------
    name
        The model's name.
    project
        What only people know: owner, purpose, stakeholders, risks, ...
    facts
        What the run found out.
    """
    sections = {
        "Model details": _details(project, facts),
        "Intended use": _use(project),
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
    found = facts.metrics["model"]
    results = [
        {
            "type": metric,
            "value": float(f["value"]),
            "name": f"{metric} ({confidence:.0%} interval {f['low']:.4g} to {f['high']:.4g})",
        }
        for metric, f in found.items()
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
        **({"metrics": list(found)} if found else {}),
        # An index without a figure is refused by readers.
        **({"model-index": [{"name": name, "results": [result]}]} if results else {}),
    }


def _stated(value: str, key: str) -> str:
    return line(value) or f"not stated in params.yaml (project.{key})"


def _listed(title: str, values: tuple[str, ...], key: str) -> str:
    said = bullets(values) if values else bullets([_stated("", key)])
    return f"{title}:\n\n{said}"


def _details(project: Project, facts: CardFacts) -> str:
    model, rules = facts.model, facts.program["rules"]
    items = [
        f"Owner: {_stated(project.owner, 'owner')}",
        f"Licence: {_stated(project.license, 'license')}",
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


def _use(project: Project) -> str:
    return "\n\n".join(
        [
            f"Purpose: {_stated(project.purpose, 'purpose')}",
            _listed(
                "Who uses the predictions or is affected", project.stakeholders, "stakeholders"
            ),
            _listed("Out of scope", project.out_of_scope, "out_of_scope"),
        ]
    )


def _factors(facts: CardFacts) -> str:
    columns = facts.evaluation["slices"]
    if not columns:
        return "No groups were judged apart: `evaluate.slices` in params.yaml names no column."
    items = []
    for column, found in columns.items():
        small = found["too_small"]
        aside = f"; {small['slices']} too small to judge ({small['rows']:,} rows)"
        items.append(
            f"{literal(column)}: {len(found['judged'])} groups judged"
            + (aside if small["slices"] else "")
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
    weighed = evaluation.get("threshold")
    if weighed:
        text += (
            f" The threshold, {weighed['threshold']:.4g}, is the one that cost least on the "
            "validation rows by `task.cost`."
        )
    return text


def _evaluation_data(facts: CardFacts) -> str:
    test = facts.lineage["splits"]["test"]
    return (
        f"The test split: {test['rows']:,} rows{_window(test)}, set apart by the strategy "
        f"`{facts.lineage['split']}` before any model was fitted; it has no part in choosing or "
        f"fitting one. Target: {_target(test)}."
    )


def _window(part: Mapping[str, Any]) -> str:
    first, last = part.get("time") or (None, None)
    return f" from {first} to {last}" if first else ""


def _target(part: Mapping[str, Any]) -> str:
    if "target_mean" in part:
        return f"mean {part['target_mean']:.6g}"
    shares = list(part.get("target", {}).items())
    said = ", ".join(f"{literal(label)} {share:.1%}" for label, share in shares[:_CLASSES])
    more = len(shares) - _CLASSES
    return (said + (f", and {more} more classes" if more > 0 else "")) or "unknown"


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
        [name, f"{part['rows']:,}", *(part.get("time") or ("", "")), _target(part)]
        for name, part in lineage["splits"].items()
    ]
    clock = lineage["clock"]
    told = (
        f"Only what was known before the data clock, {clock}, was taken."
        if clock
        else "No data clock was set: all that the sources held was taken."
    )
    unlabelled = "".join(
        f"; {count:,} without a label ({literal(why)})"
        for why, count in facts.rows["unlabelled"].items()
    )
    fate = (
        f"Rows of {code(facts.program['rules']['base'])}: {facts.rows['read']:,} read, "
        f"{facts.rows['labelled']:,} labelled{unlabelled}. The model was chosen on validation "
        "and at last fitted on train and validation together."
    )
    taken = table(["source", "from", "rows", "first", "last", "SHA-256"], sources)
    parts = table(["split", "rows", "first", "last", "target"], splits)
    return f"{told}\n\n{taken}\n\n{fate}\n\n{parts}"


def _ethics(project: Project, facts: CardFacts) -> str:
    worst = facts.evaluation["worst_slice"]
    found = (
        f"Of the groups judged, the worst is {literal(worst['column'])} = "
        f"{literal(worst['value'])}: {worst['metric']} {worst['figure']:.4g} on "
        f"{worst['rows']:,} rows."
        if worst
        else "No group was judged apart, so unequal quality would not have been seen."
    )
    return "\n\n".join(
        [_listed("Risks", project.risks, "risks"), found, *fairness(facts.evaluation)]
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
