"""A project's own template of the model card: its path, and DVC's dependency on it."""

import os

import pytest
from trained_projects import make_params, train_project

from mlops_cli.errors import BadParams
from mlops_cli.evaluation import stage as evaluate
from mlops_cli.layout import Layout
from mlops_cli.registry import stage as register
from mlops_cli.registry.card_template import find_template
from mlops_cli.reporting import Silent

STAGE = "stages:\n  register:\n    cmd: mlops stage register\n"


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "p" / "docs").mkdir(parents=True)
    (tmp_path / "p" / "docs" / "card.md").write_text("# {{ name }}\n")
    return Layout(tmp_path / "p")


def refused(layout, setting):
    with pytest.raises(BadParams) as caught:
        find_template(layout, setting)
    assert "\n" not in caught.value.message
    return caught.value


def test_a_template_is_read_by_its_path_in_the_project(layout):
    assert find_template(layout, None) is None
    found = find_template(layout, "docs/../docs/card.md")
    assert (found.path, found.text) == ("docs/card.md", "# {{ name }}\n")
    (layout.root / "link.md").symlink_to("docs/card.md")
    assert find_template(layout, "link.md").text == "# {{ name }}\n"


@pytest.mark.parametrize("setting", ["../card.md", "/etc/passwd", ".git/config", "", "a\\b", "."])
def test_a_path_out_of_the_project_is_refused(layout, setting):
    (layout.root.parent / "card.md").write_text("secret")
    error = refused(layout, setting)
    assert error.message.startswith("register.card states the path")
    assert "params.yaml" in error.message


def test_a_link_out_of_the_project_is_refused(layout):
    (layout.root.parent / "secret.md").write_text("secret")
    (layout.root / "link.md").symlink_to("../secret.md")
    assert "a link leads out" in refused(layout, "link.md").message
    (layout.root / "folder").symlink_to("..")
    assert "a link leads out" in refused(layout, "folder/secret.md").message
    (layout.root / ".git").mkdir()
    (layout.root / ".git" / "config").write_text("token")
    (layout.root / "config.md").symlink_to(".git/config")
    assert "Git's or DVC's own" in refused(layout, "config.md").message


def test_what_is_no_file_is_refused(layout):
    os.mkfifo(layout.root / "pipe")
    (layout.root / "loop").symlink_to("loop")
    for setting in ("nosuch.md", "docs", "pipe", "loop"):
        message = refused(layout, setting).message
        assert message.startswith("register.card ")
        assert repr(setting) in message


def test_only_text_of_a_limited_size_is_read(layout):
    file = layout.root / "docs" / "card.md"
    file.write_bytes(b"x" * 100_000)
    assert len(find_template(layout, "docs/card.md").text) == 100_000
    file.write_bytes(b"x" * 100_001)
    assert "larger than 100 kB" in refused(layout, "docs/card.md").message
    file.write_bytes(b"caf\xe9")
    assert "UTF-8" in refused(layout, "docs/card.md").message


@pytest.mark.parametrize(
    ("entries", "added"),
    [
        ("", ["`docs/card.md` to its deps", "`register.card` to its params"]),
        ("    deps: [docs/card.md]\n", ["`register.card` to its params"]),
        ("    params: [register.card]\n", ["`docs/card.md` to its deps"]),
        ("    deps: [docs/card]\n    params: [register]\n", ["`docs/card.md` to its deps"]),
        ("    deps: [docs/card.md]\n    params: [other.yaml: [register.card]]\n", ["params"]),
    ],
)
def test_a_template_that_dvc_does_not_know_is_refused_with_what_to_add(layout, entries, added):
    layout.dvc_yaml.write_text(STAGE + entries)
    error = refused(layout, "docs/card.md")
    assert "dvc.yaml" in error.message
    assert all(part in error.hint for part in added)
    assert ("deps" in error.hint) == any("deps" in part for part in added)
    layout.dvc_yaml.write_text("stages: {}\n")
    assert "`docs/card.md` to its deps" in refused(layout, "docs/card.md").hint


@pytest.mark.parametrize(
    "entries",
    [
        "    deps: [docs/card.md]\n    params: [register.card]\n",
        "    deps: [./docs]\n    params: [register]\n",
        "    deps: [{docs/card.md: {hash: md5}}]\n    params: [{params.yaml: null}]\n",
        "    deps: ['${register.card}']\n    params: [register.card]\n",
    ],
)
def test_a_template_that_dvc_knows_is_taken(layout, entries):
    layout.params.write_text("register: {card: docs/card.md}\n")
    layout.dvc_yaml.write_text(STAGE + entries)
    assert find_template(layout, "docs/card.md").path == "docs/card.md"


def test_the_stage_writes_the_projects_card_and_an_error_leaves_the_old_one(tmp_path):
    layout = train_project(tmp_path, "binary", family="linear")
    evaluate.run(make_params("binary"), layout, Silent())
    settings = make_params("binary", register={"name": "tumours", "card": "card.md"})
    (tmp_path / "card.md").write_text("# {{ name }}, by {{ families | join }}\n")
    register.run(settings, layout, Silent())
    card, manifest = layout.model / "README.md", layout.model / "manifest.json"
    assert card.read_text() == "# tumours, by linear\n"
    before = manifest.read_bytes()
    (tmp_path / "card.md").write_text("# {{ name }}\n\n{{ familes }}\n")
    with pytest.raises(BadParams, match=r"^card\.md:3 uses an unknown value: 'familes'"):
        register.run(settings, layout, Silent())
    assert manifest.read_bytes() == before
    (tmp_path / "dvc.yaml").write_text(STAGE)
    with pytest.raises(BadParams, match=r"doesn't depend on the card's template 'card\.md'"):
        register.run(settings, layout, Silent())
    assert manifest.read_bytes() == before
