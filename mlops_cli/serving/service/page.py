"""The HTML page at `/`: a form with the model's inputs, to try out predictions.

The page is the same for each model, and needs no key: its script requests what it shows, with the
key that the reader enters. So no text of a model becomes part of the HTML.
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
    """The page's HTML, which loads nothing from other hosts."""
    return files("mlops_cli.serving.service").joinpath("templates/page.html").read_bytes()


@cache
def headers() -> tuple[tuple[str, str], ...]:
    """Security headers: only the page's own script and style are allowed (CSP)."""
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
    """An element's content as a CSP source: its SHA-256."""
    (content,) = re.findall(rb"<%b>(.*?)</%b>" % (tag.encode(), tag.encode()), html(), re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
