"""Renders the ``params.yaml`` of a new project: every section, with explaining comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.models.families import FAMILIES
from mlops_cli.scaffold.yaml_text import comment, flow_list, scalar

if TYPE_CHECKING:
    from mlops_cli.params.data import TypeName
    from mlops_cli.scaffold.column_roles import ColumnRole
    from mlops_cli.scaffold.infer_project import Proposal

__all__ = ["ReadOptions", "render"]

SMALL = 1000
"""With fewer rows, the search uses all of them."""
TRIED = ("linear", "mlp", "extra_trees", "lightgbm", "catboost")
"""Families that the search tries if they are installed; they differ from each other."""
SLICE_VALUES = 10

METRICS = {
    "binary": ("roc_auc", "the area under the ROC curve"),
    "multiclass": ("log_loss", "the log loss"),
    "regression": ("rmse", "the root mean squared error"),
}
"""Task type -> the metric of the search, and its name in words."""


@dataclass(frozen=True)
class ReadOptions:
    """How the data file is read: its entry in ``ingest.sources``."""

    source: str
    uri: str
    separator: str
    encoding: str
    null_values: dict[str, tuple[str, ...]]
    types: dict[str, TypeName]
    derive: dict[str, str]


def render(name: str, reading: ReadOptions, proposal: Proposal) -> str:
    """The text of the file."""
    head = (
        f"# The settings of {name}, as `mlops init` inferred them from {reading.uri}.\n"
        "# Change what you know better; `mlops run` then reruns what depends on it."
    )
    parts = [
        head,
        _project(name, proposal),
        _task(proposal),
        _ingest(reading, proposal),
        _validate(reading.source, proposal),
        _featurize(reading.source, proposal),
        _split(proposal),
        _tune(proposal),
        _evaluate(proposal),
        _register(name, proposal),
    ]
    return "\n\n".join(parts) + "\n"


def _project(name: str, proposal: Proposal) -> str:
    description = f"Predicts {proposal.target.name}"
    return (
        f"project:\n  name: {name}\n  description: {scalar(description)}\n"
        "  # Every random choice comes from this.\n  seed: 0\n"
        "  # For the model card, models/model/README.md, which shows empty ones as not stated.\n"
        "  owner: ''\n  purpose: ''\n"
        "  stakeholders: []\n  out_of_scope: []\n  risks: []\n"
        "  # Such as apache-2.0 or other.\n  license: ''"
    )


def _task(proposal: Proposal) -> str:
    target = proposal.target
    lines = ["task:", f"  # {comment(target.reason)}", f"  type: {target.task}"]
    if target.task == "binary":
        shares = ", ".join(f"{k}: {n} rows" for k, n in target.classes.items())
        lines += [
            f"  # The class whose probability is predicted ({comment(shares)}).",
            f"  positive: {scalar(target.positive)}",
            "  # What a mistake costs, in any unit; the threshold is chosen by it.",
            "  cost: {false_positive: 1.0, false_negative: 1.0}",
        ]
    return "\n".join(lines)


def _ingest(reading: ReadOptions, proposal: Proposal) -> str:
    lines = [
        "ingest:",
        "  # The data clock: with a moment such as '2024-01-31', only earlier rows are taken"
        + (" (by `time`)." if proposal.time else "; it needs a `time` column."),
        "  until: null",
        "  sources:",
        f"    {reading.source}:",
        f"      uri: {scalar(reading.uri)}",
    ]
    if reading.separator != ",":
        shown = '"\\t"' if reading.separator == "\t" else scalar(reading.separator)
        lines.append(f"      separator: {shown}")
    if reading.encoding != "utf-8":
        lines.append(f"      encoding: {scalar(reading.encoding)}")
    if reading.null_values:
        lines.append("      null_values:")
        lines += [f"        {scalar(c)}: {flow_list(t)}" for c, t in reading.null_values.items()]
    if proposal.time is not None:
        lines.append(f"      time: {scalar(proposal.time)}")
    if reading.types:
        lines.append("      types:")
        lines += [f"        {scalar(c)}: {kind}" for c, kind in reading.types.items()]
    if reading.derive:
        lines.append("      # Numbers and dates that the file writes in another notation.")
        lines.append("      derive:")
        lines += [f"        {name}: {scalar(sql)}" for name, sql in reading.derive.items()]
    parts = proposal.parts
    if parts is not None and proposal.time is None:
        lines += [
            f"      # {comment(', '.join(parts.columns))} make a date. With these lines and",
            "      # `strategy: time` under `split` the latest rows are the test set:",
            *([] if reading.derive else ["      # derive:"]),
            f"      #   {parts.name}: {scalar(parts.sql)}",
            f"      # time: {parts.name}",
        ]
    return "\n".join(lines)


def _validate(source: str, proposal: Proposal) -> str:
    # A file with half of its rows was cut short; the data clock may leave as few as a tenth.
    least = max(1, proposal.rows // (10 if proposal.time else 2))
    lines = [
        "validate:",
        "  examples: 3",
        "  sources:",
        f"    {source}:",
        f"      # There are {proposal.rows} rows now.",
        f"      rows: [{least}, null]",
        "      columns:",
        "        # Ranges are what was seen, widened by its width on both sides; they only warn.",
    ]
    lines += [
        f"        {scalar(column.name)}: {{{_rules(column)}}}"
        for column in proposal.columns
        if column.role != "left out"
    ]
    return "\n".join(lines)


def _rules(column: ColumnRole) -> str:
    rules = [f"type: {column.type}"]
    if not column.missing:
        rules.append("nullable: false")
    if column.low is not None and column.high is not None:
        rules.append(f"min: {{value: {scalar(column.low)}, policy: warn}}")
        rules.append(f"max: {{value: {scalar(column.high)}, policy: warn}}")
    if column.categories:
        rules.append(f"allowed: {{value: {flow_list(column.categories)}, policy: warn}}")
    return ", ".join(rules)


def _featurize(source: str, proposal: Proposal) -> str:
    target = proposal.target
    lines = ["featurize:", f"  base: {source}", f"  target: {scalar(target.sql)}"]
    if target.unlabelled:
        lines += [
            f"  # {target.unlabelled} of {proposal.rows} rows have no target.",
            "  unlabelled:",
            f"    no_target: {scalar(f'{target.sql} IS NULL')}",
        ]
    if proposal.group is not None:
        lines += [
            "  # Carried along to split by; not a feature.",
            f"  keep: {flow_list([proposal.group])}",
        ]
    prose = [name for c in proposal.columns if c.text for name, _ in c.features]
    if prose:
        lines += ["  # Free text: its words count.", f"  text: {flow_list(prose)}"]
    lines += [
        "  # Name: expression (SQL). Try ratios, differences, CASE WHEN ... THEN ... END.",
        "  features:",
    ]
    for column in proposal.columns:
        if column.role == "left out":
            lines.append(
                f"    # {comment(scalar(column.name))} is left out: {comment(column.reason)}."
            )
        lines += [f"    {scalar(name)}: {scalar(sql)}" for name, sql in column.features]
    return "\n".join(lines)


def _split(proposal: Proposal) -> str:
    lines = [
        "split:",
        f"  # {comment(proposal.strategy_reason)}.",
        f"  strategy: {proposal.strategy}",
        "  validation: 0.2",
        "  test: 0.2",
    ]
    if proposal.group is not None:
        lines.append(f"  group: {scalar(proposal.group)}")
    return "\n".join(lines)


def _tune(proposal: Proposal) -> str:
    metric, words = METRICS[proposal.target.task]
    small = proposal.rows < SMALL
    families = ", ".join(name for name in TRIED if FAMILIES[name].installed)
    return "\n".join(
        [
            "tune:",
            f"  # The validation split decides by {words}.",
            f"  metric: {metric}",
            f"  families: [{families}]",
            "  trials: 20",
            "  # A time budget; with one, the result varies from run to run.",
            "  seconds: null",
            "  # The search trains on at most so many rows; null: all.",
            f"  rows: {'null' if small else 50000}",
            "  pruning: true",
            "",
            "train:",
            "  # Boosting stops after so many rounds that don't help on the validation split.",
            "  early_stopping: 50",
        ]
    )


def _evaluate(proposal: Proposal) -> str:
    slices = [
        name
        for c in proposal.columns
        if c.role == "feature" and 1 < len(c.categories) <= SLICE_VALUES
        for name, _ in c.features
    ][:2]
    return "\n".join(
        [
            "evaluate:",
            "  # By name; empty: the task's usual ones.",
            "  metrics: []",
            "  # Bootstrap resamples, and the confidence of the intervals.",
            "  resamples: 400",
            "  confidence: 0.95",
            "  # Features by whose values the metrics are broken down, where rows suffice.",
            f"  slices: {flow_list(slices)}",
            "  slice_rows: 200",
            "  # Columns whose groups of people have to be treated alike: fairness is measured.",
            "  protected: []",
        ]
    )


def _register(name: str, proposal: Proposal) -> str:
    metric, _ = METRICS[proposal.target.task]
    return "\n".join(
        [
            "register:",
            f"  name: {name}",
            "  gates:",
            "    # Better than a constant and than a simple linear model, beyond chance.",
            f"    beats_baselines: {metric}",
            "    # Least (or, for an error, largest) acceptable values, such as {roc_auc: 0.8}.",
            "    limits: {}",
        ]
    )
