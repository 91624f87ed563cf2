"""Shared Optuna study of a search: a journal file or a PostgreSQL database."""

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

__all__ = ["STORAGE_VARIABLE", "WORKERS_VARIABLE", "PeerProcesses", "SharedStudy", "open_shared"]

STORAGE_VARIABLE, WORKERS_VARIABLE = "MLOPS_TUNE_STORAGE", "MLOPS_TUNE_WORKERS"
"""Environment variables with the trial storage and the number of workers, which `mlops tune` or the
caller of `dvc repro` sets for the stage."""

_WORKER, _TOKEN = "worker", "token"
_HEARTBEAT_SECONDS, _GRACE_SECONDS = 5, 30
"""Interval of the heartbeats in a database, and time without one after which a process is dead."""
_OWNERLESS_SECONDS = 60.0
"""Time after which a running trial without a worker is given up, as its process was killed."""
_TRIES = 4
_URL_FORM = "postgresql://USER:PASSWORD@HOST/DATABASE"
_ENQUEUE_SECONDS = 5.0
"""Time in which the process that created a study enqueues its first candidates."""


@dataclass(frozen=True)
class PeerProcesses:
    """Number of search processes on this machine, and the trial storage (see ``open_shared``)."""

    workers: int
    storage: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> PeerProcesses | None:
        """Read the environment variables; None if one process searches alone.

        Raises
        ------
        Usage
            If the number of workers is invalid.
        """
        text, storage = (
            environment.get(WORKERS_VARIABLE) or "1",
            environment.get(STORAGE_VARIABLE) or None,
        )
        if not text.isdecimal() or int(text) < 1:
            raise Usage(
                f"{WORKERS_VARIABLE} is {text!r}", "Give the number of processes, such as 2."
            )
        return None if int(text) == 1 and storage is None else cls(int(text), storage)


class _Liveness(Protocol):
    """Detects dead processes and fails their trials."""

    def claim(self, trial: optuna.Trial) -> contextlib.AbstractContextManager[None]: ...

    def fail_abandoned_trials(self, study: optuna.Study) -> None: ...


@dataclass(frozen=True)
class SharedStudy:
    """See ``training.search.parallel_search.SharedSearch``."""

    study: optuna.Study
    worker: int
    artifacts: TrialArtifacts
    liveness: _Liveness

    @contextmanager
    def claim(self, trial: optuna.Trial) -> Iterator[None]:
        """See ``SharedSearch.claim``."""
        with self.liveness.claim(trial):
            trial.set_user_attr(_WORKER, self.worker)
            yield

    def fail_abandoned_trials(self) -> None:
        """See ``SharedSearch.fail_abandoned_trials``."""
        self.liveness.fail_abandoned_trials(self.study)
        for trial in _running_trials(self.study):
            if (
                _WORKER not in trial.user_attrs
                and _age_seconds(trial.datetime_start) > _OWNERLESS_SECONDS
            ):
                _fail(self.study, trial)

    def save_artifacts(self, number: int, family: str, result: Result) -> None:
        """See ``SharedSearch.keep``."""
        self.artifacts.save(number, family, result)


