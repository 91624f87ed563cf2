"""Ways to tell people: a webhook that takes JSON, one of Slack's kind, and e-mail.

Addresses that hold a secret, and passwords, come from the environment; no error shows them.
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

    from mlops_cli.params.monitoring import Email

__all__ = ["mask_secrets", "post", "send"]

_TIMEOUT = 10.0
"""Seconds that a server may be silent."""
_DEADLINE = 30.0
"""Seconds for all of one alert, whatever a server does meanwhile."""
_MOST = 65_536
"""Bytes of a response that are read."""
_UNFIT = re.compile(r"[^\x21-\x7e]")
"""What no URL holds: blanks, control characters, and others than ASCII's."""


def mask_secrets(url: str) -> str:
    """Show scheme and host of a checked URL; a webhook's path is its secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/***"


def post(url: str, content: Any, variable: str) -> None:
    """Post JSON.

    Parameters
    ----------
    variable
        The environment's variable that holds the URL; errors name it, and the host at most.

    Raises
    ------
    BadParams
        If it isn't an http(s) URL.
    SourceUnreadable
        If it can't be reached, or refuses.
    """
    url = _checked(url.strip(), variable)
    body = json.dumps(content).encode()
    headers = {"content-type": "application/json", "user-agent": "mlops-cli"}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http(s) only

    def attempt() -> None:
        with _opener().open(request, timeout=_TIMEOUT) as response:
            response.read(_MOST)

    if (trouble := _trouble(attempt)) is not None:
        raise SourceUnreadable(
            f"the webhook in {variable} ({mask_secrets(url)}) can't be told: {trouble}",
            "Check the address, and that this machine may reach it.",
        )


def send(email: Email, password: str | None, subject: str, text: str) -> int:
    """Send an e-mail; give the number of addresses that the server refused.

    Raises
    ------
    SourceUnreadable
        If the server can't be reached, or refuses all of them.
    """
    refused: list[int] = []

    def attempt() -> None:
        message = _message(email, subject, text)
        server = _connected(email)
        try:
            if email.user is not None:
                server.login(email.user, password or "")
            refused.append(len(server.send_message(message)))
        except BaseException:
            server.close()
            raise
        # The message is the server's now, however the connection ends.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.quit()

    if (trouble := _trouble(attempt)) is not None:
        raise SourceUnreadable(
            f"no e-mail could be sent by {email.host}:{email.port}: {trouble}",
            "Check monitor.alerts.email, and MLOPS_SMTP_PASSWORD.",
        )
    return refused[0]


def _opener() -> urllib.request.OpenerDirector:
    """What opens http(s) and follows no redirect: a POST would become a GET without its body."""
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


def _checked(url: str, variable: str) -> str:
    """Refuse what is no URL of a webhook, without showing it."""
    remedy = "Set the webhook's whole address, such as https://example.org/hooks/..."
    if _UNFIT.search(url):
        raise BadParams(
            f"the URL in {variable} holds a blank, a control character or one that isn't ASCII's",
            remedy,
        )
    try:
        parts = urllib.parse.urlsplit(url)
        fit = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname)
        fit = fit and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        fit = False
    if not fit:
        raise BadParams(f"{variable} is no http(s) URL of the form https://HOST/PATH", remedy)
    return url


def _message(email: Email, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    # A header ends with its line, and what can't be encoded can't be sent.
    message["Subject"] = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", _sendable(subject)).split())
    message["From"] = _address(email.sender)
    message["To"] = [_address(text) for text in email.to]
    message.set_content(_sendable(text).replace("\0", ""))
    return message


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(name, addr_spec=address)


def _connected(email: Email) -> smtplib.SMTP:
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


def _trouble(attempt: Callable[[], None]) -> str | None:
    """Why an attempt failed, in words that hold nothing of what was sent; None where it didn't.

    It runs in a thread that is left behind at the deadline: a server that sends a byte now and
    then would otherwise hold the command for ever.
    """
    outcome: list[str | None] = []

    def run() -> None:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - servers and libraries fail in any way
            outcome.append(_reason(error))
        else:
            outcome.append(None)

    thread = threading.Thread(target=run, daemon=True, name="alert")
    thread.start()
    thread.join(_DEADLINE)
    return outcome[0] if outcome else f"it took longer than {_DEADLINE:.0f} seconds"


def _reason(error: BaseException) -> str:
    """Name an error without its text, which may repeat an address or a password."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return _refusal(error.code)
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    said = f"it doesn't speak the protocol ({type(error).__name__})"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        said = f"it refused every address ({', '.join(codes)})"
    elif isinstance(error, smtplib.SMTPException):
        said = f"{type(error).__name__} {getattr(error, 'smtp_code', '')}".rstrip()
    elif isinstance(error, TimeoutError):
        said = f"it was silent for {_TIMEOUT:.0f} seconds"
    elif isinstance(error, ssl.SSLError):
        # The library's own name for it, such as CERTIFICATE_VERIFY_FAILED.
        said = f"no secure connection ({error.reason or type(error).__name__})"
    elif isinstance(error, OSError) and error.errno is not None and error.strerror:
        said = str(error.strerror)
    return said


def _refusal(code: int) -> str:
    redirect = http.HTTPStatus.MULTIPLE_CHOICES <= code < http.HTTPStatus.BAD_REQUEST
    return f"it answered {code}" + (", a redirect, which isn't followed" if redirect else "")
