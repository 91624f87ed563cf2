"""Errors that a user can cause: message, hint and exit code.

The message is one sentence that shows the offending value and its place. The hint is one sentence
with a remedy. Nothing here prints: the command line turns an error into two lines on stderr and
``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "BadParams",
    "Busy",
    "DataRefused",
    "DiskFull",
    "MlopsError",
    "ModelRefused",
    "NotFound",
    "NotInstalled",
    "NotProject",
    "SourceUnreadable",
    "StageFailed",
    "Usage",
    "install_hint",
    "nearest",
]

_MAX_SHOWN = 20
_PACKAGE = "mlops-cli"


class MlopsError(Exception):
    """Base class of all errors that a user can cause.

    Parameters
    ----------
    message
        One sentence: what is wrong, with the offending value and its place.
    hint
        One sentence: what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class DiskFull(MlopsError):
    """The disk was full while writing; the incomplete file has been removed."""


class NotInstalled(MlopsError):
    """An optional package is missing; the hint names the extra that contains it."""


class Usage(MlopsError):
    """The command line is wrong."""

    exit_code = 2


class BadParams(MlopsError):
    """``params.yaml`` (or ``dvc.yaml``) has an invalid value."""

    exit_code = 3


class NotProject(MlopsError):
    """The folder is not a project: no ``params.yaml``, no Git, or no DVC."""

    exit_code = 3


class DataRefused(MlopsError):
    """The data break a rule of the project, or no model can be trained on them."""

    exit_code = 4


class ModelRefused(MlopsError):
    """A gate refuses the model."""

    exit_code = 5


class SourceUnreadable(MlopsError):
    """A source can't be reached, or can't be read."""

    exit_code = 6


class NotFound(MlopsError):
    """A named version, stage or file doesn't exist."""

    exit_code = 7


class Busy(MlopsError):
    """Another run holds the project's lock."""

    exit_code = 8


class StageFailed(MlopsError):
    """A stage ended with an exit code, which is passed on.

    The stage has already reported what is wrong, so this error has no hint.
    """

    def __init__(self, stage: str, status: int) -> None:
        super().__init__(f"stage {stage} failed with exit code {status}")
        self.stage = stage
        # Overrides the class attribute: a run ends with the exit code of its stage.
        self.exit_code = status if status > 0 else 1  # type: ignore[misc]


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A sentence that suggests the candidate closest to ``name``, or lists all candidates.

    Examples
    --------
    >>> nearest("carier", ["carrier", "origin"])
    "Did you mean 'carrier'?"
    >>> nearest("x", ["carrier", "origin"])
    'Known: carrier, origin.'
    """
    candidates = [str(c) for c in candidates]
    close = difflib.get_close_matches(str(name), candidates, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    names = ", ".join(candidates[:_MAX_SHOWN]) + (", ..." if len(candidates) > _MAX_SHOWN else "")
    return f"Known: {names}." if candidates else ""


def install_hint(extra: str) -> str:
    """How to install an extra from this package's own origin, never by its name alone.

    No public index has the name, so an index would serve whatever a stranger registers there.

    Examples
    --------
    >>> install_hint("serve").startswith("Install the extra 'serve' from where mlops-cli ")
    True
    """
    import shlex

    start = f"Install the extra {extra!r} from where {_PACKAGE} came from"
    origin = _origin()
    if origin is None:
        return f"{start}; in its clone: pip install '.[{extra}]'."
    option, place = origin
    if "://" in place:
        return f"{start}: pip install {shlex.quote(f'{_PACKAGE}[{extra}] @ {place}')}."
    return f"{start}: pip install {option}{shlex.quote(f'{place}[{extra}]')}."


def _origin() -> tuple[str, str] | None:
    """Option and place by which pip installed this package (PEP 610), if that isn't an index."""
    import importlib.metadata
    import json
    from urllib.parse import unquote, urlsplit

    try:
        text = importlib.metadata.distribution(_PACKAGE).read_text("direct_url.json")
        facts = json.loads(text or "{}")
        url = urlsplit(str(facts["url"]))
        vcs = facts.get("vcs_info", {})
        revision = f"@{vcs['commit_id']}" if vcs else ""
    except (importlib.metadata.PackageNotFoundError, ValueError, LookupError, TypeError):
        return None
    if url.scheme == "file" and not vcs:
        editable = facts.get("dir_info", {}).get("editable")
        return "-e " if editable else "", unquote(url.path)
    if not url.scheme or "@" in url.netloc:
        return None  # the part before an @ may be a secret
    return "", f"{vcs['vcs']}+{facts['url']}{revision}" if vcs else facts["url"]
