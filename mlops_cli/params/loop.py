"""The sections of the feedback loop: feedback, monitor, retrain, backtest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlops_cli.params.base import Duration, Names, Section, Share

__all__ = ["Alerts", "Backtest", "Email", "Feedback", "Monitor", "Retrain"]

Found = Literal["drift", "degraded"]


class Feedback(Section):
    """Labels that come later."""

    delay: Duration | None = None
    """How long after its values are known a label arrives, beyond what ``known_at`` says."""


class Email(Section):
    """Alerts by e-mail; a password comes from the environment, as MLOPS_SMTP_PASSWORD."""

    to: Annotated[Names, Field(min_length=1)]
    sender: str
    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "none"
    user: str | None = None


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
