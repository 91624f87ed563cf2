"""The model card: content from the facts only."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mlops_cli.errors import BadParams
from mlops_cli.params import Project
from mlops_cli.registry.card_template import CardTemplate
from mlops_cli.registry.model_card import CardFacts, render

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "mlops_cli" / "registry" / "templates" / "model_card.md.jinja"
SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]
METRIC = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
CLASSES = {"binary": ["no", "yes"], "multiclass": ["red", "ro|sé", None], "regression": []}


def interval(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def facts(task, **evaluation):
    metric = METRIC[task]
    target = {"target_mean": 151.5} if task == "regression" else {"target": {"a|b": 0.4, "c": 0.6}}
    part = {"rows": 1200, **target}
    source = {"uri": "data/raw/trips.csv", "sha256": "ab" * 32, "rows": 4000}
    judged = {"value": "no|rth", "rows": 400, "metrics": {metric: 0.7}, "interval": interval(0.7)}
    names = ("model", "constant", "linear", "gain_over_constant", "gain_over_linear")
    threshold = {
        "positive": "yes",
        "threshold": 0.25,
        "cost_per_row": {"at_threshold": 0.1, "always_negative": 0.3},
        "confusion": {"true_negative": 1000, "true_positive": 200},
    }
    return CardFacts(
        model={
            "task": task,
            "labels": {"classes": CLASSES[task]},
            "threshold": 0.25 if task == "binary" else None,
            "members": [
                {"family": "lightgbm", "settings": {"rate": 0.123456}, "iterations": 80},
                {"family": "linear", "settings": {}, "iterations": None},
            ],
        },
        program={
            "features": {"size": "number", "kind": "category"},
            "rules": {"base": "trips", "target": "delay > 15", "predict_at": None},
        },
        lineage={
            "clock": "2024-03-01T00:00:00Z",
            "sources": {"trips": {**source, "time_min": "2024-01-01", "time_max": "2024-02-29"}},
            "split": "time",
            "splits": {
                "train": part,
                "validation": part,
                "test": {**part, "time": ["2024-02-01", "2024-02-29"]},
            },
            "seed": 7,
            "versions": {"mlops-cli": "0.1.0"},
        },
        metrics={name: {metric: interval(0.75)} for name in names} | {"rows": 1200},
        evaluation={
            "metrics": [metric],
            "undefined": [],
            "confidence": 0.9,
            "resamples": 400,
            "slices": {
                "site": {"judged": [judged], "too_small": {"slices": 2, "rows": 30}},
            },
            "worst_slice": {"column": "site", "value": "no|rth", "rows": 400}
            | {"metric": metric, "figure": 0.7},
            "worst_segments": {
                "tried": 1234,
                "found": [
                    {"where": {"si|te": "a", "x": None}, "rows": 90}
                    | {"metrics": {metric: interval(0.6)}}
                ],
            },
            "fairness": {"sex": {"gaps": {"equalised_odds_difference": interval(0.2)}}},
            "importance": {"metric": metric, "permutation": {"size": 0.2}, "own": {}},
            **({"threshold": threshold} if task == "binary" else {}),
            **evaluation,
        },
        rows={"read": 4000, "unlabelled": {"lost": 400}, "labelled": 3600},
    )


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize("task", METRIC)
def test_the_front_matter_is_as_the_hub_documents_it(task):
    project = Project(name="trips", description="Late: trips", license="apache-2.0")
    found = metadata(render("late-trips", project, facts(task)))
    kind = "tabular-regression" if task == "regression" else "tabular-classification"
    assert found["pipeline_tag"] == kind
    assert found["license"] == "apache-2.0"
    assert found["tags"] == [kind, task, "lightgbm", "linear"]
    [index] = found["model-index"]
    assert index["name"] == "late-trips"
    [result] = index["results"]
    assert result["task"]["type"] == kind
    assert result["dataset"] == {"type": "trips", "name": "Late: trips", "split": "test"}
    name = f"{METRIC[task]} (90% interval 0.74 to 0.76)"
    assert result["metrics"] == [{"type": METRIC[task], "value": 0.75, "name": name}]


@pytest.mark.parametrize("task", METRIC)
def test_it_has_the_sections_of_a_model_card_and_the_figures_with_intervals(task):
    card = render("late-trips", Project(name="trips"), facts(task))
    assert re.findall("^## (.*)$", card, flags=re.MULTILINE) == SECTIONS
    assert f"| {METRIC[task]} | 0.75 [0.74, 0.76] |" in card
    assert r"| no\|rth | 400 | 0.7 [0.69, 0.71] |" in card
    assert "trips.csv | 4,000 | 2024-01-01 | 2024-02-29 | `abababababab`" in card
    assert "4,000 read, 3,600 labelled; 400 without a label (lost)" in card
    assert "No labelled row after 2024-02-29 was seen" in card


def test_each_table_row_has_as_many_cells_as_its_head():
    for task in METRIC:
        card = render("late-trips", Project(name="trips"), facts(task))
        for block in re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE):
            cells = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
            assert len(cells) == 1, block


def test_what_the_task_decides_is_told():
    cards = {task: render("m", Project(name="trips"), facts(task)) for task in METRIC}
    assert "probability of yes (against no), and decides for it from 0.25 on" in cards["binary"]
    assert "1,000 true negative, 200 true positive" in cards["binary"]
    assert r"each class: red, ro\|sé, (missing)" in cards["multiclass"]
    assert "mean 151.5" in cards["regression"]
    assert "### Decisions" not in cards["multiclass"] + cards["regression"]


def test_what_the_project_does_not_state_is_said_to_be_missing():
    keys = ("owner", "purpose", "stakeholders", "out_of_scope", "risks", "license")
    bare = render("m", Project(name="trips"), facts("binary"))
    assert all(f"not stated in params.yaml (project.{key})" in bare for key in keys)
    assert "license" not in metadata(bare)
    stated = Project(
        name="trips",
        owner="Ann",
        purpose="plan\nthe day",
        stakeholders=("riders", "drivers"),
        out_of_scope=("fines",),
        risks=("blame",),
        license="mit",
    )
    card = render("m", stated, facts("binary"))
    assert "not stated" not in card
    assert "Purpose: plan the day" in card
    assert "- riders\n- drivers" in card


def test_what_could_not_be_judged_is_told():
    unjudged = facts("binary", slices={}, worst_slice=None, undefined=["roc_auc"])
    none = {name: {} for name in unjudged.metrics if name != "rows"}
    card = render("m", Project(name="trips"), replace(unjudged, metrics=none))
    assert "No groups were judged apart" in card
    assert "`roc_auc` could not be judged" in card
    assert "model-index" not in metadata(card)
    few = {"site": {"judged": [], "too_small": {"slices": 3, "rows": 90}}}
    card = render("m", Project(name="trips"), facts("binary", slices=few, worst_slice=None))
    assert "0 groups judged; 3 too small to judge (90 rows)" in card
    assert "Groups with few rows were not judged (site)." in card


def test_long_tables_are_cut_with_a_word():
    one = {"value": "x", "rows": 500, "metrics": {"roc_auc": 0.7}}
    many = {"site": {"judged": [one] * 40, "too_small": {"slices": 0, "rows": 0}}}
    card = render("m", Project(name="trips"), facts("binary", slices=many))
    assert card.count("| x | 500 |") == 24
    assert "16 more groups are in `evaluation.json`" in card


def test_worst_segments_and_gaps_between_groups_are_told():
    card = render("m", Project(name="trips"), facts("binary"))
    assert r"| si\|te = a and x = (missing) | 90 | 0.6 [0.59, 0.61] |" in card
    assert "Of 1,234 segments" in card
    assert "### Fairness by sex" in card
    assert "| equalised odds difference | 0.2 [0.19, 0.21] |" in card


def test_a_report_of_an_earlier_release_still_makes_a_card():
    given = facts("binary")
    for key in ("worst_segments", "fairness"):
        del given.evaluation[key]
    card = render("m", Project(name="trips"), given)
    assert "Fairness" not in card


HOSTILE = '"\n- x: |\\ & <b> `c` {{ 1 }} {% x %} {# y #} ---\n# é😀'


def test_a_hostile_text_marks_nothing_up():
    given = facts("binary", slices={HOSTILE: facts("binary").evaluation["slices"]["site"]})
    given.lineage["sources"] = {HOSTILE: given.lineage["sources"]["trips"] | {"uri": HOSTILE}}
    given.program["rules"]["target"] = HOSTILE
    card = render("m", Project(name="trips", description=HOSTILE, owner=HOSTILE), given)
    assert re.findall("^## (.*)$", card, flags=re.MULTILINE) == SECTIONS
    dataset = metadata(card)["model-index"][0]["results"][0]["dataset"]
    assert dataset["name"] == " ".join(HOSTILE.split())
    body = card.split("---\n", 2)[2]
    assert (
        r"### By " + r'"' + r" - x: \|\\ &amp; &lt;b> \`c\` {{ 1 }} {% x %} {\# y \#} ---" in body
    )
    assert not re.search("^(- x|---$)", body, flags=re.MULTILINE)


def own(text, task="binary"):
    """The card by a template of the project."""
    template = CardTemplate("docs/card.md", text)
    return render("late-trips", Project(name="trips", owner="Ann"), facts(task), template)


@pytest.mark.parametrize("task", METRIC)
def test_a_copy_of_the_template_makes_the_same_card(task):
    copy = DEFAULT.read_text(encoding="utf-8")
    assert own(copy, task) == render("late-trips", Project(name="trips", owner="Ann"), facts(task))
    assert own(copy.replace("\n", "\r\n"), task) == own(copy, task)


def test_a_projects_own_template_gets_values_and_filters():
    classes = "{% for label in classes %}\n- {{ label | literal }}\n{% endfor %}\n"
    made = own("# {{ name }} of {{ project.owner }}\n" + classes)
    assert made == "# late-trips of Ann\n- no\n- yes\n"
    assert own("{{ metrics.model.roc_auc | figure }}, {{ rows.read | number(',') }}") == (
        "0.75 [0.74, 0.76], 4,000"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{% if name %}\n{{ name }", r"docs/card\.md:2 is not a valid template: unexpected '}'"),
        ("{% for %}", r"docs/card\.md:1 is not a valid template: "),
        ("\n{{ 1 | shout }}", r"docs/card\.md:2 is not a valid template: No filter named 'shout'"),
        ("\n\n{{ owner }}", r"docs/card\.md:3 uses an unknown value: 'owner' is undefined"),
        ("{{ project.ownr }}", r"docs/card\.md:1 uses an unknown value: .*'ownr'"),
        ("a\n{{ ''.__class__ }}", r"docs/card\.md:2 does what a template must not: .*__class__"),
        ("{{ '' | attr('__class__') }}", r"docs/card\.md:1 does what a template must not"),
        ("{{ '{0.__class__}'.format(name) }}", r"docs/card\.md:1 does what a template must not"),
        ("{{ lineage.clear() }}", r"docs/card\.md:1 does what a template must not"),
        ("{{ cycler.__init__.__globals__ }}", r"docs/card\.md:1 does what a template must not"),
        ("\n{% include 'other.md' %}", r"docs/card\.md:2 uses another template, 'other.md'"),
        ("{% include 'docs/card.md' %}", r"docs/card\.md:1 can't be rendered: RecursionError"),
        ("\n{{ 1 / 0 }}", r"docs/card\.md:2 can't be rendered: ZeroDivisionError"),
        ("{{ none | yaml }}", r"docs/card\.md:1 can't be rendered: TypeError"),
        ("{{ '\\ud800' }}", r"docs/card\.md can't be rendered: UnicodeEncodeError"),
        ("{{ [1, 2] | random }}", r"docs/card\.md:1 is not a valid template: .*'random'"),
        ("{{ lipsum() }}", r"docs/card\.md:1 uses an unknown value: 'lipsum'"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", r"docs/card\.md:1 can't be .*OverflowError"),
    ],
)
def test_an_error_of_a_template_is_a_sentence_with_its_line(text, problem):
    with pytest.raises(BadParams, match=f"^{problem}") as caught:
        own(text)
    assert "\n" not in caught.value.message
    assert "docs/registry.md" in caught.value.hint


def test_values_and_filters_of_a_template_are_documented():
    seen = {}

    class Spy:
        def render(self, filters, values):
            seen.update(filters=set(filters), values=set(values))
            return ""

    render("m", Project(name="trips"), facts("binary"), Spy())
    comment = DEFAULT.read_text(encoding="utf-8").partition("#}")[0]
    said = re.findall(r"^(\w+)(?:\(SPEC\))?  +\S", comment, flags=re.MULTILINE)
    assert sorted(said) == sorted(seen["values"] | seen["filters"])
    page = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
    section = page.partition("## The model card")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)
    assert sorted(rows) == sorted(said)
