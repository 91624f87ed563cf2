"""Progress of a search on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mlops_cli.cli.output.progress import LiveLine, PlainLines, sparkline
from mlops_cli.reporting import Leaderboard, Table

LEADERS = Table("Leaders", ("trial", "family", "score"), ((3, "forest", 0.75), (1, "linear", 0.7)))


@pytest.mark.parametrize(
    ("values", "most", "line"),
    [
        ((), 5, ""),
        ((1.0,), 5, "▁"),
        ((2.0, 2.0), 5, "▁▁"),
        ((0.0, 1.0, 7.0), 5, "▁▂█"),
        ((9.0, 0.0, 7.0), 2, "▁█"),
    ],
)
def test_a_course_is_drawn_between_its_least_and_its_most(values, most, line):
    assert sparkline(values, most) == line


def test_a_terminal_shows_leaders_course_and_time_left():
    with LiveLine("tune") as shown:
        shown.show_leaderboard(Leaderboard(LEADERS, (0.7, 0.7, 0.75), 12.4))
        screen = Console(file=io.StringIO(), width=80)
        for part in shown._bar.get_renderables():
            screen.print(part)
    text = screen.file.getvalue()
    assert text.index("forest") < text.index("linear")
    assert "▁▁█  12 s left" in text


def test_a_log_has_none_of_it(capsys):
    with PlainLines("tune") as shown:
        shown.show_leaderboard(Leaderboard(LEADERS, (0.7,)))
    assert capsys.readouterr().out == ""
