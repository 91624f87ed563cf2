"""The section ``serve``: what the service takes, keeps and asks for."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mlops_cli.params.base import Duration, Names, Section

__all__ = ["ColumnPolicy", "Events", "Format", "Jwt", "Limits", "Policy", "Serve"]

Policy = Literal["refuse", "impute", "flag", "accept"]
"""Refuse the row, take the value as missing and say so, use it and say so, or just use it."""


def _retention(keep: str) -> str:
    if not re.fullmatch(r"([1-9][0-9]{0,3}(h|d|w|mo)|[1-9][0-9]?(q|y))+", keep):
        raise ValueError(f"{keep!r} is not a time to keep events; write 36h, 90d, 6mo or 2y")
    return keep


class Limits(Section):
    """What one request may ask for."""

    megabytes: Annotated[float, Field(gt=0)] = 16.0
    """Of a request's body."""
    rows: Annotated[int, Field(ge=1)] = 10_000
    """In one request."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """Until a request is given up."""
    total_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Of all requests that are there at the same time; one body always fits."""
    connections: Annotated[int, Field(ge=1)] = 1_000
    """At the same time; fewer where fewer files may be open."""


class Events(Section):
    """How long predictions and labels stay, and what happens while their database is away."""

    policy: Literal["spill", "block", "drop"] = "spill"
    """Keep them in local files and bring them in later, let clients wait, or count and lose."""
    spill_megabytes: Annotated[int, Field(ge=1)] = 1_000
    """With spill: how much is kept; then clients wait."""
    keep: Annotated[str, AfterValidator(_retention)] | None = None
    """After which the service erases them; by default they stay until `mlops events purge`."""


class Jwt(Section):
    """Which tokens are taken; their key comes from the environment, as MLOPS_JWT_KEY."""

    issuer: str | None = None
    audience: str | None = None
    algorithms: Annotated[Names, Field(min_length=1)] = ("HS256",)


class ColumnPolicy(Section):
    """What becomes of values that a model has no ground to judge.

    By default what breaks a rule of ``validate`` is refused (with the policy `warn`: flagged), and
    what only training hasn't seen is flagged.
    """

    range: Policy | None = None
    """Below or above what ``validate`` allows or, where it has no limit, what training has seen;
    or infinite."""
    unseen: Policy | None = None
    """Not `allowed` or not of the `pattern`, or a category that training hasn't seen."""
    missing: Policy | None = None
    """Without a value. By default only refused where ``validate`` says that there is one."""


Format = Literal["json", "csv", "arrow", "parquet"]


class Serve(Section):
    """The service."""

    formats: Annotated[tuple[Format, ...], Field(strict=False, min_length=1)] = ("json", "csv")
    """What a request's body may be. Arrow and Parquet are read in a process of their own."""

    entity: Names = ()
    """Base columns that say what a prediction is about: labels can name it, canaries split by
    it. By default the columns that are unique in the base source, by ``validate``."""
    limits: Limits = Limits()
    events: Events = Events()
    columns: dict[str, ColumnPolicy] = {}
    """Raw base column, or "*" for all others -> policies; batch scoring holds to them too."""
    jwt: Jwt | None = None
    hosts: Names = ()
    """Names by which the service may be called where it asks for no key, besides localhost."""
    fetch: Duration | None = "30s"
    """How often a service that follows a stage fetches from the Git remote; null: never."""
