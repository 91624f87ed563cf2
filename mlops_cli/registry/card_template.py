"""A project's own template of the model card: found, checked and rendered in Jinja2's sandbox."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mlops_cli.data.untrusted import data_path, path_inside
from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.registry.pipeline_check import read_stages, stage_params, stage_paths

if TYPE_CHECKING:
    from mlops_cli.data.templates import Filters
    from mlops_cli.layout import Layout

__all__ = ["CardTemplate", "find_template"]

_SETTING = "register.card"
_MAX_BYTES = 100_000
_SHOWN = 200
_HINT = "docs/registry.md lists the values and filters of a model card's template."


@dataclass(frozen=True)
class CardTemplate:
    """The project's own template.

    Attributes
    ----------
    path
        Where it is, relative to the project.
    text
        Its content.
    """

    path: str
    text: str

    def render(self, filters: Filters, values: Mapping[str, Any]) -> str:
        """Render in a sandbox: without Python's internals, changes of the values, or chance.

        Raises
        ------
        BadParams
            If the template has an error; with its line.
        """
        from jinja2 import FunctionLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # As in data/templates.py, so that a copy of the default template makes the same card.
        environment = ImmutableSandboxedEnvironment(
            loader=FunctionLoader(self._load),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters.update(filters)
        # The same inputs have to make the same bytes.
        del environment.filters["random"], environment.globals["lipsum"]
        try:
            text = environment.get_template(self.path).render(values)
            text.encode()  # half of a surrogate pair can't be written
        # A template may cause any kind of error.
        except Exception as error:  # noqa: BLE001
            raise BadParams(self._explain(error), _HINT) from None
        return text

    def _load(self, name: str) -> tuple[str, str, None] | None:
        return (self.text, self.path, None) if name == self.path else None

    def _explain(self, error: Exception) -> str:
        from jinja2 import TemplateNotFound, TemplateSyntaxError, UndefinedError
        from jinja2.exceptions import SecurityError

        reason = " ".join(str(error).split())[:_SHOWN]
        frames = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == self.path]
        if isinstance(error, TemplateSyntaxError):
            lines, problem = [error.lineno], f"is not a valid template: {reason}"
        elif isinstance(error, SecurityError):
            problem = f"does what a template must not: {reason}"
        elif isinstance(error, UndefinedError):
            problem = f"uses an unknown value: {reason}"
        elif isinstance(error, TemplateNotFound):
            problem = f"uses another template, {reason!r}, but has to be complete in itself"
        else:
            problem = f"can't be rendered: {type(error).__name__}: {reason}"
        place = f"{self.path}:{lines[-1]}" if lines else self.path
        return f"{place} {problem}"


def find_template(layout: Layout, setting: str | None) -> CardTemplate | None:
    """Read the template that ``register.card`` names; None if it names none.

    Raises
    ------
    BadParams
        If it isn't a text file of the project of a limited size, or if DVC wouldn't run the stage
        again when it changes.
    """
    if setting is None:
        return None
    try:
        path = data_path(setting, _SETTING)
        file = path_inside(layout.root, path, _SETTING)
        # A link may lead to Git's or DVC's own files.
        data_path(file.resolve().relative_to(layout.root.resolve()).as_posix(), _SETTING)
    except DataRefused as error:
        raise BadParams(
            f"{error.message} (params.yaml)", "Put the template into the project's folder."
        ) from None
    except (OSError, RuntimeError):  # a link to itself
        raise _missing(setting) from None
    template = CardTemplate(path, _read(file, setting))
    if layout.dvc_yaml.is_file():
        _require_dependency(layout.root, path)
    return template


def _read(file: Path, setting: str) -> str:
    if not file.is_file():
        raise _missing(setting)
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) <= _MAX_BYTES:
            return content.decode("utf-8-sig")
        problem = f"is larger than {_MAX_BYTES // 1000} kB"
    except (OSError, UnicodeDecodeError) as error:
        problem = f"can't be read as UTF-8 text: {' '.join(str(error).split())}"
    raise BadParams(f"{_SETTING} is {setting!r} (params.yaml), which {problem}", _HINT)


def _missing(setting: str) -> BadParams:
    return BadParams(
        f"{_SETTING} is {setting!r}, and there is no such file (params.yaml)",
        "Paths start at the project's folder.",
    )


def _require_dependency(root: Path, path: str) -> None:
    """Raise unless DVC runs register again when the template, or the setting, changes."""
    stage = read_stages(root).get("register", {})
    keys = stage_params(stage).get("params.yaml", set())
    missing = []
    if not any(PurePosixPath(path).is_relative_to(dep) for dep in stage_paths(stage, "deps")):
        missing.append(f"`{path}` to its deps")
    if keys is not None and not keys & {"register", _SETTING}:
        missing.append(f"`{_SETTING}` to its params")
    if missing:
        raise BadParams(
            f"the stage register of dvc.yaml doesn't depend on the card's template {path!r}, so "
            "DVC wouldn't run it again when the template changes",
            f"Add {' and '.join(missing)} in dvc.yaml, then run again.",
        )
