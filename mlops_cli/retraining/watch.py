"""Monitoring and retraining on a schedule, each in a process of its own.

So a step that ends badly, or is killed, takes nothing with it; Ctrl-C at the terminal reaches the
watch and not a retraining midway; and a newer version of the tool is used from the next step on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import read_json, write_json
from mlops_cli.data.durations import add
from mlops_cli.errors import NotFound
from mlops_cli.project.locks import lock

if TYPE_CHECKING:
    from types import FrameType

    from mlops_cli.layout import Layout

__all__ = ["StopSignal", "WatchRound", "exit_code_of", "last_round", "watch"]

STEPS: dict[str, tuple[str, ...]] = {
    "monitor": ("monitor", "--json"),
    "retrain": ("retrain", "--if-needed", "--json"),
}
"""What is run, in this order."""
_SAID = 2_000
"""Characters of an error that are kept."""


@dataclass(frozen=True)
class WatchRound:
    """One round.

    Attributes
    ----------
    began, ended
        ISO 8601.
    codes
        Step -> exit code; of those that were run.
    said
        Step -> what it told, as JSON has it, or its error.
    """

    began: str
    ended: str
    codes: dict[str, int]
    said: dict[str, Any]


class StopSignal:
    """Asked to end: between steps at the first signal, at once at the second."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    @property
    def wanted(self) -> bool:
        """Whether to begin nothing more."""
        return self._wanted.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait, or until asked to end; say whether to end."""
        return self._wanted.wait(seconds)

    def ask(self) -> None:
        """End after the present step; asked again, interrupt it."""
        child = self._child
        if self.wanted and child is not None:
            # Its whole group: what the step has started is to stop as well.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
        self._wanted.set()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT ask, while the block runs."""

        def ask(number: int, frame: FrameType | None) -> None:
            _ = number, frame
            self.ask()

        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ended(self, child: subprocess.Popen[str]) -> tuple[str, str]:
        """What a child has said, after it has ended."""
        self._child = child
        try:
            return child.communicate()
        finally:
            self._child = None


def watch(
    layout: Layout,
    every: str,
    stop: StopSignal,
    began: Callable[[str], None],
    ended: Callable[[WatchRound], None],
    *,
    once: bool = False,
    local: bool = False,
) -> None:
    """Do a round, then another one each ``every`` after the last one's beginning, until stopped.

    A round that was due while nobody watched is done at once.

    Parameters
    ----------
    began
        Told the name of each step.
    ended
        Told each round.

    Raises
    ------
    Busy
        If another one watches this project.
    """
    with lock(layout.work / "watch" / "watch.lock", "watching"), stop.heard():
        while not stop.wait(0.0 if once else _seconds_until_due(layout, every)):
            done = _round(layout, stop, began, local=local)
            if done is not None:
                write_json(layout.work / "watch" / "last.json", asdict(done))
                ended(done)
            if once:
                return


def last_round(layout: Layout) -> WatchRound | None:
    """The last round that was completed."""
    try:
        return WatchRound(**read_json(layout.work / "watch" / "last.json"))
    except NotFound:
        return None


def exit_code_of(done: WatchRound) -> int:
    """The exit code that stands for a round: that of the first step that went wrong.

    What monitoring finds (10, 11) is no fault of the round: the retraining acts on it.
    """
    found = {10, 11}
    return next((c for c in done.codes.values() if c and c not in found), 0)


def _seconds_until_due(layout: Layout, every: str) -> float:
    last = last_round(layout)
    if last is None:
        return 0.0
    due = add(dt.datetime.fromisoformat(last.began), every)
    # A clock that was set back must not put it off for longer than that.
    left = (due - dt.datetime.now(dt.UTC)).total_seconds()
    most = (add(dt.datetime.now(dt.UTC), every) - dt.datetime.now(dt.UTC)).total_seconds()
    return max(0.0, min(left, most))


def _round(
    layout: Layout, stop: StopSignal, began: Callable[[str], None], *, local: bool
) -> WatchRound | None:
    start = _now()
    codes: dict[str, int] = {}
    said: dict[str, Any] = {}
    for step, words in STEPS.items():
        if stop.wanted:
            break
        began(step)
        more = ("--local",) if local and step == "retrain" else ()
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "mlops_cli", *words, *more],
            cwd=layout.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        out, error = stop.ended(child)
        codes[step], said[step] = child.returncode, _told(out, error)
    return WatchRound(start, _now(), codes, said) if codes else None


def _told(out: str, error: str) -> Any:
    try:
        return json.loads(out)
    except ValueError:
        return " ".join((error or out).split())[:_SAID]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
