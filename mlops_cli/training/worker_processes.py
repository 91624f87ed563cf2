"""Worker processes pinned to CPU cores; they exit with their parent.

``process_pool`` is for tasks that must all succeed: a killed process breaks the pool.
``worker_processes`` is for peers that share their work themselves: if one is killed, the others
and this process go on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

__all__ = ["process_pool", "worker_processes"]

_JOIN_SECONDS = 10.0
"""Time in which a worker exits by itself, when there is nothing left to do."""


@contextmanager
def process_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Pool of ``count`` processes, which share the cores; after an error they are killed."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    core_sets: Any = context.SimpleQueue()
    for cores in _split_cores(count):
        core_sets.put(cores)
    pool = ProcessPoolExecutor(count, context, _start_pool_worker, (core_sets,))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        for process in list((pool._processes or {}).values()):  # noqa: SLF001
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        raise


@contextmanager
def worker_processes(count: int, work: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Run ``work(*arguments)`` in ``count`` worker processes, with this process on its own cores.

    At the end of the block the workers are joined. After an error, or if one is stuck, they are
    killed.
    """
    import multiprocessing

    own, *others = _split_cores(count + 1)
    context = multiprocessing.get_context("spawn")
    original_cores = _allowed_cores()
    processes = [
        context.Process(target=_run_worker, args=(cores, work, arguments), daemon=True)
        for cores in others
    ]
    for process in processes:
        process.start()
    try:
        if processes:
            _pin_to(own)
        yield
        for process in processes:
            process.join(_JOIN_SECONDS)
    finally:
        _pin_to(original_cores)
        for process in processes:
            process.kill()
            process.join()


def _run_worker(cores: list[int], work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    _init_worker(cores)
    work(*arguments)


def _start_pool_worker(core_sets: Any) -> None:
    cores = core_sets.get()
    # Polars reads it when it starts its threads, also where processes can't be pinned.
    os.environ["POLARS_MAX_THREADS"] = str(max(1, len(cores)))
    _init_worker(cores)


def _init_worker(cores: list[int]) -> None:
    """Pin this process to its cores, ignore Ctrl-C, and exit when the parent exits."""
    import multiprocessing
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _pin_to(cores)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _split_cores(count: int) -> list[list[int]]:
    """Split the cores among ``count`` processes; processes without a core get all cores."""
    cores = _allowed_cores()
    return [cores[number::count] or cores for number in range(count)]


def _allowed_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _pin_to(cores: list[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
