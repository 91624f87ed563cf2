"""A search's study where several processes see it: a journal file, or a PostgreSQL database."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_cli.data.urls import check_url, scheme_of
from mlops_cli.errors import BadParams, SourceUnreadable, Usage, install_hint
from mlops_cli.training.search.trial_artifacts import TrialArtifacts

if TYPE_CHECKING:
    import datetime as dt

    import optuna
    from optuna.storages import BaseStorage

    from mlops_cli.training.search.trials import Result

__all__ = ["STORAGE", "WORKERS", "PeerProcesses", "SharedStudy", "open_shared"]

STORAGE, WORKERS = "MLOPS_TUNE_STORAGE", "MLOPS_TUNE_WORKERS"
"""How `mlops tune`, and who calls `dvc repro`, tell the stage who takes part in its search."""

_WORKER, _TOKEN = "worker", "token"
_BEAT, _GRACE = 5, 30
"""Seconds between the signs of life that a process of another machine gives, and after which one
that has given none is gone."""
_NAMELESS = 60.0
"""Seconds after which a claim without its owner's name is given up: a kill came between."""
_TRIES = 4
_FORM = "postgresql://USER:PASSWORD@HOST/DATABASE"
_ENQUEUE = 5.0
"""Seconds in which who made a study has written its first candidates."""


@dataclass(frozen=True)
class PeerProcesses:
    """How many processes of this machine search, and where the trials are (see ``open_shared``)."""

    workers: int
    storage: str | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> PeerProcesses | None:
        """What the environment says; None: one process searches by itself.

        Raises
        ------
        Usage
            If the number of workers is none.
        """
        text, storage = environment.get(WORKERS) or "1", environment.get(STORAGE) or None
        if not text.isdecimal() or int(text) < 1:
            raise Usage(f"{WORKERS} is {text!r}", "Give the number of processes, such as 2.")
        return None if int(text) == 1 and storage is None else cls(int(text), storage)


class _Life(Protocol):
    """How processes know of each other whether they live."""

    def claimed(self, trial: optuna.Trial) -> contextlib.AbstractContextManager[None]: ...

    def give_up(self, study: optuna.Study) -> None: ...


@dataclass(frozen=True)
class SharedStudy:
    """See ``training.search.parallel_search.SharedSearch``."""

    study: optuna.Study
    worker: int
    outcomes: TrialArtifacts
    life: _Life

    @contextmanager
    def claimed(self, trial: optuna.Trial) -> Iterator[None]:
        """See ``SharedSearch.claimed``."""
        with self.life.claimed(trial):
            trial.set_user_attr(_WORKER, self.worker)
            yield

    def give_up(self) -> None:
        """See ``SharedSearch.give_up``."""
        self.life.give_up(self.study)
        for trial in _running(self.study):
            if _WORKER not in trial.user_attrs and _age(trial.datetime_start) > _NAMELESS:
                _fail(self.study, trial)

    def keep(self, number: int, family: str, result: Result) -> None:
        """See ``SharedSearch.keep``."""
        self.outcomes.keep(number, family, result)


