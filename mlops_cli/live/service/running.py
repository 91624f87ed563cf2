"""The application under Granian, in this process, until it is told to end.

Granian reads and writes HTTP outside of Python's lock, so that Python is left to score.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, Busy, Usage

if TYPE_CHECKING:
    from mlops_cli.live.service.app import Service
    from mlops_cli.live.service.settings import Settings

__all__ = ["run"]

_AT_ONCE = 4096
"""Requests that are worked on; more wait in the kernel."""


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
    # Rows come a few at a time: threads would wait for each other longer than they work.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    try:
        import orjson  # noqa: F401 - the application would only say so when it starts
        import uvloop
        from granian.constants import HTTPModes, Interfaces
        from granian.server.embed import Server
    except ModuleNotFoundError as error:
        raise BadParams(
            f"serving needs {error.name}, which isn't installed",
            "Install what serving needs: pip install 'mlops-cli[serve]'.",
        ) from None
    from mlops_cli.live.service.app import create_app

    _refuse_taken(host, port)
    service = create_app(settings)
    server = Server(
        service,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        backpressure=_AT_ONCE,
        log_enabled=False,
    )
    ready(service)
    uvloop.run(_serve(service, server))


async def _serve(service: Service, server: Any) -> None:
    service.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    await server.serve()
    await service.end()


def _refuse_taken(host: str, port: int) -> None:
    """Say what is wrong with an address before anything is loaded."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Usage(
            f"--host {host!r} is not an address: {error.strerror}", "Use 127.0.0.1."
        ) from None
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError as error:
            raise Busy(
                f"port {port} of {host} can't be taken: {error.strerror}",
                "End what listens there, or choose another one with --port.",
            ) from None
