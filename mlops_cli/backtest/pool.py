"""Backtest tasks in a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from mlops_cli.backtest.tasks import run_task
from mlops_cli.errors import MlopsError
from mlops_cli.training.worker_processes import process_pool

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
    with process_pool(jobs) as pool:
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
