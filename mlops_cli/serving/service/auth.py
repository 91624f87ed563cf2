"""Authentication by API keys and JSON Web Tokens, if they are configured."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, install_hint
from mlops_cli.serving.http_server.http import TOO_MANY_REQUESTS, Problem
from mlops_cli.serving.service.logs import log

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.http import Request
    from mlops_cli.serving.service.settings import Settings

__all__ = ["Authenticator"]

_MIN_BYTES = 16
"""Minimum length of an API key: a shorter one can be guessed."""
_HMAC_MIN = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Minimum bytes of the key of each algorithm that signs with a secret (RFC 7518, 3.2)."""
_MINUTE = 60.0
_MAX_WRONG_KEYS = 20
"""Wrong keys that an address may try in a minute before it has to wait."""
_MAX_LOGGED = 30
"""Refusals that are logged in a minute."""
_MAX_ADDRESSES = 10_000
"""Addresses whose wrong keys are counted."""


class Authenticator:
    """Refuses requests without a valid key or token; if none is configured, accepts all.

    Attributes
    ----------
    key_required
        Whether a key or token is required.

    Raises
    ------
    BadParams
        If a key is too short, or if tokens are required and the key that verifies them is missing
        or doesn't fit their algorithms, or PyJWT isn't installed.
    """

    def __init__(self, settings: Settings) -> None:
        secrets = settings.secrets
        self._keys = _hashes("MLOPS_API_KEYS", secrets.api_keys)
        self._metrics_keys = _hashes("MLOPS_METRICS_KEY", secrets.metrics_keys)
        self._jwt = settings.serve.jwt
        self._jwt_key = secrets.jwt_key
        self._refusals = _Refusals()
        self.key_required = bool(self._keys) or self._jwt is not None
        self._decode: Any = None
        if self._jwt is not None:
            if self._jwt_key is None:
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
            _check_algorithms(self._jwt.algorithms, self._jwt_key)
            self._decode, self._jwt_error = jwt.decode, jwt.PyJWTError

    def key_required_for(self, metrics: bool) -> bool:
        """Whether a key or token is required, at /metrics (``metrics``) or elsewhere."""
        return self.key_required or (metrics and bool(self._metrics_keys))

    def check(self, request: Request, *, metrics: bool = False) -> None:
        """Accept a request, or raise Problem 401, or 429 after many wrong keys."""
        if not self.key_required_for(metrics) or self.has_valid_key(request, metrics=metrics):
            return
        names = ("x-api-key", "authorization")
        state = "not valid" if any(request.header(name) for name in names) else "missing"
        if self._refusals.add(request, state):
            raise Problem(
                TOO_MANY_REQUESTS,
                "too many wrong keys came from this address",
                {"retry-after": "60"},
            )
        raise Problem(
            401, f"the API key or token is {state}", {"www-authenticate": 'Bearer realm="mlops"'}
        )

    def has_valid_key(self, request: Request, *, metrics: bool = False) -> bool:
        """Whether a request has a valid key or token."""
        keys = [*self._keys, *self._metrics_keys] if metrics else self._keys
        key = request.header("x-api-key")
        if key is not None and _is_one_of(key, keys):
            return True
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return False
        return _is_one_of(token, keys) or (self._jwt is not None and self._is_valid_token(token))

    def _is_valid_token(self, token: str) -> bool:
        assert self._jwt is not None  # noqa: S101 - the caller checked
        try:
            self._decode(
                token,
                self._jwt_key,
                algorithms=list(self._jwt.algorithms),
                issuer=self._jwt.issuer,
                audience=self._jwt.audience,
                options={"require": ["exp"], "verify_aud": self._jwt.audience is not None},
            )
        except self._jwt_error:
            return False
        return True


class _Refusals:
    """Counts refused requests by address, and logs a limited number of them."""

    def __init__(self) -> None:
        self._wrong_keys: dict[str, int] = {}
        self._logged = self._unlogged = 0
        self._minute_start = time.monotonic()

    def add(self, request: Request, state: str) -> bool:
        """Count a refusal; True if its address has tried too many wrong keys."""
        now = time.monotonic()
        if now > self._minute_start + _MINUTE:
            self._wrong_keys.clear()
            self._minute_start, self._logged = now, 0
        address = request.client_address
        if self._logged < _MAX_LOGGED:
            self._logged += 1
            log("refused", address=address, path=request.path, key=state, before=self._unlogged)
            self._unlogged = 0
        else:
            self._unlogged += 1
        if state == "missing":
            return False
        if len(self._wrong_keys) < _MAX_ADDRESSES or address in self._wrong_keys:
            self._wrong_keys[address] = self._wrong_keys.get(address, 0) + 1
        return self._wrong_keys.get(address, 0) > _MAX_WRONG_KEYS


def _hashes(name: str, keys: Sequence[str]) -> list[bytes]:
    for number, key in enumerate(keys, 1):
        if len(key.encode()) < _MIN_BYTES:
            raise BadParams(
                f"key {number} in {name} has {len(key.encode())} bytes, and at least {_MIN_BYTES} "
                "are needed: it could be guessed",
                "Make one, such as by `openssl rand -hex 32`.",
            )
    return [hashlib.sha256(key.encode()).digest() for key in keys]


def _is_one_of(key: str, hashes: Sequence[bytes]) -> bool:
    digest = hashlib.sha256(key.encode("latin-1", "replace")).digest()
    # All are compared, each in constant time, so that timing reveals nothing about a key.
    return sum(hmac.compare_digest(digest, expected) for expected in hashes) > 0


def _check_algorithms(names: Sequence[str], key: str) -> None:
    """Refuse at startup an algorithm that would reject every token, or accept forged ones."""
    import jwt
    from jwt.algorithms import get_default_algorithms

    algorithms = get_default_algorithms()
    algorithms.pop("none", None)
    for name in names:
        if name not in algorithms:
            raise BadParams(
                f"serve.jwt.algorithms names {name!r}, which is not known",
                f"There are {', '.join(sorted(algorithms))}.",
            )
        if len(key.encode()) < _HMAC_MIN.get(name, 0):
            raise BadParams(
                f"MLOPS_JWT_KEY has {len(key.encode())} bytes, and {name} needs {_HMAC_MIN[name]}",
                "Make one, such as by `openssl rand -hex 32`, and sign tokens with it.",
            )
        try:
            algorithms[name].prepare_key(key)
        except (ValueError, TypeError, jwt.PyJWTError):
            raise BadParams(
                f"MLOPS_JWT_KEY can't check tokens of the algorithm {name}",
                "For HS256 and its kind it is a secret, else the public key as PEM.",
            ) from None
