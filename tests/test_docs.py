"""The documentation matches the code: keys, commands, stages, exit codes and make targets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import typer
from pydantic import BaseModel

from mlops_cli.cli.app import app
from mlops_cli.errors import MlopsError
from mlops_cli.metrics.catalog import METRICS, default_metrics
from mlops_cli.models.families import FAMILIES
from mlops_cli.params import Params, parse
from mlops_cli.params.validate import Rule
from mlops_cli.project.pipeline import STAGES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))}
PARAMS = PAGES["params.md"]
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, field) of each setting, with <name> and [] for what the user names or lists."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = list(sections(field.annotation))
        if not inner or not is_section(field.annotation):
            yield key, field
        for path, section in inner:
            yield from settings(section, "rule." if issubclass(section, Rule) else f"{key}{path}.")


def sections(annotation: Any, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections that a type holds, with the way to them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield path, annotation
        return
    origin = getattr(annotation, "__origin__", None)
    step = {dict: ".<name>", tuple: "[]"}.get(origin, "")
    for argument in get_args(annotation):
        yield from sections(argument, path + step)


def is_section(annotation: Any) -> bool:
    """Whether a key only holds further keys, which are documented in its place."""
    found = list(sections(annotation))
    return bool(found) and not any(issubclass(section, Rule) for _, section in found)


def documented() -> dict[str, str]:
    """Dotted key -> the default that docs/params.md states."""
    found, prefix = {}, None
    for line in PARAMS.splitlines():
        if line.startswith("#"):
            heading = re.fullmatch(r"##+ `([^`]+)`", line)
            prefix = heading[1] if heading else None
        row = re.match(r"\| `(\w+)` \| [^|]* \| ([^|]*)\| ", line)
        if row and prefix:
            found[f"{prefix}.{row[1]}"] = row[2].strip().strip("`")
    return found


def written(value: Any) -> str:
    """A default as YAML."""
    if isinstance(value, Rule):
        value = value.value
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(written(v) for v in value)}]"
    return str(value)


SETTINGS = dict(settings(Params))


def test_each_setting_is_documented() -> None:
    assert sorted(SETTINGS.keys() - documented().keys()) == []


def test_each_documented_setting_exists() -> None:
    assert sorted(documented().keys() - SETTINGS.keys()) == []


def test_documented_defaults_are_the_defaults() -> None:
    real = {
        key: "required" if field.is_required() else written(field.default)
        for key, field in SETTINGS.items()
    }
    assert documented() == real


def test_the_example_parameters_are_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PARAMS, flags=re.DOTALL)
    assert parse("".join(blocks)).project.name == "shop-returns"


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_metrics_are_documented_by_task(task: str) -> None:
    row = next(line for line in PARAMS.splitlines() if line.startswith(f"| `{task}` | `"))
    usual, others = (re.findall(r"`(\w+)`", cell) for cell in row.split("|")[2:4])
    fit = [m.name for m in METRICS.values() if task in m.tasks]
    assert sorted(usual + others) == sorted(fit)
    assert tuple(usual) == default_metrics(task)


def test_each_familys_settings_are_documented() -> None:
    rows = {f: next(x for x in PARAMS.splitlines() if x.startswith(f"| `{f}` |")) for f in FAMILIES}
    said = {family: re.findall(r"`(\w+)`", row)[1:] for family, row in rows.items()}
    assert said == {name: list(family.space) for name, family in FAMILIES.items()}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_help_an_example_and_a_place_in_the_documents(name: str) -> None:
    command = COMMANDS[name]
    assert f"Example: mlops {name}" in (command.help or "")
    assert all(getattr(p, "help", None) for p in command.params), "each option says what it does"
    mentioned = re.search(rf"mlops {name}\b", README + "".join(PAGES.values())) is not None
    assert mentioned


def test_each_stage_is_explained_in_order() -> None:
    headings = re.findall(r"^## `(\w+)`", PAGES["pipeline.md"], flags=re.MULTILINE)
    assert tuple(headings) == STAGES


def test_make_targets_that_the_documents_name_exist() -> None:
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + "".join(PAGES.values())
    named = set(re.findall(r"(?:`|^|&& )make ([a-z]+)", text, flags=re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    there = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert {"run", "test"} <= named <= there


def test_exit_codes_are_documented() -> None:
    def codes(error: type[MlopsError]) -> set[int]:
        return {error.exit_code}.union(*(codes(kind) for kind in error.__subclasses__()))

    rows = re.findall(r"^\| (\d+) \| ", README, flags=re.MULTILINE)
    assert {0} | codes(MlopsError) <= set(map(int, rows))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{p}" for p in PAGES)])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []
