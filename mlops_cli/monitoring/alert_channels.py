"""Alert channels: webhooks that take JSON, such as Slack's, and e-mail.

Secret addresses and passwords come from environment variables; no error shows them.
"""

from __future__ import annotations

import contextlib
import http
import json
import re
import smtplib
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_cli.params.monitor import Email

__all__ = ["mask_secrets", "post", "send"]

_TIMEOUT = 10.0
"""Seconds that a server may be silent."""
_DEADLINE = 30.0
"""Seconds for one alert, whatever the server does."""
_MAX_BYTES = 65_536
"""Maximum bytes of a response that are read."""
_NOT_IN_URL = re.compile(r"[^\x21-\x7e]")
"""Characters that no URL contains: blanks, control characters, and non-ASCII ones."""


def mask_secrets(url: str) -> str:
    """Show only scheme and host of a checked URL, because a webhook's path is its secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/***"


def post(url: str, content: Any, variable: str) -> None:
    """Post JSON to a webhook.

    Parameters
    ----------
    variable
        Environment variable with the URL. Errors show its name, and at most the URL's host.

    Raises
    ------
    BadParams
        If the URL isn't an http(s) URL.
    SourceUnreadable
        If the server can't be reached, or refuses.
    """
    url = _check_url(url.strip(), variable)
    body = json.dumps(content).encode()
    headers = {"content-type": "application/json", "user-agent": "mlops-cli"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http(s) only

    def attempt() -> None:
        with _opener().open(request, timeout=_TIMEOUT) as response:
            response.read(_MAX_BYTES)

    if (failure := _run_attempt(attempt)) is not None:
        raise SourceUnreadable(
            f"the webhook in {variable} ({mask_secrets(url)}) could not be notified: {failure}",
            "Check the address, and that this machine may reach it.",
        )


def send(email: Email, password: str | None, subject: str, text: str) -> int:
    """Send an e-mail; return the number of addresses that the server refused.

    Raises
    ------
    SourceUnreadable
        If the server can't be reached, or refuses all addresses.
    """
    refused: list[int] = []

    def attempt() -> None:
        message = _make_message(email, subject, text)
        server = _connect(email)
        try:
            if email.user is not None:
                server.login(email.user, password or "")
            refused.append(len(server.send_message(message)))
        except BaseException:
            server.close()
            raise
        # The server has accepted the message, however the connection ends.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.quit()

    if (failure := _run_attempt(attempt)) is not None:
        raise SourceUnreadable(
            f"no e-mail could be sent by {email.host}:{email.port}: {failure}",
            "Check monitor.alerts.email, and MLOPS_SMTP_PASSWORD.",
        )
    return refused[0]


def _opener() -> urllib.request.OpenerDirector:
    """Opener of http(s) URLs without redirects: a POST would become a GET without its body."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _check_url(url: str, variable: str) -> str:
    """Refuse an invalid URL of a webhook, without showing it."""
    remedy = "Set the webhook's whole address, such as https://example.org/hooks/..."
    if _NOT_IN_URL.search(url):
        raise BadParams(
            f"the URL in {variable} holds a blank, a control character or one that isn't ASCII's",
            remedy,
        )
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname)
        valid = valid and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        valid = False
    if not valid:
        raise BadParams(f"{variable} is no http(s) URL of the form https://HOST/PATH", remedy)
    return url


def _make_message(email: Email, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    # A header is one line, and all of it has to be encodable.
    message["Subject"] = " ".join(
        re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", _make_encodable(subject)).split()
    )
    message["From"] = _parse_address(email.sender)
    message["To"] = [_parse_address(text) for text in email.to]
    message.set_content(_make_encodable(text).replace("\0", ""))
    return message


def _make_encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _parse_address(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(name, addr_spec=address)


def _connect(email: Email) -> smtplib.SMTP:
    if email.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(email.host, email.port, timeout=_TIMEOUT, context=context)
    server = smtplib.SMTP(email.host, email.port, timeout=_TIMEOUT)
    if email.security == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _run_attempt(attempt: Callable[[], None]) -> str | None:
    """Run an attempt; return why it failed, without any sent content, or None.

    The attempt runs in a thread that is abandoned at the deadline. Otherwise a server that sends a
    byte now and then would block the command for ever.
    """
    outcome: list[str | None] = []

    def run() -> None:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - servers and libraries fail in any way
            outcome.append(_describe_error(error))
        else:
            outcome.append(None)

    thread = threading.Thread(target=run, daemon=True, name="alert")
    thread.start()
    thread.join(_DEADLINE)
    return outcome[0] if outcome else f"it took longer than {_DEADLINE:.0f} seconds"


def _describe_error(error: BaseException) -> str:
    """Describe an error without its text, which may repeat an address or a password."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _describe_refusal(error.code)
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _describe_error(error.reason)
    message = f"it doesn't speak the protocol ({type(error).__name__})"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        message = f"it refused every address ({', '.join(codes)})"
    elif isinstance(error, smtplib.SMTPException):
        message = f"{type(error).__name__} {getattr(error, 'smtp_code', '')}".rstrip()
    elif isinstance(error, TimeoutError):
        message = f"it was silent for {_TIMEOUT:.0f} seconds"
    elif isinstance(error, ssl.SSLError):
        # The library's own name for it, such as CERTIFICATE_VERIFY_FAILED.
        message = f"no secure connection ({error.reason or type(error).__name__})"
    elif isinstance(error, OSError) and error.errno is not None and error.strerror:
        message = str(error.strerror)
    return message


def _describe_refusal(code: int) -> str:
    redirect = http.HTTPStatus.MULTIPLE_CHOICES <= code < http.HTTPStatus.BAD_REQUEST
    return f"it answered {code}" + (", a redirect, which isn't followed" if redirect else "")
