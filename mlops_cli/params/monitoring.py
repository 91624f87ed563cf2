"""The sections of the feedback loop: feedback, monitor, retrain, backtest."""

from __future__ import annotations

import re
from email.utils import parseaddr
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mlops_cli.params.base import Duration, Names, Section, Share

__all__ = ["Alerts", "Backtest", "Email", "Feedback", "Monitor", "Retrain"]

Found = Literal["drift", "degraded"]

_ADDRESS = re.compile(r"[^\s@<>()\[\],:;\"\\]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1", re.IGNORECASE)


def _mail_address(value: str) -> str:
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


def _mail_host(value: str) -> str:
    if not _HOST.fullmatch(value):
        msg = f"{value!r} is no host; write a name or an IP address, such as smtp.example.org"
        raise ValueError(msg)
    return value


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        msg = f"{value!r} holds a line's end or another control character"
        raise ValueError(msg)
    return value


MailAddress = Annotated[str, AfterValidator(_mail_address)]
"""ann@example.org, with or without a name before it."""


class Feedback(Section):
    """Labels that come later."""

    delay: Duration | None = None
    """How long after its values are known a label arrives, beyond what ``known_at`` says."""


class Email(Section):
    """Alerts by e-mail; a password comes from the environment, as MLOPS_SMTP_PASSWORD."""

    to: Annotated[tuple[MailAddress, ...], Field(strict=False, min_length=1)]
    sender: MailAddress
    host: Annotated[str, AfterValidator(_mail_host)] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "none"
    user: Annotated[str, AfterValidator(_one_line)] | None = None

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        if self.user is not None and self.security == "none" and not _LOOPBACK.fullmatch(self.host):
            msg = (
                f"user {self.user!r} would log in at {self.host} without encryption; "
                "set security to starttls or tls"
            )
            raise ValueError(msg)
        return self


class Alerts(Section):
    """Who is told what.

    The addresses of webhooks stand in the environment: MLOPS_ALERT_WEBHOOK (JSON) and
    MLOPS_ALERT_SLACK (Slack's format).
    """

    when: Annotated[tuple[Found, ...], Field(strict=False)] = ("drift", "degraded")
    repeat: Duration | None = "7d"
    """The same finding is told again after so long, while it lasts; null: never."""
    email: Email | None = None


class Monitor(Section):
    """What `mlops monitor` looks at, and from when on something is a finding."""

    window: Duration = "7d"
    """How far back from the newest prediction, without --since."""
    time: Literal["asked", "moment"] = "asked"
    """Whether windows go by when predictions were asked for, or by when what they are about is."""
    min_rows: Annotated[int, Field(ge=2)] = 200
    """Of fewer predictions nothing is judged."""
    min_labels: Annotated[int, Field(ge=2)] = 200
    """Of fewer labelled predictions performance isn't judged."""
    coverage: Share = 0.5
    """Where fewer of the predictions have labels, their performance is shown and not judged."""
    metric: str | None = None
    """By which performance is judged; by default the first one of the evaluation."""
    tolerance: Share = 0.1
    """What share of the evaluation's gain over a constant may be lost."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    """With which more than that must be lost (one-sided)."""
    false_discoveries: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Of the drift that is found: at most this share by chance."""
    joint: bool = True
    """Look for drift that single columns don't show."""
    slices: Names = ()
    """Features by whose values performance is broken down."""
    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """The 95th percentile of a prediction's time must not be longer."""
    age: Duration | None = None
    """A model's data must not end longer before the window."""
    skew_rows: Annotated[int, Field(ge=0)] = 500
    """So many logged rows are computed again by the offline feature program; 0: none."""
    alerts: Alerts = Alerts()

    @property
    def by(self) -> Literal["at", "moment"]:
        """What the event log calls that time."""
        return "at" if self.time == "asked" else "moment"


class Retrain(Section):
    """When a new model is made, and what becomes of it."""

    when: Annotated[tuple[Found, ...], Field(strict=False)] = ("drift", "degraded")
    """What monitoring must have found for `mlops retrain --if-needed`."""
    every: Duration | None = None
    """Also when the data clock is so much older than the newest labels."""
    min_rows: Annotated[int, Field(ge=1)] = 1
    """Fewer new labelled rows aren't worth it."""
    promote: bool = False
    """Put the new version into ``stage``; needs `register.champion` for that stage."""
    stage: str = "production"


class Backtest(Section):
    """What the policies are compared by."""

    error_cost: Annotated[float, Field(ge=0)] = 1.0
    """Of a unit of error: by ``task.cost`` (binary), a wrong class, or a unit of the target."""
    retrain_cost: Annotated[float, Field(ge=0)] = 0.0
    """Of one retraining, in the same unit."""
    trials: Annotated[int, Field(ge=0)] = 0
    """Trials of the search at each training; 0: the settings in ``models/tuning``."""
