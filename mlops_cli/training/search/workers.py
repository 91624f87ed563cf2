"""Processes that share the cores, and end with the one that started them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["init_worker", "split_cores", "worker_processes"]

_PATIENCE = 10.0
"""Seconds in which a helper ends by itself, when there is nothing left to do."""


def split_cores(count: int) -> list[list[int]]:
    """The cores of each of so many processes; all of them where there are fewer cores."""
    cores = _cores()
    return [cores[number::count] or cores for number in range(count)]


def init_worker(cores: list[int]) -> None:
    """Keep to one's cores, leave Ctrl-C to the parent, and end when it is gone."""
    import multiprocessing
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_to(cores)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def worker_processes(count: int, work: Callable[..., None], *given: Any) -> Iterator[None]:
    """So many further processes do ``work(*given)``, and this one keeps to its share meanwhile.

    At the end they are waited for; after an error, or where one is stuck, they are ended.
    """
    import multiprocessing

    own, *others = split_cores(count + 1)
    context = multiprocessing.get_context("spawn")
    before = _cores()
    helpers = [
        context.Process(target=_help, args=(cores, work, given), daemon=True) for cores in others
    ]
    for helper in helpers:
        helper.start()
    try:
        if helpers:
            _keep_to(own)
        yield
        for helper in helpers:
            helper.join(_PATIENCE)
    finally:
        _keep_to(before)
        for helper in helpers:
            helper.kill()
            helper.join()


def _help(cores: list[int], work: Callable[..., None], given: tuple[Any, ...]) -> None:
    init_worker(cores)
    work(*given)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _keep_to(cores: list[int]) -> None:
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
