"""`--help`: commands by purpose, lines that fit a terminal, examples that are accepted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from mlops_cli.cli.app import app, main
from mlops_cli.cli.commands import COMMANDS

HEADINGS = (
    "Start a project",
    "Build a model",
    "Look at data and models",
    "Release a version",
    "Serve predictions",
    "Operate a model",
)
# Of one meaning wherever they stand.
SHARED = (
    "--fail-on-bad",
    "--features",
    "--json",
    "--local",
    "--message",
    "--remote",
)


def walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of each command and subcommand, with the command."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*words, name))


ALL = dict(walk(typer.main.get_command(app)))


def shown(
    words: tuple[str, ...], columns: int, capsys: pytest.CaptureFixture[str], patch: Any
) -> list[str]:
    """The lines of a command's help in a terminal of so many columns."""
    patch.setenv("COLUMNS", str(columns))
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out.splitlines()


def test_commands_are_listed_by_what_one_does_with_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown((), 80, capsys, monkeypatch)
    groups: dict[str, list[str]] = {}
    for line in lines[lines.index(f"{HEADINGS[0]}:") :]:
        if line.endswith(":"):
            groups[line.removesuffix(":")] = []
        elif line:
            groups[list(groups)[-1]].append(line.split()[0])
    assert tuple(groups) == HEADINGS
    assert groups == {heading: list(names) for heading, names in COMMANDS.items()}
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(ALL[()].commands), "each command is listed once"


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(("mlops", *words)))
def test_no_line_of_help_is_cut_off_or_too_long(
    words: tuple[str, ...],
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = shown(words, columns, capsys, monkeypatch)
    assert max(map(len, lines)) <= columns
    assert [line for line in lines if line.endswith("...") and "Usage:" not in line] == []
    # A command's first sentence stands whole in the list, on the line of its name.
    for name, command in getattr(ALL[words], "commands", {}).items():
        sentence = " ".join(command.help.partition("\n\n")[0].split())
        assert sentence.endswith(".")
        assert [line for line in lines if re.fullmatch(rf"  {name} +{re.escape(sentence)}", line)]


@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(("mlops", *words)))
def test_examples_are_one_line_that_the_command_accepts(
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = shown(words, 80, capsys, monkeypatch)
    examples = [line.partition("Example: ")[2] for line in lines if "Example: " in line]
    assert examples
    assert len(examples) == " ".join(lines).count("Example:")
    texts = re.findall(r"Example: (.+)", ALL[words].help)
    assert examples == texts, "an example that wraps can't be copied"
    for example in examples:
        program, *rest = shlex.split(example)
        assert program == "mlops"
        command = ALL[()]
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        command.make_context("mlops", rest)  # raises where it can't be read


@pytest.mark.parametrize("option", SHARED)
def test_a_shared_option_has_one_wording(option: str) -> None:
    said = {
        (parameter.help, tuple(parameter.opts))
        for command in ALL.values()
        for parameter in command.params
        if option in parameter.opts
    }
    assert len(said) == 1


def test_an_option_before_a_subcommand_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json", "show", "v0.1.0"]) == 2
    assert "--json before 'show' would do nothing" in capsys.readouterr().err
