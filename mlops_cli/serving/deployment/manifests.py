"""`mlops serve manifests`: files for running an image with Docker Compose or on Kubernetes."""

from __future__ import annotations

import math
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.data.templates import render
from mlops_cli.errors import Usage
from mlops_cli.project.write_files import write_files
from mlops_cli.scaffold.yaml_text import FILTERS

if TYPE_CHECKING:
    from mlops_cli.params.serve import Serve

__all__ = ["image_of", "texts", "write"]

_IMAGE = re.compile(r"([a-z0-9][a-z0-9._/-]*(?::\d+/[a-z0-9._/-]+)?)(?::([\w][\w.-]{0,127}))?")
_GRACE_SECONDS = 20
"""Seconds of the grace period at shutdown, besides the time limit of a request: until clients stop
sending requests, and for writing the events that wait for the database."""


def image_of(tag: str, given: str | None) -> str:
    """Return the name of a Bento's image, NAME:TAG.

    Parameters
    ----------
    tag
        The Bento's tag, NAME:VERSION; the default for both parts.
    given
        NAME or NAME:TAG, from the command line.

    Raises
    ------
    Usage
        If ``given`` is not the name of an image.

    Examples
    --------
    >>> image_of("shop:v0.2.0", "example.org/team/shop")
    'example.org/team/shop:v0.2.0'
    """
    if given is None:
        return tag
    match = _IMAGE.fullmatch(given)
    if match is None:
        raise Usage(
            f"--image is {given!r}", "Write NAME or NAME:TAG, such as registry.example.org/shop:1."
        )
    return f"{match[1]}:{match[2] or tag.partition(':')[2]}"


def texts(name: str, image: str, serve: Serve) -> dict[str, str]:
    """Return the files: path below the folder -> content.

    Parameters
    ----------
    name
        The model's name. The deployed objects get it, in the form that Kubernetes allows.
    image
        The image, NAME:TAG.
    serve
        The section ``serve`` of params.yaml.
    """
    image_name, _, image_tag = image.rpartition(":")
    folder = Path(str(files("mlops_cli.serving.deployment"))) / "templates"
    templates = sorted(
        p.relative_to(folder).as_posix() for p in folder.glob("manifests/**/*.jinja")
    )
    return {
        re.sub(r"^manifests/|(\.angle)?\.jinja$", "", template): render(
            "mlops_cli.serving.deployment",
            template,
            FILTERS,
            name=_kubernetes_name(name),
            image=image,
            image_name=image_name,
            image_tag=image_tag,
            grace_seconds=math.ceil(serve.limits.seconds) + _GRACE_SECONDS,
            spill_megabytes=serve.events.spill_megabytes + 100,
        )
        for template in templates
    }


def write(folder: Path, name: str, image: str, serve: Serve, *, force: bool = False) -> list[str]:
    """Write the files and return their paths; see ``write_files`` for errors."""
    return write_files(folder, texts(name, image, serve), force=force)


def _kubernetes_name(name: str) -> str:
    """Convert to a name for Kubernetes: at most 63 lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")
