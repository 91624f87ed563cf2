"""Untrusted text can't control the terminal."""

from __future__ import annotations

import io
import json
import sys

import pytest

from mlops_cli.cli.output import console
from mlops_cli.cli.output.progress import LiveLine, PlainLines
from mlops_cli.errors import MlopsError
from mlops_cli.reporting import Summary, Table

STEERED = "\x1b[31mred\x1b]0;title\x07 \x9b31m bell\x07 back\x08\rover \x7f \u202eflip\u202c \ufeff"
MARKED = "\u2066in\u2069 \u2028line \u200bzero \ud800 \U000e0041 [bold]markup[/bold] x:warning:y"
HOSTILE = f"{STEERED} {MARKED}"
STEERING = "\x1b\x07\x08\x9b\x7f\r\u202e\u202c\u2066\u2069\u2028\u200b\ufeff\ud800\U000e0041"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def draw_table(text):
    console.draw_table(Table(text, (text, "b"), ((text, [text, text]),)))


def draw_summary(text):
    console.draw_summary("stage", Summary(text, warnings=(text,)), None, tables=False)


def draw_tree(text):
    from mlops_cli.cli.models import _tree

    facts = {
        "version": text,
        "in": [],
        "registered": {"by": text, "why": text},
        "stages": [{"tag": text, "at": "2026", "by": text}],
        "metrics": {},
        "gates": [{"name": text, "passed": True}],
        "champion": text,
        "bundle_sha256": text,
        "commit": {"subject": text},
        "pipeline": {text: {"makes": {text: text}, "reads": [text]}},
        "inputs": {text: text},
        "params": {text: {text: text}, "b": text},
    }
    console.console().print(_tree(facts, short=False))


def draw_plain(text):
    console.console().print(text, markup=False)


def draw_error(text):
    console.draw_error(MlopsError(text, text))


def draw_progress(text):
    with PlainLines("stage") as lines:
        lines.note(text)


@pytest.mark.parametrize(
    "draw",
    [
        draw_table,
        draw_summary,
        draw_tree,
        draw_plain,
        draw_error,
        console.draw_note,
        draw_progress,
    ],
)
def test_control_characters_markup_and_emoji_are_shown_as_what_they_are(draw, monkeypatch):
    streams = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    draw(STEERED)
    draw(MARKED)
    shown = "".join(stream.getvalue() for stream in streams)
    assert not set(shown) & set(STEERING), [c for c in STEERING if c in shown]
    shown.encode()
    flat = "".join(c for c in shown if not c.isspace() and c not in "│├└─")
    for part in ("\\x1b[31mred", "\\x9b31m", "\\u202eflip", "[bold]markup[/bold]", "x:warning:y"):
        assert part in flat


@pytest.mark.parametrize("draw", [draw_table, draw_error, console.draw_note, draw_tree])
def test_no_line_is_made_up(draw, capsys):
    draw("a\nverified: all checks passed")
    told = capsys.readouterr()
    lines = (told.out + told.err).splitlines()
    assert not any(text.strip().startswith("verified: all") for text in lines)


def test_a_live_line_shows_no_control_characters_but_richs_own(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    with LiveLine("stage") as live:
        live.update("\x1b]0;x\x07:warning: [red]r[/red]")
        live._bar.refresh()
    shown = stream.getvalue()
    assert "\x1b]0;" not in shown
    assert "\\x1b]0;x\\x07:warning: [red]r" in shown


def test_json_keeps_the_value_and_steers_nothing(capsys):
    console.draw_json({HOSTILE: [HOSTILE]})
    shown = capsys.readouterr().out
    assert not set(shown) & set(STEERING)
    assert json.loads(shown) == {HOSTILE: [HOSTILE]}


def test_what_people_write_stays_as_it_is(capsys):
    text = "Zoë → 東京 ✓ naïve 👩\u200d💻 a\tb"
    console.draw_json({"a": text})
    console.console().print(text, markup=False)
    shown = capsys.readouterr().out
    assert "Zoë → 東京 ✓ naïve 👩\u200d💻" in shown.splitlines()[-1]
    assert json.loads(shown.rpartition("}")[0] + "}")["a"] == text
