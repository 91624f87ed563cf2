"""Markdown and YAML from values of any content: what is read is what was meant."""

import pytest
import yaml
from ruamel.yaml import YAML

from mlops_cli.registry.markdown import bullets, code, front_matter, line, literal, table

AWKWARD = [
    "no",
    "on",
    "2024-01-01",
    "a: b # c",
    "- dash",
    'say "hi" \\ there',
    "two\nlines\tand a tab",
    "\x7f\x85\u2028\u200b",
    "grün 😀",
    "",
    "{x}",
    "null",
]


@pytest.mark.parametrize(
    "parse", [yaml.safe_load, YAML(typ="safe", pure=True).load], ids=["YAML 1.1", "YAML 1.2"]
)
def test_front_matter_is_read_as_it_was_written(parse):
    tree = {
        "texts": AWKWARD,
        "numbers": [0, -3, 0.5, 1e-06, 123456.75, 2.0, -0.0],
        "nested": [{"name": "a", "of": {"b": [{"c": "d"}, {"e": 1}]}}, {"name": "z"}],
    }
    text = front_matter(tree)
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    assert parse(text.removeprefix("---\n").removesuffix("---\n")) == tree


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script>"),
        ("[x](y)", r"\[x\](y)"),
        ("back`quote`", r"back\`quote\`"),
        ("two\nlines", "two lines"),
        ("dep_delay _x_", r"dep_delay \_x\_"),
        (None, "(missing)"),
        ("", "(empty)"),
        (" ", "(empty)"),
        (True, "True"),
        (0, "0"),
    ],
)
def test_a_value_of_the_data_marks_nothing_up(value, shown):
    assert literal(value) == shown


def test_code_may_hold_back_quotes_and_stays_on_one_line():
    assert code("a >\n  1") == "`a > 1`"
    assert code("a `b` ``c``") == "``` a `b` ``c`` ```"


def test_items_and_cells_stay_on_their_lines():
    assert bullets(["one\ntwo", "three"]) == "- one two\n- three"
    assert line("  a \n b ") == "a b"
    assert table(["x", "y"], [["1", "2"]]) == "| x | y |\n| --- | --- |\n| 1 | 2 |"
