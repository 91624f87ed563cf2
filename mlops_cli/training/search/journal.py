"""Journal of an unfinished search in Optuna's format, with one line per finished trial."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.training.search.trial_artifacts import TrialArtifacts

if TYPE_CHECKING:
    import optuna

    from mlops_cli.reporting import Progress
    from mlops_cli.training.search.trials import Result

__all__ = ["Journal"]


class _NoLock:
    """A lock that does nothing, as the project's lock allows only one search at a time."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Journal:
    """Finished trials on disk.

    Optuna writes a finished trial as one line and syncs the file to disk. So a kill costs at most
    the last line, which then is incomplete.
    """

    study: optuna.Study
    artifacts: TrialArtifacts

    @classmethod
    def open(cls, path: Path, direction: str, progress: Progress) -> Journal:
        """Open or create a journal; an incomplete last line is dropped.

        A journal that can't be read is renamed to ``<name>.damaged`` with a note, and the search
        starts again.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _drop_incomplete_line(path)
            if not _is_readable(path, direction):
                damaged = path.with_name(path.name + ".damaged")
                path.replace(damaged)
                progress.note(
                    "the journal of the unfinished search is damaged; it is kept as "
                    f"{damaged.name}, and the search starts over"
                )
        return cls(_open_study(path, direction), TrialArtifacts(path.with_suffix(".outcomes")))

    @staticmethod
    def remove_all(folder: Path, *, except_stem: str | None = None) -> None:
        """Remove the journals and artifacts of all searches in a folder, except those of one."""
        for path in folder.glob("*"):
            if path.name.partition(".")[0] != except_stem:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The finished trials in order."""
        trials: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False)
        return trials

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Store a finished trial."""
        self.study.add_trial(trial)

    def save_artifacts(self, number: int, family: str, result: Result) -> None:
        """Store a trial's artifacts."""
        self.artifacts.save(number, family, result)


def _open_study(path: Path, direction: str) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_NoLock()))
    return optuna.create_study(
        storage=storage, study_name="search", direction=direction, load_if_exists=True
    )


def _drop_incomplete_line(path: Path) -> None:
    content = path.read_bytes()
    complete_bytes = content.rfind(b"\n") + 1
    if complete_bytes < len(content):
        with path.open("r+b") as file:
            file.truncate(complete_bytes)


def _is_readable(path: Path, direction: str) -> bool:
    """Whether each line is a JSON object, and Optuna can replay all lines."""
    try:
        lines = path.read_bytes().splitlines()
        if not all(isinstance(json.loads(line), dict) for line in lines):
            return False
        if lines:
            finished = _open_study(path, direction).get_trials(deepcopy=False)
            return all(t.state.is_finished() and "family" in t.params for t in finished)
    except Exception:  # noqa: BLE001  # replaying foreign entries can fail in any way
        return False
    return True
