"""Service settings, from `mlops serve` or from environment variables in a container."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import BadParams, Usage
from mlops_cli.params.serve import Serve
from mlops_cli.serving.row_files import TextOptions

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["Model", "Secrets", "Settings", "parse_list", "parse_share"]


@dataclass(frozen=True)
class Model:
    """A verified bundle's folder, and the name and number of the version."""

    name: str
    number: str
    folder: Path

    @property
    def label(self) -> str:
        """Name and number, such as flight-delays@v0.2.0."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, repr=False)
class Secrets:
    """Keys and database URLs, read only from the environment and never printed."""

    api_keys: tuple[str, ...] = ()
    jwt_key: str | None = None
    online_url: str | None = None
    events_url: str | None = None
    metrics_keys: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Secrets:
        """Read MLOPS_API_KEYS, MLOPS_METRICS_KEY, MLOPS_JWT_KEY, and the URLs of databases.

        These are MLOPS_ONLINE_URL and MLOPS_EVENTS_URL.
        """
        return cls(
            parse_list(environment, "MLOPS_API_KEYS"),
            environment.get("MLOPS_JWT_KEY") or None,
            environment.get("MLOPS_ONLINE_URL"),
            environment.get("MLOPS_EVENTS_URL") or None,
            parse_list(environment, "MLOPS_METRICS_KEY"),
        )


@dataclass(frozen=True)
class Settings:
    """Everything that the application needs to start.

    Attributes
    ----------
    root
        The folder of the project, or of the container, with `.mlops` and the feature hook.
    shadow
        A version that scores the same rows, and doesn't respond.
    canary
        A version, and the share of entities that it responds to.
    follow
        The registry stage whose current version responds; needs the Git repository.
    log_events
        Whether predictions and labels are written to the event log.
    hosts
        Host names of the service, besides those in ``serve``.
    text_options
        The project's CSV dialect.
    """

    model: Model
    root: Path
    serve: Serve = field(default_factory=Serve)
    secrets: Secrets = field(default_factory=Secrets)
    shadow: Model | None = None
    canary: tuple[Model, float] | None = None
    follow: str | None = None
    log_events: bool = True
    hosts: tuple[str, ...] = ()
    text_options: TextOptions = field(default_factory=TextOptions)

    @property
    def layout(self) -> Layout:
        """The paths of the online store and the event log."""
        from mlops_cli.layout import Layout

        return Layout(self.root)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read MLOPS_BUNDLE (a folder), MLOPS_VERSION (name@number), MLOPS_ROOT, MLOPS_SERVE.

        Also MLOPS_CSV, with ``separator`` and ``null_values`` of the base source as JSON.

        Raises
        ------
        BadParams
            If one is missing or wrong.
        """
        from pydantic import ValidationError

        bundle, label = environment.get("MLOPS_BUNDLE"), environment.get("MLOPS_VERSION", "")
        name, separator, number = label.partition("@")
        if not bundle or not separator:
            raise BadParams(
                "MLOPS_BUNDLE and MLOPS_VERSION don't say which model to serve",
                "Set the folder of a bundle, and NAME@VERSION; or use `mlops serve`.",
            )
        try:
            serve = Serve.model_validate_json(environment.get("MLOPS_SERVE", "{}"))
        except ValidationError as error:
            reason = error.errors()[0]
            location = ".".join(map(str, ("serve", *reason["loc"])))
            raise BadParams(
                f"MLOPS_SERVE is wrong at {location}: {reason['msg']}",
                "It is the section `serve` of params.yaml as JSON.",
            ) from None
        root = Path(environment.get("MLOPS_ROOT", "."))
        model = Model(name, number, Path(bundle))
        hosts = parse_list(environment, "MLOPS_HOSTS")
        secrets = Secrets.from_environment(environment)
        text = _text_options(environment.get("MLOPS_CSV", "{}"))
        return cls(model, root.resolve(), serve, secrets, hosts=hosts, text_options=text)


def parse_list(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The items of a variable, separated by commas."""
    return tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())


def _text_options(content: str) -> TextOptions:
    import json

    from pydantic import ValidationError

    from mlops_cli.params.ingest import Source

    try:
        return TextOptions.from_source(Source.model_validate({"uri": "-", **json.loads(content)}))
    except (ValidationError, TypeError, ValueError):
        raise BadParams(
            f"MLOPS_CSV is {content[:80]!r}",
            'It is JSON, such as {"separator": ";", "null_values": ["NA"]}.',
        ) from None


def parse_share(text: str) -> tuple[str, float]:
    """VERSION and share of ``VERSION=5%``.

    Raises
    ------
    Usage
        If it has another form, or the share is not above 0 and at most 100%.
    """
    version, _, share = text.rpartition("=")
    try:
        portion = float(share.removesuffix("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        portion = 0.0
    if not version or not 0 < portion <= 1:
        raise Usage(f"--canary is {text!r}", "Write VERSION=SHARE, such as v0.3.0=5%.")
    return version, portion
