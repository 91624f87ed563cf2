"""Reads YAML within limits, and turns validation errors into messages with line and value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError

from mlops_cli.errors import BadParams, nearest

__all__ = ["BadYaml", "explain", "load_yaml", "read_yaml", "refuse_large_yaml"]

_MAX_CHARACTERS = 8_000_000
_MAX_NODES = 300_000
_MAX_DEPTH = 64
_MAX_SHOWN = 200


class BadYaml(ValueError):
    """Text that isn't YAML, or exceeds the limits; ``line`` counts from 1."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def load_yaml(text: str) -> Any:
    """Plain values of a YAML text (YAML 1.2, as DVC reads it), within limits.

    The parser's events are counted first, an alias as often as the value that it refers to. So
    nothing beyond the limits is expanded.

    Raises
    ------
    BadYaml
        If the text isn't YAML, is too large, or is nested too deep.
    """
    from ruamel.yaml import YAML

    refuse_large_yaml(text)
    with _translate_errors():
        return YAML(typ="safe").load(text)


def refuse_large_yaml(text: str) -> None:
    """Refuse text that isn't YAML, or exceeds the limits; faster than building its tree.

    Raises
    ------
    BadYaml
        As in load_yaml, except for invalid values, such as a 13th month.
    """
    if len(text) > _MAX_CHARACTERS:
        raise BadYaml(f"it has {len(text):,} characters, of at most {_MAX_CHARACTERS:,}")
    with _translate_errors():
        _refuse_large_tree(text)


@contextmanager
def _translate_errors() -> Iterator[None]:
    from ruamel.yaml.error import MarkedYAMLError

    try:
        yield
    except BadYaml:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context)
        raise BadYaml(problem, mark.line + 1 if mark else None) from None
    # ruamel's constructors raise any Python error: ValueError for a month 13, TypeError for a list
    # as a key.
    except Exception as error:  # noqa: BLE001
        problem = " ".join(str(error).split()) or type(error).__name__
        raise BadYaml(problem[:_MAX_SHOWN]) from None


