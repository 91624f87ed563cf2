"""The human page at `/`: a form with the model's inputs, and what it answers."""

from __future__ import annotations

import html as escaping
import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mlops_cli.core.columntypes import type_name

if TYPE_CHECKING:
    from mlops_cli.live.service.served import Served

__all__ = ["HEADERS", "html"]

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
_KINDS = {"integer": "number", "number": "number"}


def html(served: Served) -> bytes:
    """The page, with nothing fetched from elsewhere."""
    example = served.example or {}
    inputs = served.scorer.inputs
    fields = "\n".join(
        _field(column, type_name(inputs.columns[column]), example.get(column))
        for column in inputs.needed
    )
    text = _template()
    for mark, value in (
        ("{{name}}", escaping.escape(served.model.name)),
        ("{{version}}", escaping.escape(served.model.number)),
        ("{{fields}}", fields),
        # "</script>" in a value must not end the script.
        ("{{example}}", json.dumps(example, default=str).replace("<", "\\u003c")),
    ):
        text = text.replace(mark, value)
    return text.encode()


def _field(column: str, kind: str, value: Any) -> str:
    name = escaping.escape(column, quote=True)
    shown = "" if value is None else escaping.escape(str(value), quote=True)
    step = ' step="any"' if kind == "number" else ""
    return (
        f'<div class="pair"><label for="in-{name}">{name} <small>{kind}</small></label>'
        f'<input id="in-{name}" name="{name}" data-kind="{kind}" '
        f'type="{_KINDS.get(kind, "text")}"{step} value="{shown}" autocomplete="off"></div>'
    )


@cache
def _template() -> str:
    return files("mlops_cli.templates").joinpath("service/page.html").read_text(encoding="utf-8")
