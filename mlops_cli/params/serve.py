"""Parameters of the service: the section ``serve``."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mlops_cli.params.base import Duration, Names, Section

__all__ = ["ColumnPolicy", "Events", "Format", "Jwt", "Limits", "Policy", "Serve"]

Policy = Literal["refuse", "impute", "flag", "accept"]
"""Refuse the row, treat the value as missing with a warning, use it with a warning, or use it."""


def _check_retention(keep: str) -> str:
    if not re.fullmatch(r"([1-9][0-9]{0,3}(h|d|w|mo)|[1-9][0-9]?(q|y))+", keep):
        raise ValueError(f"{keep!r} is not a time to keep events; write 36h, 90d, 6mo or 2y")
    return keep


class Limits(Section):
    """Limits of requests and connections."""

    megabytes: Annotated[float, Field(gt=0)] = 16.0
    """Maximum size of a request's body."""
    rows: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of rows in a request."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """Timeout of a request."""
    total_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Maximum size of all current requests together; one body always fits."""
    connections: Annotated[int, Field(ge=1)] = 1_000
    """Maximum number of open connections; fewer if the system's limit of open files is lower."""


class Events(Section):
    """Retention of predictions and labels, and what happens while their database is unavailable."""

    policy: Literal["spill", "block", "drop"] = "spill"
    """Write them to local files and import them later, let clients wait, or count and lose them."""
    spill_megabytes: Annotated[int, Field(ge=1)] = 1_000
    """With spill: the maximum size of the local files; then clients wait."""
    keep: Annotated[str, AfterValidator(_check_retention)] | None = None
    """Age at which the service erases them; by default they stay until `mlops events purge`."""


class Jwt(Section):
    """Accepted JSON Web Tokens; their key comes from the environment variable MLOPS_JWT_KEY."""

    issuer: str | None = None
    audience: str | None = None
    algorithms: Annotated[Names, Field(min_length=1)] = ("HS256",)


class ColumnPolicy(Section):
    """Policies for values outside of the training data.

    By default a value that breaks a rule of ``validate`` is refused (with the policy `warn`:
    flagged), and a value that only training hasn't seen is flagged.
    """

    range: Policy | None = None
    """A value outside of the limits of ``validate`` or, without these, of the range in training; or
    an infinite one."""
    unseen: Policy | None = None
    """A value not in `allowed`, not matching `pattern`, or a category that training hasn't seen."""
    missing: Policy | None = None
    """A missing value. By default it is refused only where ``validate`` doesn't allow it."""


Format = Literal["json", "csv", "arrow", "parquet"]


class Serve(Section):
    """The service."""

    formats: Annotated[tuple[Format, ...], Field(strict=False, min_length=1)] = ("json", "csv")
    """Accepted formats of a request's body. Arrow and Parquet are read in a separate process."""

    entity: Names = ()
    """Base columns that identify what a prediction is about: labels can name it, canaries split by
    it. By default the columns that ``validate`` declares unique in the base source."""
    limits: Limits = Limits()
    events: Events = Events()
    columns: dict[str, ColumnPolicy] = {}
    """Raw base column, or "*" for all others -> policies; batch scoring applies them too."""
    jwt: Jwt | None = None
    hosts: Names = ()
    """Host names of a service without a key, besides localhost."""
    fetch: Duration | None = "30s"
    """How often a service that follows a stage fetches from the Git remote; null: never."""
