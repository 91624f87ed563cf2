"""Retention: erase events beyond a maximum age while the service runs."""

from __future__ import annotations

import datetime as dt
import threading
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from mlops_cli.data.durations import subtract
from mlops_cli.errors import MlopsError

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["Retention"]

_TICK = 60.0
"""Seconds between two runs."""
_BATCHES = 200
"""Maximum number of batches of one run."""
_PAUSE = 0.05
"""Seconds between two batches, so that services can write."""


class Retention:
    """Thread that erases old events in small batches, with its own connection.

    Parameters
    ----------
    url
        The event database; see ``open_events``.
    max_age
        Maximum age of events, such as 90d.

    Attributes
    ----------
    erased
        Number of predictions and labels erased since the start.
    """

    def __init__(self, url: str | None, layout: Layout, max_age: str) -> None:
        self._url = url
        self._layout = layout
        self._keep = max_age
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events-keep", daemon=True)
        self.erased = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the current batch, and wait for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            # If the database is unavailable or doesn't exist yet, the next run erases these events.
            with suppress(MlopsError, OSError):
                self._erase_old()
            self._stop.wait(_TICK)

    def _erase_old(self) -> None:
        from mlops_cli.events.erasure import Selection, open_eraser
        from mlops_cli.events.spill_erasure import erase_lines

        before = subtract(dt.datetime.now(dt.UTC), self._keep).timestamp()
        selection = Selection(before=before)
        lines = erase_lines(self._layout.work / "spill", selection)
        self.erased += lines.spilled + lines.damaged
        eraser = open_eraser(self._url, self._layout)
        try:
            for batch in islice(eraser.erase_batches(selection), _BATCHES):
                self.erased += batch.predictions + batch.labels
                if self._stop.wait(_PAUSE):
                    return
        finally:
            eraser.close()
