"""Renders text from the Jinja2 templates of a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Filters", "render"]

Filters = Mapping[str, Callable[..., Any]]
"""Name in a template -> function of the value before the bar: ``{{ value | name }}``."""

_NO_FILTERS: Filters = MappingProxyType({})


def render(package: str, template: str, filters: Filters = _NO_FILTERS, /, **values: object) -> str:
    """Render a template of a package; a missing value is an error.

    Parameters
    ----------
    package
        Dotted name of the package, whose folder ``templates`` has the template.
    template
        Path of the template in this folder. The output of ``*.html`` and ``*.html.jinja`` is
        escaped for HTML. Templates called ``*.angle.jinja`` are for files with ``{{ }}`` of their
        own: they have ``<%= value %>``, ``<% if ... %>`` and ``<%# comment %>`` instead.
    filters
        Further filters; one name is always the same function within a package.
    """
    environment = _environment(package, angle=template.endswith(".angle.jinja"))
    environment.filters.update(filters)
    return environment.get_template(template).render(values)


@cache
def _environment(package: str, *, angle: bool) -> Environment:
    # It takes a moment to load, and most commands render nothing.
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    folder = files(package) / "templates"
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=select_autoescape(["html", "html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    if not angle:
        return environment
    return environment.overlay(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<%=",
        variable_end_string="%>",
        comment_start_string="<%#",
        comment_end_string="%>",
    )
