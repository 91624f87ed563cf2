"""params.yaml: strict parsing, and errors with line, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli import params
from mlops_cli.errors import BadParams, NotProject
from mlops_cli.params.reading import read_yaml

GOOD = """\
project: {name: shop}
task: {type: binary}
ingest:
  until: "2013-10-01"
  sources:
    orders: {uri: data/raw/orders.csv}
featurize:
  base: orders
  target: returned
register: {name: shop}
"""


def refused(text: str) -> BadParams:
    with pytest.raises(BadParams) as caught:
        params.parse(text)
    return caught.value


def test_defaults_fill_what_is_not_said() -> None:
    settings = params.parse(GOOD)
    assert settings.split.strategy == "random"
    assert settings.validate_.sources == {}


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        params.parse(GOOD).project.name = "other"  # type: ignore[misc]


def test_a_rule_may_be_a_bare_value_or_a_value_with_a_policy() -> None:
    text = GOOD + (
        "validate: {sources: {orders: {columns: "
        "{a: {type: integer, min: 3, max: {value: 9, policy: warn, tolerate: 0.1}}}}}}\n"
    )
    rules = params.parse(text).validate_.sources["orders"].columns["a"]
    assert rules.min is not None
    assert (rules.min.value, rules.min.policy) == (3, "fail")
    assert rules.max is not None
    assert (rules.max.value, rules.max.policy, rules.max.tolerate) == (9, "warn", 0.1)


@pytest.mark.parametrize(
    ("addition", "message", "hint"),
    [
        ('"a[": {}\n', "a[ is not a known setting (params.yaml:11)", "Known: project"),
        ("splt: {}\n", "splt is not a known setting (params.yaml:11)", "Did you mean 'split'?"),
        (
            "split:\n  tset: 0.1\n",
            "split.tset is not a known setting (params.yaml:12)",
            "Did you mean 'test'?",
        ),
        (
            "split: {test: 1.4}\n",
            "split.test: 1.4 is no share of the rows; it must lie between 0 and 1",
            "",
        ),
        ("split: {validation: 3 weeks}\n", "'3 weeks' is not a duration", ""),
        ("tune: {trials: many}\n", "tune.trials is 'many'", ""),
        ("tune: {trials: 0}\n", "tune.trials is 0", ""),
        ("tune: {trials: null}\n", "the search needs an end", ""),
        ("tune: {families: [lightgmb]}\n", "tune.families.0 is 'lightgmb'", ""),
        ("split: {strategy: grouped}\n", "strategy 'grouped' and `group` go together", ""),
        ("split: {validation: 0.6, test: 0.5}\n", "train gets none", ""),
        (
            "validate: {sources: {order: {}}}\n",
            "validate.sources names 'order', which is not one of ingest.sources",
            "",
        ),
    ],
)
def test_a_mistake_names_the_value_and_the_line(addition: str, message: str, hint: str) -> None:
    error = refused(GOOD + addition)
    assert message in error.message
    assert "params.yaml" in error.message
    assert hint in error.hint
    assert error.exit_code == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("register: {name: shop}", "register: {name: LONG}"),
        ("register: {name: shop}", "register: {name: shop, stages: {LONG: {}}}"),
        ("project: {name: shop}", "project: {name: LONG}"),
    ],
)
def test_a_name_that_no_tag_can_have_is_refused_shortly(old: str, new: str) -> None:
    error = refused(GOOD.replace(old, new.replace("LONG", "x" * 1_000)))
    assert "at most 200 characters" in error.message
    assert len(error.message) < 500


def test_a_bare_date_is_refused_as_dvc_cannot_read_it() -> None:
    error = refused(GOOD.replace('"2013-10-01"', "2013-10-01"))
    assert "ingest.until is a bare date" in error.message
    assert "params.yaml:4" in error.message
    assert error.hint == 'Put it in quotes: "2013-10-01".'


def test_the_clock_is_utc() -> None:
    assert str(params.parse(GOOD).ingest.until) == "2013-10-01 00:00:00+00:00"
    zoned = GOOD.replace("2013-10-01", "2013-10-01T02:00:00+02:00")
    assert str(params.parse(zoned).ingest.until) == "2013-10-01 00:00:00+00:00"
    assert "'soon' is not a date" in refused(GOOD.replace("2013-10-01", "soon")).message


def test_a_missing_section_is_named() -> None:
    assert "register is missing" in refused(GOOD.replace("register: {name: shop}\n", "")).message


def test_broken_yaml_names_the_line() -> None:
    broken = GOOD.replace("  sources", "   sources")
    assert "params.yaml:5 is not valid YAML" in refused(broken).message


def test_something_other_than_settings_is_refused() -> None:
    assert "holds no settings" in refused("- a\n- b\n").message


def test_no_file_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(NotProject, match=r"there is no params\.yaml"):
        params.load(tmp_path / "params.yaml")


def test_this_repository_s_own_parameters_are_valid() -> None:
    settings = params.load(Path(__file__).parents[2] / "params.yaml")
    assert settings.featurize.base in settings.ingest.sources


ALIASES = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGED = "b0: &b0 {x: 1}\n" + "".join(
    f"b{i}: &b{i}\n  <<: [{','.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        ALIASES,
        MERGED,
        "[" * 5000,
        "a: &a [*a]",
        "a: " + "9" * 5000,
        "a: 2001-99-99",
        "? {b: 1}\n: 2",
        "a: !!python/object/apply:os.system [id]",
        "a: \0",
        "a: !!float",
        "x" * 8_000_001,
    ],
)
def test_yaml_is_read_within_limits(text):
    with pytest.raises(BadParams, match=r"^params\.yaml"):
        params.parse(text)


def test_an_alias_is_a_value_like_any_other():
    assert read_yaml("a: &a {b: [1, 2]}\nc: *a\nd: {<<: *a, e: 3}\n", "it") == {
        "a": {"b": [1, 2]},
        "c": {"b": [1, 2]},
        "d": {"b": [1, 2], "e": 3},
    }


@pytest.mark.parametrize(
    ("stages", "asks"),
    [
        ("{staging: {}, production: {after: staging}}", "comes after 'staging'"),
        ("{production: {approvals: 1}}", "asks for 1 approvals"),
    ],
)
def test_an_impossible_promotion_setting_is_refused_when_params_are_read(
    stages: str, asks: str
) -> None:
    register = f"register: {{name: shop, champion: {{metric: roc_auc}}, stages: {stages}}}"
    text = GOOD.replace("register: {name: shop}", register)
    assert asks in refused(text + "retrain: {promote: true}\n").message
    assert params.parse(text + "retrain: {promote: false}\n").retrain.promote is False


def test_lists_of_the_section_serve_are_read() -> None:
    stated = "serve: {formats: [json, arrow], entity: [id], hosts: [a], jwt: {algorithms: [RS256]}}"
    serve = params.parse(f"{GOOD}{stated}\n").serve
    assert serve.formats == ("json", "arrow")
    assert serve.jwt is not None
    assert serve.jwt.algorithms == ("RS256",)
    assert "xml" in str(refused(f"{GOOD}serve: {{formats: [json, xml]}}\n"))


@pytest.mark.parametrize("uri", ["''", "' '"])
def test_a_source_without_an_address_is_refused_by_its_key(uri: str) -> None:
    error = refused(GOOD.replace("data/raw/orders.csv", uri))
    assert error.message.startswith(f"ingest.sources.orders.uri is {uri}")


@pytest.mark.parametrize("name", ["'*'", "^a.*$", '"a\\0b"'])
def test_a_name_that_sql_takes_for_a_pattern_names_no_column(name: str) -> None:
    error = refused(GOOD.replace("  target:", f"  features: {{{name}: amount}}\n  target:"))
    assert "cannot be a name here; SQL takes it for a pattern" in error.message
