"""Which web pages may reach the service: it may listen where a browser of its user can reach it.

A page of another site can have a browser send requests here; and a name of its own that suddenly
means this machine (DNS rebinding) makes its requests look like those of a page of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlops_cli.serving.http_server.http import Problem

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.http import Request

__all__ = ["Hosts", "is_loopback"]

_REMEMBERED = 256
"""Host headers of which it is remembered that they are right."""


class Hosts:
    """The names by which the service may be called where no key is asked for.

    Those of this machine's loopback always, and the address at which a request came in: a name
    can be made to mean another machine, an address can't.

    Parameters
    ----------
    names
        Further ones; ``*.example.org`` stands for all below, ``*`` for any.

    Attributes
    ----------
    right
        Host headers that were found right.
    """

    def __init__(self, names: Iterable[str]) -> None:
        named = {name.lower().rstrip(".") for name in names}
        self._any = "*" in named
        self._below = tuple(name[1:] for name in named if name.startswith("*."))
        self._names = named
        self.right: set[bytes] = set()

    def add(self, name: str) -> None:
        """Accept a further name."""
        self._names.add(name.lower())

    def check(self, request: Request) -> None:
        """Let a request pass that calls the service by one of its names, or raise Problem 421."""
        host = request.header("host")
        if host is None or self._any or host.encode("latin-1") in self.right:
            return  # without a name it is no browser
        name = _name(host)
        if not self._accepts(name) and not _same(name, request.local):
            raise Problem(
                421,
                f"the host {host[:100]!r} is not one of this service; without API keys it answers "
                "to localhost, to its own address, and to names in serve.hosts or MLOPS_HOSTS",
            )
        if len(self.right) < _REMEMBERED:
            self.right.add(host.encode("latin-1"))

    def check_origin(self, request: Request) -> None:
        """Let a request pass that no page of another site made, or raise Problem 403."""
        site = request.header("sec-fetch-site")
        if site is not None:
            # The browser says it, and no page can change that.
            if site not in {"same-origin", "none"}:
                raise Problem(403, f"a page of another site asks (sec-fetch-site: {site[:20]!r})")
            return
        origin = request.header("origin")
        if origin is None:
            return
        authority = origin.partition("://")[2].lower()
        ours = (request.header("host"), request.header("x-forwarded-host"))
        if authority not in {name.lower() for name in ours if name} and not self._named(authority):
            raise Problem(
                403,
                f"a page of another site asks (origin: {origin[:100]!r}); behind a proxy, let it "
                "send Host on, or name the page's host in serve.hosts or MLOPS_HOSTS",
            )

    def _accepts(self, name: str) -> bool:
        return name == "localhost" or name.endswith(".localhost") or self._lists(name) or (
            is_loopback(name)
        )  # fmt: skip

    def _named(self, authority: str) -> bool:
        return bool(authority) and self._lists(_name(authority))

    def _lists(self, name: str) -> bool:
        return name in self._names or (bool(self._below) and name.endswith(self._below))


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is this machine's own, for itself only."""
    if name == "localhost":
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _same(name: str, local: str) -> bool:
    found = _address(name)
    return found is not None and found == _address(local)


def _name(host: str) -> str:
    """A host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()
