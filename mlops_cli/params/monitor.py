"""Section ``monitor``: drift, performance and alerts."""

from __future__ import annotations

import re
from email.utils import parseaddr
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mlops_cli.params.base import Duration, Names, Section, Share

__all__ = ["Alerts", "Email", "MailAddress", "Monitor"]

Verdict = Literal["drift", "degraded"]
_ADDRESS = re.compile(r"[^\s@<>()\[\],:;\"\\]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1", re.IGNORECASE)


def _check_mail_address(value: str) -> str:
    _, address = parseaddr(value)
    plain = value in {address, f"<{address}>"} or value.endswith(f" <{address}>")
    if (
        not plain
        or not address.isascii()
        or _CONTROL.search(value)
        or not _ADDRESS.fullmatch(address)
    ):
        msg = f"{value!r} is no e-mail address; write ann@example.org or Ann <ann@example.org>"
        raise ValueError(msg)
    return value


def _check_mail_host(value: str) -> str:
    if not _HOST.fullmatch(value):
        msg = f"{value!r} is no host; write a name or an IP address, such as smtp.example.org"
        raise ValueError(msg)
    return value


def _check_one_line(value: str) -> str:
    if _CONTROL.search(value):
        msg = f"{value!r} holds a line's end or another control character"
        raise ValueError(msg)
    return value


MailAddress = Annotated[str, AfterValidator(_check_mail_address)]
"""ann@example.org, or with a name: Ann <ann@example.org>."""


class Email(Section):
    """Alerts by e-mail; the password comes from the environment variable MLOPS_SMTP_PASSWORD."""

    to: Annotated[tuple[MailAddress, ...], Field(strict=False, min_length=1)]
    sender: MailAddress
    host: Annotated[str, AfterValidator(_check_mail_host)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "none"
    user: Annotated[str, AfterValidator(_check_one_line)] | None = None

    @model_validator(mode="after")
    def _check_encryption(self) -> Self:
        if self.user is not None and self.security == "none" and not _LOOPBACK.fullmatch(self.host):
            msg = (
                f"user {self.user!r} would log in at {self.host} without encryption; "
                "set security to starttls or tls"
            )
            raise ValueError(msg)
        return self


class Alerts(Section):
    """Which findings are sent as alerts, and how often.

    The URLs of webhooks come from the environment: MLOPS_ALERT_WEBHOOK (JSON) and MLOPS_ALERT_SLACK
    (Slack's format).
    """

    when: Annotated[tuple[Verdict, ...], Field(strict=False)] = ("drift", "degraded")
    repeat: Duration | None = "7d"
    """After this time, a finding that lasts is sent again; null: never."""
    email: Email | None = None


class Monitor(Section):
    """What `mlops monitor` checks, and the limits of its findings."""

    window: Duration = "7d"
    """Length of the window before the newest prediction, without --since."""
    time: Literal["request", "moment"] = "request"
    """Whether windows are by request time (request) or by time of the predicted event (moment)."""
    min_rows: Annotated[int, Field(ge=2)] = 200
    """Minimum number of predictions; with fewer nothing is evaluated."""
    min_labels: Annotated[int, Field(ge=2)] = 200
    """Minimum number of labelled predictions; with fewer performance isn't evaluated."""
    coverage: Share = 0.5
    """Minimum share of predictions with labels; below it performance is shown, not evaluated."""
    metric: str | None = None
    """The metric of performance; by default the first one of the evaluation."""
    tolerance: Share = 0.1
    """The share of the evaluation's gain over a constant that may be lost."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """Confidence that more than this share is lost (one-sided)."""
    false_discoveries: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """The largest share of drift findings that are chance findings."""
    joint: bool = True
    """Test for multivariate drift."""
    slices: Names = ()
    """Features by whose values performance is broken down."""
    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """Limit for the 95th percentile of a prediction's time."""
    age: Duration | None = None
    """Limit for the time between the end of the model's data and the window's end."""
    skew_rows: Annotated[int, Field(ge=0)] = 500
    """Number of logged rows that the offline feature program computes again; 0: none."""
    alerts: Alerts = Alerts()

    @property
    def by(self) -> Literal["at", "moment"]:
        """The event log's name for that time."""
        return "at" if self.time == "request" else "moment"
