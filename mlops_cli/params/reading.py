"""YAML in, and validation errors out as sentences that name the line and the value."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import BaseModel, ValidationError

from mlops_cli.errors import BadParams, nearest

__all__ = ["explain", "read_yaml"]


def read_yaml(text: str, where: str) -> Any:
    """The tree of plain values (YAML 1.2, as DVC reads it).

    Raises
    ------
    BadParams
        If the text is not YAML, or its top is not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        tree = YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise BadParams(
            f"{where}{line} is not valid YAML: {error.problem or error.context}",
            "Check the indentation and the quotes around there.",
        ) from None
    _refuse_dates(tree, (), text, where)
    if not isinstance(tree, dict):
        raise BadParams(f"{where} holds no settings", "Start from `mlops init`'s params.yaml.")
    return tree


def _refuse_dates(node: Any, path: tuple[str, ...], text: str, where: str) -> None:
    """DVC cannot read a YAML date in params.yaml: it must be quoted text."""
    if isinstance(node, dt.date):
        raise BadParams(
            f"{'.'.join(path)} is a bare date, which DVC cannot read "
            f"({where}:{_line(text, list(path))})",
            f'Put it in quotes: "{node.isoformat()}".',
        )
    if isinstance(node, dict | list):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            _refuse_dates(value, (*path, str(key)), text, where)


def explain(error: ValidationError, text: str, where: str) -> BadParams:
    """One sentence for the first problem of a failed validation, with line and remedy."""
    problems = error.errors(include_url=False)
    # An unknown key explains the rest more often than the rest explains it.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path = [str(p) for p in problem["loc"]]
    shown = [p for p in path if not _is_variant(p)]
    line = _line(text, shown)
    place = f"{where}:{line}" if line else where
    name = ".".join(shown) or "the file"
    hint = f"See `{shown[0]}` in docs/params.md." if shown else "See docs/params.md."
    if problem["type"] == "extra_forbidden":
        message = f"{name} is not a known setting ({place})"
        hint = nearest(shown[-1], _siblings(shown)) or hint
    elif problem["type"] == "missing":
        message = f"{name} is missing ({place})"
    elif problem["type"] == "value_error":
        reason = str(problem["ctx"]["error"])
        message = f"{name}: {reason} ({place})" if shown else f"{reason} ({place})"
    else:
        value = problem["input"]
        says = problem["msg"][0].lower() + problem["msg"][1:]
        message = f"{name} is {value!r}; {says} ({place})"
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


def _line(text: str, path: list[str]) -> int | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    node: Any = YAML(typ="rt").load(text)
    line: int | None = None
    for part in path:
        if isinstance(node, CommentedMap) and part in node:
            line = node.lc.key(part)[0] + 1
            node = node[part]
        elif isinstance(node, CommentedSeq) and part.isdigit() and int(part) < len(node):
            line = node.lc.item(int(part))[0] + 1
            node = node[int(part)]
        else:
            break
    return line


def _siblings(path: list[str]) -> list[str]:
    """The keys that are known where ``path`` ends, found by walking the models."""
    from typing import get_args

    from mlops_cli.params import Params

    def models(annotation: Any) -> list[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return [annotation]
        return [m for arg in get_args(annotation) for m in models(arg)]

    here: list[type[BaseModel]] = [Params]
    for part in path[:-1]:
        step: list[type[BaseModel]] = []
        for model in here:
            for key, field in model.model_fields.items():
                if (field.alias or key) == part:
                    step += models(field.annotation)
        here = step or here
    return [f.alias or k for m in here for k, f in m.model_fields.items()]