def open_shared(
    path: Path, url: str | None, direction: str, first_candidates: Sequence[Mapping[str, Any]]
) -> SharedStudy:
    """Join a shared search, or start it.

    Parameters
    ----------
    path
        The journal of the search; its stem identifies the search.
    url
        ``postgresql://...``; None: a file next to the journal.
    direction
        minimize or maximize.
    first_candidates
        Candidates to try first.

    Raises
    ------
    BadParams
        If the URL has another scheme.
    SourceUnreadable
        If the database can't be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna warns that heartbeats are experimental, and meant for its own optimisation loop.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage")
    path.parent.mkdir(parents=True, exist_ok=True)
    worker = secrets.randbits(31)
    liveness: _Liveness
    if url is None:
        file = path.with_suffix(".shared")
        storage: BaseStorage = _journal(file)
        liveness = _FileLocks(path.with_suffix(".workers"), worker)
    else:
        storage = _database(url)
        liveness = _Heartbeats(storage)
    study = _join_study(storage, f"mlops-{path.stem}", direction, first_candidates)
    # Each study numbers its trials from 0, so its artifacts need their own folder.
    artifacts = path.with_suffix(f".{study.user_attrs[_TOKEN]}")
    return SharedStudy(study, worker, TrialArtifacts(artifacts), liveness)


def _join_study(
    storage: BaseStorage, name: str, direction: str, first_candidates: Sequence[Mapping[str, Any]]
) -> optuna.Study:
    """Load or create the study; the process that creates it enqueues the first candidates."""
    import optuna

    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        end = time.monotonic() + _ENQUEUE_SECONDS
        while _TOKEN not in study.user_attrs and time.monotonic() < end:
            time.sleep(0.05)
    if _TOKEN not in study.user_attrs:  # also if the process that created it was killed
        for candidate in first_candidates:
            study.enqueue_trial(dict(candidate), skip_if_exists=True)
        study.set_user_attr(_TOKEN, secrets.token_hex(4))
    return study


# -- journal file on this machine ----------------------------------------------------------------


class _RepairingLock:
    """Journal lock that is freed at process exit, and that drops a last line cut off by a kill."""

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

    return JournalStorage(JournalFileBackend(str(path), lock_obj=_RepairingLock(path)))


class _FileLocks:
    """Liveness on one machine: each process holds a lock file while it lives."""

    def __init__(self, folder: Path, worker: int) -> None:
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = FileLock(folder / str(worker))
        self._own.acquire()

    @contextmanager
    def claim(self, trial: optuna.Trial) -> Iterator[None]:  # noqa: ARG002 - the lock suffices
        yield

    def fail_abandoned_trials(self, study: optuna.Study) -> None:
        from filelock import FileLock, Timeout

        for trial in _running_trials(study):
            owner = trial.user_attrs.get(_WORKER)
            if owner is None or str(owner) == Path(self._own.lock_file).name:
                continue
            try:
                with FileLock(self._folder / str(owner), timeout=0):
                    _fail(study, trial)
            except Timeout:
                continue


# -- database ----------------------------------------------------------------------------


class _Heartbeats:
    """Liveness in a database: processes record a heartbeat every few seconds."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    @contextmanager
    def claim(self, trial: optuna.Trial) -> Iterator[None]:
        trial_id = trial._trial_id  # noqa: SLF001 - as in Optuna's own loop
        self._storage.record_heartbeat(trial_id)
        stopped = threading.Event()
        thread = threading.Thread(
            target=self._send_heartbeats, args=(trial_id, stopped), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def fail_abandoned_trials(self, study: optuna.Study) -> None:
        import optuna

        optuna.storages.fail_stale_trials(study)

    def _send_heartbeats(self, trial_id: int, stopped: threading.Event) -> None:
        while not stopped.wait(_HEARTBEAT_SECONDS):
            # If the database is unavailable, the next heartbeat tries again.
            with contextlib.suppress(Exception):
                self._storage.record_heartbeat(trial_id)


def _database(url: str) -> BaseStorage:
    import optuna

    address = url.partition("://")[2]
    if scheme_of(url) not in ("postgresql", "postgres") or not address:
        # The URL isn't shown: without a scheme, it may start with a password.
        raise BadParams(
            "the storage of a search is no URL of a PostgreSQL",
            f"Give {_URL_FORM}, or none for a file of this machine.",
        )
    check_url(url, "the storage of a search", _URL_FORM)
    try:
        import psycopg  # noqa: F401 - without it, SQLAlchemy fails with a long traceback
    except ModuleNotFoundError:
        raise BadParams(
            "a search in PostgreSQL needs psycopg, which isn't installed",
            install_hint("postgres"),
        ) from None
    for tries_left in reversed(range(_TRIES)):
        try:
            return optuna.storages.RDBStorage(
                f"postgresql+psycopg://{address}",
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=_HEARTBEAT_SECONDS,
                grace_period=_GRACE_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - SQLAlchemy's and the driver's
            # If two processes create the tables at the same time, one of them fails.
            if tries_left and type(error).__name__ in ("IntegrityError", "ProgrammingError"):
                time.sleep(0.5)
                continue
            # The driver's message may contain the password.
            raise SourceUnreadable(
                f"the database of the search can't be used: {type(error).__name__}",
                "See that it runs, and that MLOPS_TUNE_STORAGE is right.",
            ) from None
    raise AssertionError


def _running_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False) if t.state.name == "RUNNING"]


def _fail(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    from optuna.trial import TrialState

    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _age_seconds(started: dt.datetime | None) -> float:
    return 0.0 if started is None else time.time() - started.timestamp()
