"""The human page at `/`: a form with the model's inputs, and what it answers.

It is the same for each model, and needs no key: what it shows it asks the service for, with the key
that its reader enters. Nothing of a model thus becomes part of its text.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

__all__ = ["headers", "html"]


@cache
def html() -> bytes:
    """The page, with nothing fetched from elsewhere."""
    return files("mlops_cli.serving.service").joinpath("templates/page.html").read_bytes()


@cache
def headers() -> tuple[tuple[str, str], ...]:
    """The page's headers: its own script runs and its own style holds, and no other."""
    policy = (
        f"default-src 'none'; style-src {_hash('style')}; script-src {_hash('script')}; "
        "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        ("content-security-policy", policy),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    )


def _hash(tag: str) -> str:
    """An element's content as the policy names it."""
    (content,) = re.findall(rb"<%b>(.*?)</%b>" % (tag.encode(), tag.encode()), html(), re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
