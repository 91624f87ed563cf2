"""Events that are older than they may be are erased as the service runs."""

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
"""Seconds between two looks."""
_BATCHES = 200
"""Batches at most of one look."""
_PAUSE = 0.05
"""Seconds between two batches, in which others write."""


class Retention:
    """A thread that erases, in small batches, by a connection of its own.

    Attributes
    ----------
    erased
        Predictions and labels since the start.
    """

    def __init__(self, url: str | None, layout: Layout, keep: str) -> None:
        self._url = url
        self._layout = layout
        self._keep = keep
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="events-keep", daemon=True)
        self.erased = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End after the batch at hand."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._ending.is_set():
            # The database may be away, or not there yet: the next look finds as much.
            with suppress(MlopsError, OSError):
                self._look()
            self._ending.wait(_TICK)

    def _look(self) -> None:
        from mlops_cli.events.erasure import Selection, open_eraser
        from mlops_cli.events.spill_erasure import erase_lines

        before = subtract(dt.datetime.now(dt.UTC), self._keep).timestamp()
        selection = Selection(before=before)
        lines = erase_lines(self._layout.work / "spill", selection)
        self.erased += lines.spilled + lines.damaged
        eraser = open_eraser(self._url, self._layout)
        try:
            for batch in islice(eraser.batches(selection), _BATCHES):
                self.erased += batch.predictions + batch.labels
                if self._ending.wait(_PAUSE):
                    return
        finally:
            eraser.close()
