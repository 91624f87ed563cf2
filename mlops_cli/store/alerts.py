"""Ways to tell people: a webhook that takes JSON, one of Slack's kind, and e-mail.

Addresses that hold a secret, and passwords, come from the environment; no error shows them.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, SourceUnreadable

if TYPE_CHECKING:
    from mlops_cli.params.loop import Email

__all__ = ["post", "send"]

_PATIENCE = 10.0
"""Seconds."""


def post(url: str, content: Any, variable: str) -> None:
    """Post JSON.

    Parameters
    ----------
    variable
        The environment's variable that holds the URL; errors name it instead.

    Raises
    ------
    BadParams
        If it isn't an http(s) URL.
    SourceUnreadable
        If it can't be reached, or refuses.
    """
    if urllib.parse.urlsplit(url).scheme.lower() not in {"http", "https"}:
        raise BadParams(f"{variable} is no http(s) URL", "Set the webhook's whole address.")
    body = json.dumps(content, ensure_ascii=False).encode()
    headers = {"content-type": "application/json", "user-agent": "mlops-cli"}
    try:
        asked = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http(s) only
        with urllib.request.urlopen(asked, timeout=_PATIENCE):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        raise _unreachable(variable, f"it answered {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise _unreachable(variable, str(reason)) from None


def send(email: Email, password: str | None, subject: str, text: str) -> None:
    """Send an e-mail.

    Raises
    ------
    SourceUnreadable
        If the server can't be reached, or refuses.
    """
    message = EmailMessage()
    # A header ends with its line.
    message["Subject"] = " ".join(subject.split())
    message["From"], message["To"] = email.sender, ", ".join(email.to)
    message.set_content(text)
    try:
        with _connected(email) as server:
            if email.user is not None:
                server.login(email.user, password or "")
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        # What a server answers may repeat what it was told.
        code = getattr(error, "smtp_code", None)
        reason = f"{type(error).__name__}" + (f" ({code})" if code else "")
        raise SourceUnreadable(
            f"no e-mail could be sent by {email.host}:{email.port}: {reason}",
            "Check monitor.alerts.email, and MLOPS_SMTP_PASSWORD.",
        ) from None


def _connected(email: Email) -> smtplib.SMTP:
    if email.security == "tls":
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(email.host, email.port, timeout=_PATIENCE, context=context)
    server = smtplib.SMTP(email.host, email.port, timeout=_PATIENCE)
    if email.security == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server


def _unreachable(variable: str, reason: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"the webhook in {variable} can't be told: {reason}",
        "Check the address, and that this machine may reach it.",
    )
