"""Markdown and YAML with values of any content."""

import pytest
import yaml
from ruamel.yaml import YAML

from mlops_cli.registry.markdown import code, line, literal
from mlops_cli.registry.markdown import yaml as scalar

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
@pytest.mark.parametrize("value", [*AWKWARD, 0, -3, 0.5, 1e-06, 123456.75, 2.0, -0.0], ids=ascii)
def test_a_scalar_of_yaml_is_read_as_it_was_written_and_stays_on_its_line(parse, value):
    text = scalar(value)
    assert len(text.splitlines()) == 1
    assert parse(f"- a: {text}\n  b: 1\n") == [{"a": value, "b": 1}]


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


def test_a_text_stays_on_one_line():
    assert line("  a \n b ") == "a b"
