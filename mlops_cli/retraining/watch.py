"""Watch loop: monitoring and retraining on a schedule, each in its own process.

So a step that fails or is killed doesn't end the loop. Ctrl-C at the terminal reaches the loop and
doesn't interrupt a retraining. And after an upgrade of the tool, the next step uses the new
version.
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
"""The commands of a round, in this order."""
_MAX_CHARACTERS = 2_000
"""The most characters of an error that are stored."""


@dataclass(frozen=True)
class WatchRound:
    """One round.

    Attributes
    ----------
    began, ended
        ISO 8601.
    codes
        Step -> exit code, of the steps that were run.
    said
        Step -> its JSON output, or its error.
    """

    began: str
    ended: str
    codes: dict[str, int]
    said: dict[str, Any]


class StopSignal:
    """Request to end: between steps at the first signal, at once at the second."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    @property
    def requested(self) -> bool:
        """Whether no further step should begin."""
        return self._requested.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for a time, or until a request to end; return whether to end."""
        return self._requested.wait(seconds)

    def request(self) -> None:
        """Request the end after the present step; a second request interrupts the step."""
        child = self._child
        if self.requested and child is not None:
            # The whole process group, so that processes of the step stop as well.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGINT)
        self._requested.set()

    @contextlib.contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT request the end, while the block runs."""

        def request(number: int, frame: FrameType | None) -> None:
            _ = number, frame
            self.request()

        handlers = {s: signal.signal(s, request) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def communicate(self, child: subprocess.Popen[str]) -> tuple[str, str]:
        """Wait until a process has ended; return its stdout and stderr."""
        self._child = child
        try:
            return child.communicate()
        finally:
            self._child = None


def watch(
    layout: Layout,
    every: str,
    stop: StopSignal,
    on_step: Callable[[str], None],
    on_round: Callable[[WatchRound], None],
    *,
    once: bool = False,
    local: bool = False,
) -> None:
    """Run rounds until stopped, each ``every`` after the beginning of the one before.

    A round that became due while no loop was running is run at once.

    Parameters
    ----------
    on_step
        Called with the name of each step.
    on_round
        Called with each round.

    Raises
    ------
    Busy
        If another loop watches this project.
    """
    with lock(layout.work / "watch" / "watch.lock", "watching"), stop.handle_signals():
        while not stop.wait(0.0 if once else _seconds_until_due(layout, every)):
            result = _run_round(layout, stop, on_step, local=local)
            if result is not None:
                write_json(layout.work / "watch" / "last.json", asdict(result))
                on_round(result)
            if once:
                return


def last_round(layout: Layout) -> WatchRound | None:
    """The last completed round; None if there is none."""
    try:
        return WatchRound(**read_json(layout.work / "watch" / "last.json"))
    except NotFound:
        return None


def exit_code_of(watch_round: WatchRound) -> int:
    """The exit code for a round: that of the first step that failed.

    Findings of monitoring (10, 11) are no failure of the round: the retraining acts on them.
    """
    findings = {10, 11}
    return next((c for c in watch_round.codes.values() if c and c not in findings), 0)


def _seconds_until_due(layout: Layout, every: str) -> float:
    last = last_round(layout)
    if last is None:
        return 0.0
    due = add(dt.datetime.fromisoformat(last.began), every)
    # If the system's clock was set back, the wait must not be longer than one period.
    remaining = (due - dt.datetime.now(dt.UTC)).total_seconds()
    longest = (add(dt.datetime.now(dt.UTC), every) - dt.datetime.now(dt.UTC)).total_seconds()
    return max(0.0, min(remaining, longest))


def _run_round(
    layout: Layout, stop: StopSignal, on_step: Callable[[str], None], *, local: bool
) -> WatchRound | None:
    start = _now()
    codes: dict[str, int] = {}
    outputs: dict[str, Any] = {}
    for step, arguments in STEPS.items():
        if stop.requested:
            break
        on_step(step)
        options = ("--local",) if local and step == "retrain" else ()
        child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "mlops_cli", *arguments, *options],
            cwd=layout.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        out, error = stop.communicate(child)
        codes[step], outputs[step] = child.returncode, _parse_output(out, error)
    return WatchRound(start, _now(), codes, outputs) if codes else None


def _parse_output(out: str, error: str) -> Any:
    try:
        return json.loads(out)
    except ValueError:
        return " ".join((error or out).split())[:_MAX_CHARACTERS]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
