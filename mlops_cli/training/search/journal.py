"""The trials of an unfinished search, one line each, in Optuna's journal format."""

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


class _SoleWriter:
    """A lock that needs no file: the project's lock lets one search run at a time."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        """Nothing was taken."""


@dataclass(frozen=True)
class Journal:
    """Finished trials on disk.

    Optuna adds a finished trial in one line and waits until it is on the disk, so a kill costs at
    most the last line, which then lacks its end.
    """

    study: optuna.Study
    outcomes: TrialArtifacts

    @classmethod
    def open(cls, path: Path, direction: str, progress: Progress) -> Journal:
        """Open a journal or begin one; what a kill cut off is dropped.

        A journal that cannot be read is set aside as ``<name>.damaged``, and said so: a search
        can be made again.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _drop_cut_line(path)
            if not _readable(path, direction):
                aside = path.with_name(path.name + ".damaged")
                path.replace(aside)
                progress.note(
                    f"the journal of the unfinished search is damaged; it is kept as {aside.name}, "
                    "and the search begins anew"
                )
        return cls(_study(path, direction), TrialArtifacts(path.with_suffix(".outcomes")))

    @staticmethod
    def remove_all(folder: Path, *, but: str | None = None) -> None:
        """Remove the journals and outcomes of all searches in a folder, but those of one name."""
        for other in folder.glob("*"):
            if other.name.partition(".")[0] != but:
                shutil.rmtree(other) if other.is_dir() else other.unlink()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Finished trials in order."""
        trials: list[optuna.trial.FrozenTrial] = self.study.get_trials(deepcopy=False)
        return trials

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Keep a finished trial."""
        self.study.add_trial(trial)

    def keep(self, number: int, family: str, result: Result) -> None:
        """Keep what a trial made."""
        self.outcomes.keep(number, family, result)


def _study(path: Path, direction: str) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=_SoleWriter()))
    return optuna.create_study(
        storage=storage, study_name="search", direction=direction, load_if_exists=True
    )


def _drop_cut_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def _readable(path: Path, direction: str) -> bool:
    """Whether each line is an entry, and Optuna can replay them."""
    try:
        lines = path.read_bytes().splitlines()
        if not all(isinstance(json.loads(line), dict) for line in lines):
            return False
        if lines:
            finished = _study(path, direction).get_trials(deepcopy=False)
            return all(t.state.is_finished() and "family" in t.params for t in finished)
    except Exception:  # noqa: BLE001  # replaying foreign entries can fail in any way
        return False
    return True
