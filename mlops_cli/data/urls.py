"""URLs of databases, remotes and sources: checked, and masked in messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from mlops_cli.errors import BadParams

__all__ = ["check_url", "mask_url", "scheme_of", "scrub", "sqlite_path"]

_HIDDEN = "***"
_SHAPE = re.compile(r"(?s)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?#]*)(?P<rest>.*)")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}\S*[^\s'\").,;:]")
# Host names, addresses, a socket's folder as %2F..., or several of them separated by commas.
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|(?:[\w.~-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_USER = re.compile(r"[^\s@\[\]]*")
_USER_FIRST = re.compile(r"(?s)(?![A-Za-z]:\\)[^@]*:[^@]*@.*")
_SCP = re.compile(r"(?s)(?P<user>[^/\\]*)@(?P<rest>[^/@:\\]+:[^@]*)")
_NO_PATH = re.compile(r"[?*\0\r\n]|^//")
# Characters of addresses, and of settings such as host=... password=...
_NO_NAME = re.compile(r"[?*\0\r\n=@:]|//|^\s|\s$")
_LIBPQ = re.compile(r"(?i)\b\w*(?:pass\w*|secret|token|key|user|host|dbname)\s*=")
_SECRET = re.compile(r"(?i)pass|secret|token|key|sig|user|cred|auth")
_PERCENT = "Write special characters of user and password as %XX: @ is %40, / is %2F, : is %3A."


class _Parts(NamedTuple):
    scheme: str
    user: str
    host: str
    rest: str


def scheme_of(text: str) -> str:
    """The scheme of a URL in lower case; empty if the text isn't a URL."""
    match = _SHAPE.fullmatch(text)
    return match["scheme"].lower() if match else ""


def mask_url(text: str) -> str:
    """A URL without its possible secrets: user, password, query, fragment.

    A file's path is returned as it is. If the parts can't be told apart with certainty, because a
    password has an unescaped ``@``, ``/``, ``?`` or ``#``, only the scheme is shown.

    Examples
    --------
    >>> mask_url("https://me:pw@host/a.csv?key=1#x")
    'https://***@host/a.csv?***'
    >>> mask_url("postgresql://u:hun/ter2@host/db")
    'postgresql://***'
    """
    if "://" not in text:
        return _mask_path(text)
    parts = _split_url(text)
    if parts is None:
        scheme = scheme_of(text)
        return f"{scheme}://{_HIDDEN}" if scheme else _HIDDEN
    path, question, _ = parts.rest.partition("#")[0].partition("?")
    user = f"{_HIDDEN}@" if parts.user else ""
    query = f"?{_HIDDEN}" if question else ""
    return f"{parts.scheme}://{user}{parts.host}{path}{query}"


def check_url(text: str, name: str, form: str) -> None:
    """Refuse a URL whose host and password can't be told apart with certainty.

    Parameters
    ----------
    name
        Where the URL is set, such as an environment variable; errors show this, never the URL.
    form
        The form that it must have, for the error.

    Raises
    ------
    BadParams
        If its host has an ``@``, its port is invalid, or its path may have a part of a password.
    """
    if _split_url(text) is None:
        raise BadParams(
            f"{name} is not a URL of which host, port and password can be told apart",
            f"Give {form}. {_PERCENT}",
        )


def sqlite_path(text: str, name: str, form: str) -> Path:
    """The file of a SQLite database, given as a path or as ``sqlite:///PATH``.

    Raises
    ------
    BadParams
        If it is a URL of another kind, libpq settings (``host=... password=...``), or anything
        else that may be an address.
    """
    scheme, path = scheme_of(text), text
    if scheme == "sqlite":
        # As elsewhere: sqlite:///relative, sqlite:////absolute.
        path = text.partition("://")[2].removeprefix("/")
    elif scheme:
        raise BadParams(f"{name} is of the kind {scheme!r}", f"Give {form}.")
    forbidden = _NO_PATH if path.startswith(("/", ".")) else _NO_NAME
    if not path or forbidden.search(path):
        # The text isn't shown, because it may be an address with a password.
        raise BadParams(
            f"{name} is neither a URL of a known kind nor the path of a file",
            f"Give {form}; a relative path with special characters begins with ./",
        )
    return Path(path)


def scrub(text: str, *urls: str) -> str:
    """Remove the secrets of URLs from a library's error message.

    Every other URL in the text is masked as well.
    """
    for url in urls:
        text = text.replace(url, mask_url(url))
        if mask_url(url).endswith(_HIDDEN) and _split_url(url) is None:
            return "the reason isn't shown, as it may hold a password"
        for secret in sorted(_secrets_of(url), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
    return _IN_TEXT.sub(lambda match: mask_url(match[0]), text)


def _split_url(text: str) -> _Parts | None:
    """Split a URL into its parts; None if they can't be told apart with certainty."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    user, at_sign, host = match["host"].rpartition("@")
    # An @ after the host means that user or password have an unescaped / ? or #.
    if "@" in match["rest"] or not _HOSTS.fullmatch(host) or not _USER.fullmatch(user):
        return None
    ports = re.findall(r":([0-9]+)", re.sub(r"\[.*?\]", "", host))
    if any(int(port) > 65_535 for port in ports):  # noqa: PLR2004 - the highest port
        return None
    return _Parts(match["scheme"], user + at_sign, host, match["rest"])


def _mask_path(text: str) -> str:
    if _LIBPQ.search(text) or _USER_FIRST.fullmatch(text):  # host=... password=...; user:pw@host
        return _HIDDEN
    if match := _SCP.fullmatch(text):  # user@host:path
        return f"{_HIDDEN}@{match['rest']}"
    return text


def _secrets_of(url: str) -> set[str]:
    parts = _split_url(url)
    if parts is None:
        return set()
    user, _, password = parts.user.removesuffix("@").partition(":")
    query = parts.rest.partition("#")[0].partition("?")[2]
    values = [value for name, value in parse_qsl(query) if _SECRET.search(name)]
    secrets = {password, *values}
    # A short user such as "me" is part of other words: it counts only without a password.
    if not password or len(user) > 2:  # noqa: PLR2004
        secrets.add(user)
    return {form for secret in secrets for form in (secret, unquote(secret))} - {""}
