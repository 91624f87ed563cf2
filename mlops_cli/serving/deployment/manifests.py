"""`mlops serve manifests`: files that run an image, with Docker Compose or on Kubernetes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

from mlops_cli.errors import Usage
from mlops_cli.project.write_files import write_files

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from mlops_cli.params.serving import Serve

__all__ = ["image_of", "texts", "write"]

_IMAGE = re.compile(r"([a-z0-9][a-z0-9._/-]*(?::\d+/[a-z0-9._/-]+)?)(?::([\w][\w.-]{0,127}))?")
_PAUSE = 20
"""Seconds at a service's end, besides those of a request: so that nobody asks it any more, and to
write what waits for the database."""


def image_of(tag: str, given: str | None) -> str:
    """What a Bento's image is called, NAME:TAG; by default as the Bento, NAME:VERSION.

    Raises
    ------
    Usage
        If ``given`` is no name of an image.

    Examples
    --------
    >>> image_of("shop:v0.2.0", "example.org/team/shop")
    'example.org/team/shop:v0.2.0'
    """
    if given is None:
        return tag
    found = _IMAGE.fullmatch(given)
    if found is None:
        raise Usage(
            f"--image is {given!r}", "Write NAME or NAME:TAG, such as registry.example.org/shop:1."
        )
    return f"{found[1]}:{found[2] or tag.partition(':')[2]}"


def texts(name: str, image: str, serve: Serve) -> dict[str, str]:
    """Path below the folder -> content.

    Parameters
    ----------
    name
        The model's; what is made is called so, as far as Kubernetes allows.
    """
    title, _, version = image.rpartition(":")
    marks = {
        "@NAME@": _label(name),
        "@IMAGE@": image,
        "@IMAGE_NAME@": title,
        "@IMAGE_TAG@": version,
        "@GRACE@": str(math.ceil(serve.limits.seconds) + _PAUSE),
        "@SPILL@": str(serve.events.spill_megabytes + 100),
    }
    folder = files("mlops_cli.serving.deployment") / "templates" / "manifests"
    return {
        path: re.sub("|".join(marks), lambda mark: marks[mark[0]], text)
        for path, text in _templates(folder)
    }


def write(folder: Path, name: str, image: str, serve: Serve, *, force: bool = False) -> list[str]:
    """Write the files; give their paths. See ``write_files`` for what is refused."""
    return write_files(folder, texts(name, image, serve), force=force)


def _label(name: str) -> str:
    """A name that Kubernetes takes: 63 small letters, digits and dashes, a letter first."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")


def _templates(folder: Traversable, place: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        path = f"{place}{entry.name}"
        if entry.is_dir():
            yield from _templates(entry, f"{path}/")
        else:
            yield path, entry.read_text(encoding="utf-8")
