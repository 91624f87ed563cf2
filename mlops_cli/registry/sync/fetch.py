"""The Git remote's tags and branches, brought here again and again while a service runs.

In a thread of its own, so that neither requests nor the look at this clone's tags ever wait for
the network. Only remote-tracking branches and tags change; what failed is tried again.
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
"""Seconds that one fetch may take."""
_LEAST, _MOST = 1.0, 86_400.0


def fetcher(
    root: Path, wanted: str | None, default: str | None, note: Callable[[str], None]
) -> Fetcher | None:
    """The fetcher of a project; None where only this clone's own tags count.

    Parameters
    ----------
    wanted
        A span such as ``30s``, or ``off``; None: ``default``, if there is a Git remote.

    Raises
    ------
    Usage, BadParams
        If it is no span from 1s to 1d.
    NotFound
        If it is wanted, and there is no Git remote.
    """
    span = default if wanted is None else wanted
    if span is None or span == "off":
        return None
    seconds = _seconds(span)
    if seconds is None:
        where = "serve.fetch in params.yaml" if wanted is None else "--fetch"
        hint = "Write it as 30s or 5m; `off` (null in params.yaml): only this clone's own tags."
        raise (BadParams if wanted is None else Usage)(
            f"{where} is {span!r}, and takes a span from 1s to 1d", hint
        )
    git = Git(root)
    remote = git.remote()
    if remote is None:
        if wanted is None:
            return None
        raise NotFound(
            f"--fetch {span}: the repository has no Git remote to fetch from",
            "Add one (git remote add origin URL), or leave --fetch out.",
        )
    return Fetcher(git, remote, seconds, note)


def _seconds(span: str) -> float | None:
    if not re.fullmatch("(?:[0-9]+(?:ms|s|m|h|d))+", span):
        return None
    length = (microseconds(span) or 0) / 1e6
    return length if _LEAST <= length <= _MOST else None


class Fetcher:
    """Fetches from a remote every so many seconds.

    Parameters
    ----------
    note
        Takes a sentence when it begins to fail, and when it works again.

    Attributes
    ----------
    failures
        How many fetches have failed.
    problem
        Why the last one did; None if it didn't.
    """

    def __init__(
        self, git: Git, remote: str, seconds: float, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._git, self._remote, self._seconds, self._note = git, remote, seconds, note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch", daemon=True)
        self._last: float | None = None
        self._began = time.monotonic()
        self.failures = 0
        self.problem: str | None = None

    @property
    def age(self) -> float:
        """Seconds since the last fetch that went well or, before it, since the start."""
        return time.monotonic() - (self._began if self._last is None else self._last)

    def state(self) -> dict[str, Any]:
        """What `/readyz` shows."""
        return {
            "remote": self._remote,
            "every_seconds": self._seconds,
            "age_seconds": None if self._last is None else round(self.age, 1),
            "failures": self.failures,
            "problem": self.problem,
        }

    def start(self) -> None:
        """Begin, with a first fetch at once."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and a fetch that is under way."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                problem = self._fetch()
            except MlopsError as error:
                problem = error.message
            except Exception as error:  # noqa: BLE001 - it goes on, whatever happens
                problem = f"{type(error).__name__}: {error}"
            if not self._ended.is_set():
                self._settle(problem)
            self._ended.wait(self._seconds)

    def _settle(self, problem: str | None) -> None:
        if problem is None:
            self._last = time.monotonic()
            if self.problem is not None:
                self._note(f"the Git remote {self._remote} is reached again")
        else:
            self.failures += 1
            if problem != self.problem:
                self._note(problem)
        self.problem = problem

    def _fetch(self) -> str | None:
        """Fetch once; give what went wrong."""
        words = ("fetch", "--quiet", "--tags", "--no-recurse-submodules", "--no-write-fetch-head")
        code, reason = self._git.bounded(*words, self._remote, seconds=_LONGEST, ended=self._ended)
        # Another command of this clone may just be bringing the same.
        if code == 0 or "cannot lock ref" in reason:
            return None
        if code is None:
            return f"fetching from {self._remote} took more than {_LONGEST:.0f} s and was ended"
        return f"fetching from {self._remote} failed: {' '.join(reason.split())[:300]}"