class _ExpandedSize:
    """The size of a tree with each alias written out, from the parser's events."""

    def __init__(self) -> None:
        self.nodes = 0
        self._open: list[tuple[str | None, int, int]] = []  # anchor, nodes before, deepest level
        self._anchors: dict[str, tuple[int, int]] = {}  # anchor -> nodes, levels

    def take(self, event: Any) -> None:
        """Count one event; refuse it if a limit is exceeded."""
        from ruamel.yaml import events as yaml

        nodes, levels = 0, 0
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            # An alias inside of its own anchor has no size yet.
            if anchor not in self._anchors:
                raise BadYaml(f"the alias *{anchor} stands for nothing before it")
            nodes, levels = self._anchors[anchor]
        elif isinstance(event, yaml.ScalarEvent):
            nodes = 1
            if anchor:
                self._anchors[anchor] = (1, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append((anchor, self.nodes, 0))
            nodes = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before, inner = self._open.pop()
            levels = inner + 1
            if anchor:
                self._anchors[anchor] = (self.nodes - before, levels)
        self._grow(nodes, levels)

    def _grow(self, nodes: int, levels: int) -> None:
        self.nodes += nodes
        if self._open:
            anchor, before, deepest = self._open[-1]
            self._open[-1] = (anchor, before, max(deepest, levels))
        if self.nodes > _MAX_NODES:
            raise BadYaml(f"it has more than {_MAX_NODES:,} values, aliases written out")
        if len(self._open) + levels > _MAX_DEPTH:
            raise BadYaml(f"it is nested more than {_MAX_DEPTH} levels deep")


def _refuse_large_tree(text: str) -> None:
    """Refuse text whose tree, with each alias written out, is too large or too deep."""
    from ruamel.yaml import YAML

    size = _ExpandedSize()
    for event in YAML(typ="safe").parse(text):
        try:
            size.take(event)
        except BadYaml as error:
            raise BadYaml(error.problem, event.start_mark.line + 1) from None


def read_yaml(text: str, where: str) -> Any:
    """Plain values of a YAML file whose top level is a mapping.

    Raises
    ------
    BadParams
        If the text isn't YAML, or its top level isn't a mapping.
    """
    try:
        tree = load_yaml(text)
    except BadYaml as error:
        line = f":{error.line}" if error.line else ""
        raise BadParams(
            f"{where}{line} is not valid YAML: {error.problem}",
            "Check the indentation and the quotes around there.",
        ) from None
    _refuse_dates(tree, (), text, where)
    if not isinstance(tree, dict):
        raise BadParams(f"{where} holds no settings", "Start from `mlops init`'s params.yaml.")
    return tree


def _refuse_dates(node: Any, path: tuple[str, ...], text: str, where: str) -> None:
    """Refuse bare dates: DVC can't read a YAML date in params.yaml, only quoted text."""
    if isinstance(node, dt.date):
        raise BadParams(
            f"{'.'.join(path)} is a bare date, which DVC cannot read "
            f"({where}:{_find_line(text, list(path))})",
            f'Put it in quotes: "{node.isoformat()}".',
        )
    if isinstance(node, dict | list):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            _refuse_dates(value, (*path, str(key)), text, where)


def explain(error: ValidationError, text: str, where: str, model: type[BaseModel]) -> BadParams:
    """The error for the first problem of a failed validation, with line and remedy."""
    problems = error.errors(include_url=False)
    # An unknown key explains the rest more often than the rest explains it.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path = [str(p) for p in problem["loc"]]
    keys = [p for p in path if not _is_variant(p)]
    if problem["type"] in {"extra_forbidden", "missing"} and keys[-1:] != path[-1:]:
        keys.append(path[-1])  # a key of the file, whatever it looks like
    line = _find_line(text, keys)
    place = f"{where}:{line}" if line else where
    name = ".".join(map(_shorten, keys)) or "the file"
    hint = f"See `{_shorten(keys[0])}` in docs/params.md." if keys else "See docs/params.md."
    if problem["type"] == "extra_forbidden":
        message = f"{name} is not a known setting ({place})"
        hint = nearest(keys[-1], _known_keys(keys, model)) or hint
    elif problem["type"] == "missing":
        message = f"{name} is missing ({place})"
    elif problem["type"] == "value_error":
        reason = str(problem["ctx"]["error"])
        message = f"{name}: {reason} ({place})" if keys else f"{reason} ({place})"
    else:
        value = problem["input"]
        requirement = problem["msg"][0].lower() + problem["msg"][1:]
        message = f"{name} is {_shorten_value(value)}; {requirement} ({place})"
    more = len(problems) - 1
    if more:
        hint += f" ({more} more problem{'s' if more > 1 else ''} in this file.)"
    return BadParams(message, hint)


def _is_variant(part: str) -> bool:
    # pydantic adds the union member's name to the path; YAML has no such level.
    return (
        any(c in part for c in "[]()")
        or part
        in {
            "float",
            "int",
            "str",
            "bool",
            "date",
            "datetime",
            "constrained-str",
        }
        or part.startswith("function-")
    )


def _find_line(text: str, path: list[str]) -> int | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    node: Any = YAML(typ="safe").compose(text)
    line: int | None = None
    for part in path:
        if isinstance(node, MappingNode):
            pairs = {key.value: (key, value) for key, value in node.value if _is_text(key)}
            if part not in pairs:
                break
            key, node = pairs[part]
            line = key.start_mark.line + 1
        elif isinstance(node, SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _is_text(node: Any) -> bool:
    return isinstance(node.value, str)


def _shorten_value(value: Any) -> str:
    return _shorten(repr(value))


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _known_keys(path: list[str], model: type[BaseModel]) -> list[str]:
    """The known keys of the section in which ``path`` ends, found by walking the models."""
    from typing import get_args

    def models(annotation: Any) -> list[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return [annotation]
        return [m for arg in get_args(annotation) for m in models(arg)]

    sections: list[type[BaseModel]] = [model]
    for part in path[:-1]:
        inner: list[type[BaseModel]] = []
        for section in sections:
            for key, field in section.model_fields.items():
                if (field.alias or key) == part:
                    inner += models(field.annotation)
        sections = inner or sections
    return [f.alias or k for m in sections for k, f in m.model_fields.items()]
