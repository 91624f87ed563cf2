"""Who may ask: API keys and JSON Web Tokens, where they are configured."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, install_hint
from mlops_cli.live.service.http import Problem

if TYPE_CHECKING:
    from mlops_cli.live.service.http import Request
    from mlops_cli.live.service.settings import Settings

__all__ = ["OPEN", "Guard"]

OPEN = {"/livez", "/readyz", "/healthz"}
"""Paths that need no key: what orchestrators ask."""


class Guard:
    """Refuses requests without a right key or token; with nothing configured, none.

    Raises
    ------
    BadParams
        If tokens are asked for and there is no key to check them, or no library.
    """

    def __init__(self, settings: Settings) -> None:
        keys = settings.secrets.api_keys
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._jwt = settings.serve.jwt
        self._key = settings.secrets.jwt_key
        self._decode: Any = None
        if self._jwt is not None:
            if self._key is None:
                raise BadParams(
                    "serve.jwt asks for tokens, and MLOPS_JWT_KEY is not set",
                    "Put the key that checks them into the environment.",
                )
            try:
                import jwt
            except ModuleNotFoundError:
                raise BadParams(
                    "serve.jwt asks for tokens, and PyJWT isn't installed",
                    install_hint("jwt"),
                ) from None
            self._decode, self._wrong = jwt.decode, jwt.PyJWTError

    @property
    def closed(self) -> bool:
        """Whether anything is asked for."""
        return bool(self._keys) or self._jwt is not None

    def check(self, request: Request) -> None:
        """Let a request pass, or raise Problem 401."""
        if not self.closed:
            return
        key = request.header("x-api-key")
        if key is not None and self._known(key):
            return
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and token:
            if self._known(token.strip()):
                return
            if self._jwt is not None and self._signed(token.strip()):
                return
        given = "not valid" if key is not None or token else "missing"
        raise Problem(
            401, f"the API key or token is {given}", {"www-authenticate": 'Bearer realm="mlops"'}
        )

    def _known(self, key: str) -> bool:
        given = hashlib.sha256(key.encode("latin-1", "replace")).digest()
        # All are compared, in constant time, so that the time tells nothing.
        return sum(hmac.compare_digest(given, known) for known in self._keys) > 0

    def _signed(self, token: str) -> bool:
        assert self._jwt is not None  # noqa: S101 - the caller looked
        try:
            self._decode(
                token,
                self._key,
                algorithms=list(self._jwt.algorithms),
                issuer=self._jwt.issuer,
                audience=self._jwt.audience,
                options={"require": ["exp"], "verify_aud": self._jwt.audience is not None},
            )
        except self._wrong:
            return False
        return True
