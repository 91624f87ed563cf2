"""URLs of databases, remotes and sources: they may hold a password, which no message shows."""

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
# Names, addresses, a socket's folder as %2F..., and several of them after commas.
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|(?:[\w.~-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_USER = re.compile(r"[^\s@\[\]]*")
_USER_FIRST = re.compile(r"(?s)(?![A-Za-z]:\\)[^@]*:[^@]*@.*")
_SCP = re.compile(r"(?s)(?P<user>[^/\\]*)@(?P<rest>[^/@:\\]+:[^@]*)")
_NO_PATH = re.compile(r"[?*\0\r\n]|^//")
# These belong to addresses and to settings such as host=... password=...
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
    """The scheme of a URL in small letters; empty where it isn't one."""
    match = _SHAPE.fullmatch(text)
    return match["scheme"].lower() if match else ""


def mask_url(text: str) -> str:
    """A URL without what may be secret: user, password, query, fragment; a path as it is.

    Where it isn't certain which part is which, because a password holds ``@``, ``/``, ``?`` or
    ``#`` that isn't escaped, no more than the scheme is shown.

    Examples
    --------
    >>> masked("https://me:pw@host/a.csv?key=1#x")
    'https://***@host/a.csv?***'
    >>> masked("postgresql://u:hun/ter2@host/db")
    'postgresql://***'
    """
    if "://" not in text:
        return _masked_path(text)
    parts = _split(text)
    if parts is None:
        scheme = scheme_of(text)
        return f"{scheme}://{_HIDDEN}" if scheme else _HIDDEN
    path, question, _ = parts.rest.partition("#")[0].partition("?")
    user = f"{_HIDDEN}@" if parts.user else ""
    query = f"?{_HIDDEN}" if question else ""
    return f"{parts.scheme}://{user}{parts.host}{path}{query}"


def check_url(text: str, name: str, form: str) -> None:
    """Refuse a URL of which it isn't certain what is host and what is password.

    Parameters
    ----------
    name
        What holds it, such as the environment's variable; errors show this and never the URL.
    form
        What it has to look like.

    Raises
    ------
    BadParams
        If its host holds ``@``, its port is no number, or a part of a password may be in its path.
    """
    if _split(text) is None:
        raise BadParams(
            f"{name} is not a URL of which host, port and password can be told apart",
            f"Give {form}. {_PERCENT}",
        )


def sqlite_path(text: str, name: str, form: str) -> Path:
    """The file that a path or ``sqlite:///PATH`` names.

    Raises
    ------
    BadParams
        If it is a URL of another kind, settings as libpq has them (``host=... password=...``), or
        anything else that may be meant as an address.
    """
    scheme, path = scheme_of(text), text
    if scheme == "sqlite":
        # As elsewhere: sqlite:///relative, sqlite:////absolute.
        path = text.partition("://")[2].removeprefix("/")
    elif scheme:
        raise BadParams(f"{name} is of the kind {scheme!r}", f"Give {form}.")
    odd = _NO_PATH if path.startswith(("/", ".")) else _NO_NAME
    if not path or odd.search(path):
        # It isn't shown: it may be an address with a password.
        raise BadParams(
            f"{name} is neither a URL of a known kind nor the path of a file",
            f"Give {form}; a relative path with special characters begins with ./",
        )
    return Path(path)


def scrub(text: str, *urls: str) -> str:
    """What a library says of a failure, without the secrets of the URLs that it was given.

    Every URL in the text is masked as well, whoever's it is.
    """
    for url in urls:
        text = text.replace(url, mask_url(url))
        if mask_url(url).endswith(_HIDDEN) and _split(url) is None:
            return "the reason isn't shown, as it may hold a password"
        for secret in sorted(_secrets(url), key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
    return _IN_TEXT.sub(lambda match: mask_url(match[0]), text)


def _split(text: str) -> _Parts | None:
    """Its parts; None where they can't be told apart with certainty."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    user, at, host = match["host"].rpartition("@")
    # An @ after the host: it was in the middle of what should be user and password.
    if "@" in match["rest"] or not _HOSTS.fullmatch(host) or not _USER.fullmatch(user):
        return None
    ports = re.findall(r":([0-9]+)", re.sub(r"\[.*?\]", "", host))
    if any(int(port) > 65_535 for port in ports):  # noqa: PLR2004 - the highest port
        return None
    return _Parts(match["scheme"], user + at, host, match["rest"])


def _masked_path(text: str) -> str:
    if _LIBPQ.search(text) or _USER_FIRST.fullmatch(text):  # host=... password=...; user:pw@host
        return _HIDDEN
    if match := _SCP.fullmatch(text):  # user@host:path
        return f"{_HIDDEN}@{match['rest']}"
    return text


def _secrets(url: str) -> set[str]:
    parts = _split(url)
    if parts is None:
        return set()
    user, _, password = parts.user.removesuffix("@").partition(":")
    query = parts.rest.partition("#")[0].partition("?")[2]
    values = [value for name, value in parse_qsl(query) if _SECRET.search(name)]
    found = {password, *values}
    # A short user such as "me" is a part of other words; with the password it stands apart.
    if not password or len(user) > 2:  # noqa: PLR2004
        found.add(user)
    return {form for secret in found for form in (secret, unquote(secret))} - {""}
