"""Templates: errors for missing values, escaping of HTML, files with braces."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.data.templates import render

TEMPLATES = {
    "page.html.jinja": "<b>{{ name }}</b>\n",
    "list.yml.jinja": "{% for name in names %}\n  - {{ name | loud }}\n{% endfor %}\n",
    "flow.yml.angle.jinja": "<%# ours %>\n<% if a %>\nname: <%= a %> ${{ theirs }}\n<% endif %>\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with templates."""
    folder = tmp_path / "package_of_templates"
    (folder / "templates").mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name, text in TEMPLATES.items():
        (folder / "templates" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_only_html_is_escaped_and_lines_of_blocks_leave_nothing(package: str) -> None:
    assert render(package, "page.html.jinja", name="<&>") == "<b>&lt;&amp;&gt;</b>\n"
    found = render(package, "list.yml.jinja", {"loud": str.upper}, names=["a", "<b>"])
    assert found == "  - A\n  - <B>\n"


def test_a_file_with_braces_of_its_own_keeps_them(package: str) -> None:
    found = render(package, "flow.yml.angle.jinja", a="{{ x }}<%= y %>")
    assert found == "name: {{ x }}<%= y %> ${{ theirs }}\n"


def test_a_missing_value_is_an_error(package: str) -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render(package, "page.html.jinja")
