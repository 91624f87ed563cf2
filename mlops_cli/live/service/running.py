"""The application with its own server, in this process, until it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlops_cli.errors import BadParams, Busy, Usage, install_hint

if TYPE_CHECKING:
    from mlops_cli.live.service.app import Service
    from mlops_cli.live.service.settings import Settings

__all__ = ["run", "settle_threads"]


def settle_threads() -> None:
    """Set how libraries use threads in a service; to be called before they are loaded."""
    # Rows come a few at a time: Polars' threads would wait for each other longer than they work.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")


def run(
    settings: Settings,
    host: str,
    port: int,
    ready: Callable[[Service], None] = lambda _: None,
) -> None:
    """Serve in the foreground; returns after SIGTERM or SIGINT, when all is answered.

    Parameters
    ----------
    ready
        Called when the port is taken and the model loaded, before the first request.

    Raises
    ------
    Busy
        If the port is taken.
    BadParams
        If the packages for serving aren't installed.
    """
    settle_threads()
    try:
        import httptools  # noqa: F401 - the application would only say so when it starts
        import orjson  # noqa: F401
        import uvloop
    except ModuleNotFoundError as error:
        raise BadParams(
            f"serving needs {error.name}, which isn't installed",
            install_hint("serve"),
        ) from None
    from mlops_cli.live.service.app import create_app

    with _taken(host, port) as listening:
        service = create_app(settings)
        ready(service)
        uvloop.run(_serve(service, listening))


async def _serve(service: Service, listening: socket.socket) -> None:
    from mlops_cli.live.service.server import Server

    service.start()
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    limits = service.settings.serve.limits
    await Server(service, int(limits.megabytes * 1e6)).serve(listening, told, limits.seconds)
    await service.end()


def _taken(host: str, port: int) -> socket.socket:
    """The address, bound before anything is loaded; nothing is accepted there yet."""
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
