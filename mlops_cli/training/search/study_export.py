"""Export of a finished search as an Optuna journal, for ``optuna-dashboard``."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

__all__ = ["write_study"]

_NAME, _WRITER = "search", "mlops"
_START, _STEP = dt.datetime(2000, 1, 1), dt.timedelta(minutes=1)  # noqa: DTZ001 - as Optuna has it
"""Trials are dated a minute apart, as their real times would change the file's bytes."""


def write_study(path: Path, trials: Sequence[optuna.trial.FrozenTrial], direction: str) -> None:
    """Write finished trials; the same trials give the same bytes.

    Parameters
    ----------
    path
        The journal file, for ``optuna-dashboard``.
    trials
        Trials in order.
    direction
        minimize or maximize.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import BaseJournalBackend

    class Lines(BaseJournalBackend):  # type: ignore[misc]
        def __init__(self) -> None:
            self.lines: list[dict[str, Any]] = []

        def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
            return self.lines[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self.lines += logs

    backend = Lines()
    study = optuna.create_study(
        storage=JournalStorage(backend), study_name=_NAME, direction=direction
    )
    for number, trial in enumerate(trials):
        dated = copy(trial)
        dated.datetime_start = _START + number * _STEP
        dated.datetime_complete = dated.datetime_start + _STEP
        study.add_trial(dated)
    # Optuna's worker id is random.
    lines = [json.dumps({**line, "worker_id": _WRITER}, sort_keys=True) for line in backend.lines]
    path.write_text("\n".join(lines) + "\n")
