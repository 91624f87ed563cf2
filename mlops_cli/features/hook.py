"""Loads the project's own function (hook), named in ``params.yaml`` as ``module:function``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_cli.errors import BadParams

__all__ = ["importable", "load_hook"]


@contextmanager
def importable(root: Path) -> Iterator[None]:
    """Allow imports of the project's modules inside the block."""
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def load_hook(name: str | None, root: Path) -> Callable[..., Any] | None:
    """The function named ``module:function``; None if none is named.

    Raises
    ------
    BadParams
        If there is no such module or function.
    """
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    hint = "Write `module:function`, with module.py in the project's folder."
    # Only a module of the project: bundles name hooks, and an installed module may do anything.
    file = root.joinpath(*module.split("."))
    if not (file.with_suffix(".py").is_file() or (file / "__init__.py").is_file()):
        raise BadParams(f"featurize.hook {name!r}: there is no {module}.py in {root}", hint)
    try:
        with importable(root):
            hook = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise BadParams(f"featurize.hook {name!r}: {error}", hint) from None
    if not callable(hook):
        raise BadParams(f"featurize.hook {name!r}: {module} has no function {attribute!r}", hint)
    return hook  # type: ignore[no-any-return]
