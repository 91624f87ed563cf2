"""Host and origin checks: protect a service without keys from other sites' web pages.

The service may listen where the browser of its user can reach it. A page of another site can make
the browser send requests to it. If the site's host name is then resolved to this machine (DNS
rebinding), its requests look like those of the service's own page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlops_cli.serving.http_server.http import Problem

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.http import Request

__all__ = ["Hosts", "is_loopback"]

_MAX_CACHED = 256
"""Accepted Host headers that are cached."""


class Hosts:
    """Host names that a service without keys responds to.

    Loopback names and the address that a request was sent to are always accepted: a name can be
    made to resolve to another machine, an address can't.

    Parameters
    ----------
    names
        Further names; ``*.example.org`` matches all its subdomains, ``*`` matches any name.

    Attributes
    ----------
    accepted_hosts
        Cache of accepted Host headers.
    """

    def __init__(self, names: Iterable[str]) -> None:
        lowered = {name.lower().rstrip(".") for name in names}
        self._any = "*" in lowered
        self._subdomains = tuple(name[1:] for name in lowered if name.startswith("*."))
        self._names = lowered
        self.accepted_hosts: set[bytes] = set()

    def add(self, name: str) -> None:
        """Accept a further name."""
        self._names.add(name.lower())

    def check(self, request: Request) -> None:
        """Accept a request that has one of the service's names as host, or raise Problem 421."""
        host = request.header("host")
        if host is None or self._any or host.encode("latin-1") in self.accepted_hosts:
            return  # without a Host header it is no browser
        name = _name(host)
        if not self._accepts(name) and not _same_address(name, request.server_address):
            raise Problem(
                421,
                f"the host {host[:100]!r} is not one of this service; without API keys it answers "
                "to localhost, to its own address, and to names in serve.hosts or MLOPS_HOSTS",
            )
        if len(self.accepted_hosts) < _MAX_CACHED:
            self.accepted_hosts.add(host.encode("latin-1"))

    def check_origin(self, request: Request) -> None:
        """Accept a request unless a page of another site made it, or raise Problem 403."""
        site = request.header("sec-fetch-site")
        if site is not None:
            # The browser sets this header, and no page can change it.
            if site not in {"same-origin", "none"}:
                raise Problem(403, f"a page of another site asks (sec-fetch-site: {site[:20]!r})")
            return
        origin = request.header("origin")
        if origin is None:
            return
        authority = origin.partition("://")[2].lower()
        ours = (request.header("host"), request.header("x-forwarded-host"))
        if authority not in {name.lower() for name in ours if name} and not self._knows(authority):
            raise Problem(
                403,
                f"a page of another site asks (origin: {origin[:100]!r}); behind a proxy, let it "
                "send Host on, or name the page's host in serve.hosts or MLOPS_HOSTS",
            )

    def _accepts(self, name: str) -> bool:
        return name == "localhost" or name.endswith(".localhost") or self._lists(name) or (
            is_loopback(name)
        )  # fmt: skip

    def _knows(self, authority: str) -> bool:
        return bool(authority) and self._lists(_name(authority))

    def _lists(self, name: str) -> bool:
        return name in self._names or (bool(self._subdomains) and name.endswith(self._subdomains))


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if name == "localhost":
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _same_address(name: str, local: str) -> bool:
    address = _address(name)
    return address is not None and address == _address(local)


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()
