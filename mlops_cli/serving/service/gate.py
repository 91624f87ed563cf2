"""Checks of a request's head before its body is read: path, method, client, content type."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from mlops_cli.serving.http_server.http import Problem

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.hosts import Hosts
    from mlops_cli.serving.http_server.http import Request, Response
    from mlops_cli.serving.service.auth import Authenticator

__all__ = ["PathAccess", "RequestGate", "Route"]


_SLOW_HEADERS = frozenset({b"origin", b"sec-fetch-site", b"content-encoding"})
"""Headers that rule out the fast path of ``RequestGate.check``."""


class PathAccess(Enum):
    """Access rule of a path."""

    PROBE = auto()
    """For everybody who reaches the service: the probes of orchestrators."""
    PAGE = auto()
    """For everybody who uses the service's host name: the page holds nothing of the model."""
    METRICS = auto()
    """With a key, or with the key that is only for metrics."""
    KEY = auto()
    """With a key."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path's method, handler, access rule and content types.

    Attributes
    ----------
    method
        GET (and with it HEAD) or POST.
    content_types
        With POST: the accepted content types.
    check_content_type
        Raises Problem 415 for another content type.
    """

    method: str
    handler: Callable[[Request], Awaitable[Response]]
    access: PathAccess = PathAccess.KEY
    content_types: frozenset[str] = frozenset()
    check_content_type: Callable[[str], object] | None = None


class RequestGate:
    """Refuses requests by their heads, before their bodies are read."""

    def __init__(
        self, routes: Mapping[str, Route], authenticator: Authenticator, hosts: Hosts
    ) -> None:
        self._routes, self._authenticator, self._hosts = routes, authenticator, hosts
        self._fast_kinds = {
            path: frozenset()
            if authenticator.key_required
            else frozenset(kind.encode() for kind in route.content_types)
            for path, route in routes.items()
        }

    def check(self, request: Request) -> None:
        """Accept a request, or raise a Problem.

        Raises
        ------
        Problem
            401, 403, 404, 405, 415, 421 or 429.
        """
        path, method, headers = request.path, request.method, request.headers
        if (
            method == "POST"
            and headers.get(b"content-type") in self._fast_kinds.get(path, ())
            and headers.get(b"host") in self._hosts.accepted_hosts
            and _SLOW_HEADERS.isdisjoint(headers)
        ):
            return  # the fast path, of nearly all requests: no other check would apply
        route = self._routes.get(path)
        if route is None:
            raise Problem(404, f"there is nothing at {path[:200]!r}; / has a page to try it out")
        if method != route.method and (method != "HEAD" or route.method != "GET"):
            allowed = "GET, HEAD" if route.method == "GET" else route.method
            raise Problem(405, f"{path} doesn't take {method[:20]}", {"allow": allowed})
        if route.access is not PathAccess.PROBE:
            self._check_client(request, route.access)
        if route.method == "POST":
            _check_content(request, route)

    def shows_details(self, request: Request) -> bool:
        """Whether the client may see more than a probe does."""
        if self._authenticator.key_required:
            return self._authenticator.has_valid_key(request)
        try:
            self._hosts.check(request)
            self._hosts.check_origin(request)
        except Problem:
            return False
        return True

    def _check_client(self, request: Request, access: PathAccess) -> None:
        metrics = access is PathAccess.METRICS
        if access is not PathAccess.PAGE and self._authenticator.key_required_for(metrics):
            # Then origins need no check: a page of another site can't make a browser send a key.
            self._authenticator.check(request, metrics=metrics)
        elif not self._authenticator.key_required:
            self._hosts.check(request)
            if access is not PathAccess.PAGE:  # other sites may link to the page
                self._hosts.check_origin(request)


def media_type(stated: str) -> str:
    """A content type without its parameters."""
    return stated.partition(";")[0].strip().lower()


def _check_content(request: Request, route: Route) -> None:
    coding = request.header("content-encoding")
    if coding is not None and coding.strip().lower() not in {"", "identity"}:
        raise Problem(
            415,
            f"the content encoding {coding[:80]!r} is not taken; send the body as it is",
            {"accept-encoding": "identity"},
        )
    stated = request.header("content-type") or ""
    kind = stated if stated in route.content_types else media_type(stated)
    if kind in route.content_types:
        return
    accepted = ", ".join(sorted(route.content_types))
    if not kind:
        raise Problem(415, f"the request has no content type; there are {accepted}")
    if route.check_content_type is not None:
        route.check_content_type(kind)
    raise Problem(415, f"the content type {kind[:80]!r} is not taken here; there are {accepted}")
