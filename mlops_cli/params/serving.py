"""The section ``serve``: what the service takes, keeps and asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlops_cli.params.base import Names, Section

__all__ = ["Events", "Jwt", "Limits", "Serve"]


class Limits(Section):
    """What one request may ask for."""

    megabytes: Annotated[float, Field(gt=0)] = 16.0
    """Of a request's body."""
    rows: Annotated[int, Field(ge=1)] = 10_000
    """In one request."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """Until a request is given up."""


class Events(Section):
    """What happens to predictions and labels while their database can't be reached."""

    policy: Literal["spill", "block", "drop"] = "spill"
    """Keep them in local files and bring them in later, let clients wait, or count and lose."""
    spill_megabytes: Annotated[int, Field(ge=1)] = 1_000
    """With spill: how much is kept; then clients wait."""


class Jwt(Section):
    """Which tokens are taken; their key comes from the environment, as MLOPS_JWT_KEY."""

    issuer: str | None = None
    audience: str | None = None
    algorithms: Annotated[Names, Field(min_length=1)] = ("HS256",)


class Serve(Section):
    """The service."""

    entity: Names = ()
    """Base columns that say what a prediction is about: labels can name it, canaries split by
    it. By default the columns that are unique in the base source, by ``validate``."""
    limits: Limits = Limits()
    events: Events = Events()
    jwt: Jwt | None = None
