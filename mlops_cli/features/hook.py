"""The project's own functions, named in ``params.yaml`` as ``module:function``."""

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
    """Let modules of the project folder be imported inside the block."""
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))


def load_hook(name: str | None, root: Path) -> Callable[..., Any] | None:
    """The function of ``module:function``, or None where none is named.

    Raises
    ------
    BadParams
        If there is no such module or function.
    """
    if name is None:
        return None
    module, _, attribute = name.partition(":")
    hint = "Write `module:function`, with module.py in the project's folder."
    # A bundle names it as well: an installed module, imported for that, may do anything.
    file = root.joinpath(*module.split("."))
    if not (file.with_suffix(".py").is_file() or (file / "__init__.py").is_file()):
        raise BadParams(f"featurize.hook {name!r}: there is no {module}.py in {root}", hint)
    try:
        with importable(root):
            found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise BadParams(f"featurize.hook {name!r}: {error}", hint) from None
    if not callable(found):
        raise BadParams(f"featurize.hook {name!r}: {module} has no function {attribute!r}", hint)
    return found  # type: ignore[no-any-return]
