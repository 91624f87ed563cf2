"""Tasks side by side: processes that share the cores, and end with the one that started them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlops_cli.backtest.tasks import run_task
from mlops_cli.errors import MlopsError
from mlops_cli.training.search.workers import init_worker, split_cores

if TYPE_CHECKING:
    from mlops_cli.backtest.case import BacktestConfig, BacktestTask

__all__ = ["Wanted", "run_tasks"]

Wanted = Callable[[], Iterable["BacktestTask"]]
"""The tasks whose results are wanted and not there; asked again whenever one is done."""


def run_tasks(
    case: BacktestConfig, jobs: int, wanted: Wanted, told: Callable[[BacktestTask], None]
) -> None:
    """Do what is wanted until nothing is, ``jobs`` at a time.

    Raises
    ------
    MlopsError
        What a task raised, or if its process was killed.
    """
    if jobs == 1:
        while task := next(iter(wanted()), None):
            run_task(case, task)
            told(task)
        return
    with _processes(jobs) as pool:
        running: dict[Future[None], BacktestTask] = {}
        while True:
            for task in wanted():
                if task not in running.values():
                    running[pool.submit(run_task, case, task)] = task
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    future.result()
                except BrokenProcessPool:
                    raise MlopsError(
                        "a process of the backtest was killed, perhaps for want of memory",
                        "Run it again with fewer --jobs; what was done is kept.",
                    ) from None
                told(running.pop(future))


@contextmanager
def _processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    parts: Any = context.SimpleQueue()
    cores = split_cores(jobs)
    for part in cores:
        parts.put(part)
    pool = ProcessPoolExecutor(jobs, context, _begin, (parts,))
    # Polars reads it when it is loaded, in the processes.
    before = os.environ.get("POLARS_MAX_THREADS")
    os.environ["POLARS_MAX_THREADS"] = str(max(1, len(cores[0])))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        for process in list((pool._processes or {}).values()):  # noqa: SLF001
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        if before is None:
            del os.environ["POLARS_MAX_THREADS"]
        else:
            os.environ["POLARS_MAX_THREADS"] = before


def _begin(own: Any) -> None:
    init_worker(own.get())
