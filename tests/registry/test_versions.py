"""Versions and stages from tags."""

import datetime as dt

import pytest
from gto.tag import parse_name

from mlops_cli.errors import NotFound
from mlops_cli.registry.tags import Tag, approval_tag, assignment_tag, bump, version_tag
from mlops_cli.registry.versions import Registry

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def registry(*names, name="model"):
    """Tags in this order; ``tag:commit``, and ``<`` before a rollback."""
    tags = []
    for i, entry in enumerate(names):
        tag, _, commit = entry.lstrip("<").partition(":")
        message = "Roll back\n\nAction: rollback" if entry.startswith("<") else "Promote"
        tags.append(
            Tag(tag, commit, START + dt.timedelta(hours=i), "Ann <ann@example.org>", message)
        )
    return Registry.from_tags(name, tags)


TWO = ("model@v0.1.0:a", "model@v0.2.0:b")


def test_versions_are_ordered_by_number_not_by_date():
    found = registry("model@v0.10.0:b", "model@v0.9.0:a", "model@v0.9.1:c")
    assert [v.number for v in found.versions] == ["v0.9.0", "v0.9.1", "v0.10.0"]
    assert found.latest.number == "v0.10.0"


def test_a_version_that_was_taken_back_is_gone_but_its_number_is_not_given_again():
    found = registry(*TWO, "model@v0.2.0!:b")
    assert [v.number for v in found.versions] == ["v0.1.0"]
    assert found.next_number("minor") == "v0.3.0"


def test_tags_of_other_models_and_other_kinds_are_passed_over():
    found = registry("model-two@v1.0.0:a", "model@v0.1.0:a", "model:b", "v1.0:a", "model@nightly:c")
    assert [v.label for v in found.versions] == ["model@v0.1.0"]


def test_the_last_assignment_says_which_version_is_in_a_stage():
    found = registry(*TWO, "model#production#1:a", "model#staging#2:b", "model#production#3:b")
    assert {s: v.number for s, v in found.stages().items()} == {
        "production": "v0.2.0",
        "staging": "v0.2.0",
    }
    assert found.counter == 3


def test_a_stage_can_be_emptied():
    found = registry(*TWO, "model#production#1:a", "model#production!#2:a")
    assert found.in_stage("production") is None
    with pytest.raises(NotFound, match="no version of model is in 'production'"):
        found.find("production")


def test_a_rollback_leads_to_what_was_replaced_and_then_one_further():
    three = (*TWO, "model@v0.3.0:c")
    up = ("model#production#1:a", "model#production#2:b", "model#production#3:c")
    assert registry(*three, *up).previous_version("production").number == "v0.2.0"
    back = (*three, *up, "<model#production#4:b")
    assert registry(*back).previous_version("production").number == "v0.1.0"
    assert registry(*back, "<model#production#5:a").previous_version("production") is None


def test_after_a_rollback_a_new_promotion_can_be_rolled_back_too():
    tags = (*TWO, "model@v0.3.0:c", "model#production#1:a", "model#production#2:b")
    found = registry(*tags, "<model#production#3:a", "model#production#4:c")
    assert found.previous_version("production").number == "v0.1.0"


@pytest.mark.parametrize("text", ["v0.2.0", "0.2.0", "model@v0.2.0", "latest", "production"])
def test_a_version_is_found_by_number_latest_or_stage(text):
    assert registry(*TWO, "model#production#1:b").find(text).number == "v0.2.0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v0.3.0", "v0.2.0"),
        ("prodction", "production"),
        ("other@v0.1.0", "The model here is 'model'"),
    ],
)
def test_an_unknown_version_suggests_the_nearest(text, said):
    with pytest.raises(NotFound) as caught:
        registry(*TWO, "model#production#1:b").find(text)
    assert said in caught.value.hint or "Did you mean" in caught.value.hint


def test_numbers_count_up():
    assert registry().next_number("major") == "v0.1.0"
    assert [bump("v1.2.3", part) for part in ("major", "minor", "patch")] == [
        "v2.0.0",
        "v1.3.0",
        "v1.2.4",
    ]


def test_trailers_and_the_reason_are_read_from_a_message():
    tag = Tag(
        "model@v0.1.0", "a", START, message="model v0.1.0\n\nMore rain.\n\nBundle: ab\nMetric: x"
    )
    assert tag.trailers == {"Bundle": "ab", "Metric": "x"}
    assert tag.body == "More rain."


def test_gto_reads_the_tags_that_are_written():
    assert parse_name(version_tag("a/model", "v1.2.0"))["version"] == "v1.2.0"
    assert parse_name(assignment_tag("model", "production", 7)) | {"action": None} == {
        "name": "model",
        "stage": "production",
        "counter": 7,
        "action": None,
    }


def test_gto_passes_over_approvals():
    tag = approval_tag("model", "v1.2.0", "production", "ann o'x@example.org")
    assert tag == "model/approvals/v1.2.0/production/ann=o=x=example.org"
    assert parse_name(tag, raise_on_fail=False) == {}
    assert [a.stage for a in registry(f"{tag}:a").approvals] == ["production"]
