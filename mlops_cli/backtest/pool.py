"""Process pool for backtest tasks; processes share the cores and exit with their parent."""

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

__all__ = ["FindMissingTasks", "run_tasks"]

FindMissingTasks = Callable[[], Iterable["BacktestTask"]]
"""Function that lists the tasks whose results are missing; called again after each task."""


def run_tasks(
    config: BacktestConfig,
    jobs: int,
    find_missing: FindMissingTasks,
    on_done: Callable[[BacktestTask], None],
) -> None:
    """Run the missing tasks, ``jobs`` at a time, until none is missing.

    Raises
    ------
    MlopsError
        The error of a task, or if its process was killed.
    """
    if jobs == 1:
        while task := next(iter(find_missing()), None):
            run_task(config, task)
            on_done(task)
        return
    with _process_pool(jobs) as pool:
        running: dict[Future[None], BacktestTask] = {}
        while True:
            for task in find_missing():
                if task not in running.values():
                    running[pool.submit(run_task, config, task)] = task
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    future.result()
                except BrokenProcessPool:
                    raise MlopsError(
                        "a process of the backtest was killed, perhaps for lack of memory",
                        "Run it again with fewer --jobs; finished tasks are kept.",
                    ) from None
                on_done(running.pop(future))


@contextmanager
def _process_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    core_sets: Any = context.SimpleQueue()
    cores = split_cores(jobs)
    for core_set in cores:
        core_sets.put(core_set)
    pool = ProcessPoolExecutor(jobs, context, _start_worker, (core_sets,))
    # Polars reads the variable when the workers import it.
    previous = os.environ.get("POLARS_MAX_THREADS")
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
        if previous is None:
            del os.environ["POLARS_MAX_THREADS"]
        else:
            os.environ["POLARS_MAX_THREADS"] = previous


def _start_worker(core_sets: Any) -> None:
    init_worker(core_sets.get())
