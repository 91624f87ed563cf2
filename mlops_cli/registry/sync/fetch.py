"""Periodic fetch of the Git remote's tags and branches while a service runs.

It runs in a thread of its own, so that neither requests nor reads of this clone's tags ever wait
for the network. Only remote-tracking branches and tags change. A failed fetch is tried again.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_cli.data.durations import microseconds
from mlops_cli.errors import BadParams, MlopsError, NotFound, Usage
from mlops_cli.project.git import Git

__all__ = ["Fetcher", "fetcher"]

_LONGEST = 60.0
"""Maximum seconds of one fetch."""
_LEAST, _MOST = 1.0, 86_400.0


def fetcher(
    root: Path, interval: str | None, default_interval: str | None, note: Callable[[str], None]
) -> Fetcher | None:
    """Create the fetcher of a project; None if only this clone's own tags count.

    Parameters
    ----------
    interval
        Such as ``30s``, or ``off``; None: ``default_interval``, if there is a Git remote.

    Raises
    ------
    Usage, BadParams
        If it is no interval from 1s to 1d.
    NotFound
        If ``interval`` is an interval and there is no Git remote.
    """
    span = default_interval if interval is None else interval
    if span is None or span == "off":
        return None
    seconds = _parse_interval(span)
    if seconds is None:
        where = "serve.fetch in params.yaml" if interval is None else "--fetch"
        hint = "Write it as 30s or 5m; `off` (null in params.yaml): only this clone's own tags."
        raise (BadParams if interval is None else Usage)(
            f"{where} is {span!r}, and takes a span from 1s to 1d", hint
        )
    git = Git(root)
    remote = git.remote()
    if remote is None:
        if interval is None:
            return None
        raise NotFound(
            f"--fetch {span}: the repository has no Git remote to fetch from",
            "Add one (git remote add origin URL), or leave --fetch out.",
        )
    return Fetcher(git, remote, seconds, note)


def _parse_interval(span: str) -> float | None:
    if not re.fullmatch("(?:[0-9]+(?:ms|s|m|h|d))+", span):
        return None
    length = (microseconds(span) or 0) / 1e6
    return length if _LEAST <= length <= _MOST else None


class Fetcher:
    """Fetches from a remote at a fixed interval.

    Parameters
    ----------
    note
        Called with a message when fetches begin to fail, and when they work again.

    Attributes
    ----------
    failures
        Number of fetches that have failed.
    problem
        Why the last fetch failed; None if it succeeded.
    """

    def __init__(
        self, git: Git, remote: str, seconds: float, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._git, self._remote, self._seconds, self._note = git, remote, seconds, note
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._last_success: float | None = None
        self._start_time = time.monotonic()
        self.failures = 0
        self.problem: str | None = None

    @property
    def age(self) -> float:
        """Seconds since the last successful fetch or, before the first one, since the start."""
        return time.monotonic() - (
            self._start_time if self._last_success is None else self._last_success
        )

    def state(self) -> dict[str, Any]:
        """The state that `/readyz` shows."""
        return {
            "remote": self._remote,
            "every_seconds": self._seconds,
            "age_seconds": None if self._last_success is None else round(self.age, 1),
            "failures": self.failures,
            "problem": self.problem,
        }

    def start(self) -> None:
        """Start the thread, with a first fetch at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and a fetch in progress."""
        self._stop_event.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop_event.is_set():
            try:
                problem = self._fetch()
            except MlopsError as error:
                problem = error.message
            except Exception as error:  # noqa: BLE001 - the thread must survive any error
                problem = f"{type(error).__name__}: {error}"
            if not self._stop_event.is_set():
                self._record_outcome(problem)
            self._stop_event.wait(self._seconds)

    def _record_outcome(self, problem: str | None) -> None:
        if problem is None:
            self._last_success = time.monotonic()
            if self.problem is not None:
                self._note(f"the Git remote {self._remote} is reached again")
        else:
            self.failures += 1
            if problem != self.problem:
                self._note(problem)
        self.problem = problem

    def _fetch(self) -> str | None:
        """Fetch once; return what went wrong, or None."""
        command = ("fetch", "--quiet", "--tags", "--no-recurse-submodules", "--no-write-fetch-head")
        code, reason = self._git.run_with_timeout(
            *command, self._remote, timeout=_LONGEST, stop_event=self._stop_event
        )
        # Another command of this clone may be fetching the same references right now.
        if code == 0 or "cannot lock ref" in reason:
            return None
        if code is None:
            return f"fetching from {self._remote} took more than {_LONGEST:.0f} s and was ended"
        return f"fetching from {self._remote} failed: {' '.join(reason.split())[:300]}"