def open_shared(
    path: Path, url: str | None, direction: str, firsts: Sequence[Mapping[str, Any]]
) -> SharedStudy:
    """Join a search, or begin it.

    Parameters
    ----------
    path
        The journal of the search; its name without the ending tells one search from others.
    url
        ``postgresql://...``; None: a file beside the journal.
    firsts
        What is tried first.

    Raises
    ------
    BadParams
        If the URL is of another kind.
    SourceUnreadable
        If the database can't be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Heartbeats are meant to change, and to be used by Optuna's own loop.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")
    path.parent.mkdir(parents=True, exist_ok=True)
    worker = secrets.randbits(31)
    life: _Life
    if url is None:
        file = path.with_suffix(".shared")
        storage: BaseStorage = _journal(file)
        life = _Locks(path.with_suffix(".workers"), worker)
    else:
        storage = _database(url)
        life = _Beats(storage)
    study = _joined(storage, f"mlops-{path.stem}", direction, firsts)
    # Numbers of trials begin anew with each study.
    kept = path.with_suffix(f".{study.user_attrs[_TOKEN]}")
    return SharedStudy(study, worker, TrialArtifacts(kept), life)


def _joined(
    storage: BaseStorage, name: str, direction: str, firsts: Sequence[Mapping[str, Any]]
) -> optuna.Study:
    """The study, with its first candidates waiting, which only who made it writes."""
    import optuna

    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        ends = time.monotonic() + _ENQUEUE
        while _TOKEN not in study.user_attrs and time.monotonic() < ends:
            time.sleep(0.05)
    if _TOKEN not in study.user_attrs:  # also where a kill came between
        for candidate in firsts:
            study.enqueue_trial(dict(candidate), skip_if_exists=True)
        study.set_user_attr(_TOKEN, secrets.token_hex(4))
    return study


# -- a file of this machine ----------------------------------------------------------------


class _WholeLines:
    """A lock that the system frees, and that drops what a kill cut off from the last line."""

    def __init__(self, path: Path) -> None:
        from filelock import FileLock

        self._path = path
        self._lock = FileLock(path.with_name(path.name + ".lock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        if self._path.exists() and self._path.stat().st_size:
            with self._path.open("r+b") as file:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path), lock_obj=_WholeLines(path)))


class _Locks:
    """Who lives holds a file's lock."""

    def __init__(self, folder: Path, worker: int) -> None:
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = FileLock(folder / str(worker))
        self._own.acquire()

    @contextmanager
    def claimed(self, trial: optuna.Trial) -> Iterator[None]:  # noqa: ARG002 - the lock says it
        yield

    def give_up(self, study: optuna.Study) -> None:
        from filelock import FileLock, Timeout

        for trial in _running(study):
            owner = trial.user_attrs.get(_WORKER)
            if owner is None or str(owner) == Path(self._own.lock_file).name:
                continue
            try:
                with FileLock(self._folder / str(owner), timeout=0):
                    _fail(study, trial)
            except Timeout:
                continue


# -- a database ----------------------------------------------------------------------------


class _Beats:
    """Who lives says so every few seconds."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    @contextmanager
    def claimed(self, trial: optuna.Trial) -> Iterator[None]:
        number = trial._trial_id  # noqa: SLF001 - what Optuna's own loop beats with
        self._storage.record_heartbeat(number)
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(number, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def give_up(self, study: optuna.Study) -> None:
        import optuna

        optuna.storages.fail_stale_trials(study)

    def _beat(self, number: int, ended: threading.Event) -> None:
        while not ended.wait(_BEAT):
            # A database that is away for a moment is tried again at the next beat.
            with contextlib.suppress(Exception):
                self._storage.record_heartbeat(number)


def _database(url: str) -> BaseStorage:
    import optuna

    rest = url.partition("://")[2]
    if scheme_of(url) not in ("postgresql", "postgres") or not rest:
        # It isn't shown: who forgot the scheme has a password in front.
        raise BadParams(
            "the storage of a search is no URL of a PostgreSQL",
            f"Give {_FORM}, or none for a file of this machine.",
        )
    check_url(url, "the storage of a search", _FORM)
    try:
        import psycopg  # noqa: F401 - SQLAlchemy would only say so in a long traceback
    except ModuleNotFoundError:
        raise BadParams(
            "a search in PostgreSQL needs psycopg, which isn't installed",
            install_hint("postgres"),
        ) from None
    for left in reversed(range(_TRIES)):
        try:
            return optuna.storages.RDBStorage(
                f"postgresql+psycopg://{rest}",
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=_BEAT,
                grace_period=_GRACE,
            )
        except Exception as error:  # noqa: BLE001 - SQLAlchemy's and the driver's
            # Two that come first at once both make the tables, and one of them can't.
            if left and type(error).__name__ in ("IntegrityError", "ProgrammingError"):
                time.sleep(0.5)
                continue
            # What the driver says may name the password.
            raise SourceUnreadable(
                f"the database of the search can't be used: {type(error).__name__}",
                "See that it runs, and that MLOPS_TUNE_STORAGE is right.",
            ) from None
    raise AssertionError


def _running(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name == "RUNNING"]


def _fail(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    from optuna.trial import TrialState

    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _age(begun: dt.datetime | None) -> float:
    return 0.0 if begun is None else time.time() - begun.timestamp()
