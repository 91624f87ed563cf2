"""Runs the service in the foreground with its own HTTP server, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlops_cli.errors import BadParams, Busy, Usage, install_hint
from mlops_cli.serving.http_server.hosts import is_loopback
from mlops_cli.serving.service.logs import log

if TYPE_CHECKING:
    from mlops_cli.serving.service.app import Service
    from mlops_cli.serving.service.settings import Settings

__all__ = ["run", "settle_threads"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EXIT_SECONDS = 30.0
"""Seconds in which the process exits, in addition to the time for requests in progress."""


def settle_threads() -> None:
    """Configure the threads of libraries for a service; must be called before they are imported."""
    # Batches are small: Polars' threads would wait for each other longer than they work.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")


def run(
    settings: Settings,
    host: str,
    port: int,
    on_ready: Callable[[Service], None] = lambda _: None,
) -> None:
    """Serve in the foreground; returns after SIGTERM or SIGINT, once all requests are responded to.

    Parameters
    ----------
    on_ready
        Called when the port is bound and the model loaded, before the first request.

    Raises
    ------
    Busy
        If the port is in use.
    BadParams
        If the packages for serving aren't installed.
    """
    settle_threads()
    try:
        import httptools  # noqa: F401 - else reported only when the application starts
        import orjson  # noqa: F401
        import uvloop
    except ModuleNotFoundError as error:
        raise BadParams(
            f"serving needs {error.name}, which isn't installed",
            install_hint("serve"),
        ) from None
    from mlops_cli.serving.service.app import create_app

    with _bind(host, port) as listening:
        service = create_app(settings)
        service.hosts.add(host)
        on_ready(service)
        if not service.authenticator.key_required and not is_loopback(host):
            log(
                "open",
                said=f"whoever reaches {host}:{port} may ask, as no key is set: set MLOPS_API_KEYS",
            )
        uvloop.run(_serve(service, listening))


async def _serve(service: Service, listening: socket.socket) -> None:
    from mlops_cli.serving.http_server.server import Server

    service.start()
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    limits = service.settings.serve.limits

    def end() -> None:
        # A second signal has its default action: it ends the process even if this thread hangs.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        _exit_within(2 * limits.seconds + _EXIT_SECONDS)
        service.begin_shutdown()
        ending.set()

    for number in _SIGNALS:
        loop.add_signal_handler(number, end)
    server = Server(
        service,
        int(limits.megabytes * 1e6),
        service.budget,
        limits.connections,
        limits.seconds,
    )
    await server.serve(listening, ending, limits.seconds)
    await service.shutdown()


def _exit_within(seconds: float) -> None:
    """Exit after that time, even if threads are still running."""

    def end() -> None:
        time.sleep(seconds)
        log("ended", said="not all was answered or written in time")
        os._exit(1)

    threading.Thread(target=end, name="end", daemon=True).start()


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket that doesn't listen yet, to find a port in use before anything is loaded."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Usage(
            f"--host {host!r} is not an address: {error.strerror}", "Use 127.0.0.1."
        ) from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise Busy(
            f"port {port} of {host} can't be taken: {error.strerror}",
            "End what listens there, or choose another one with --port.",
        ) from None
    return listening
