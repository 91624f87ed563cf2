"""The project's own function (hook), named in ``params.yaml`` as ``module:function``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams

if TYPE_CHECKING:
    import polars as pl

__all__ = ["apply_hook", "importable", "load_hook"]


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


def apply_hook(
    hook: Callable[..., Any] | None, name: str | None, frame: pl.DataFrame
) -> pl.DataFrame:
    """Apply the hook of this name to a frame; without a hook, the frame stays as it is.

    Raises
    ------
    BadParams
        If it returns no table, or another number of rows.
    """
    import polars as pl

    if hook is None:
        return frame
    result = hook(frame)
    if not isinstance(result, pl.DataFrame) or result.height != frame.height:
        got = f"{result.height} rows" if isinstance(result, pl.DataFrame) else type(result).__name__
        raise BadParams(
            f"featurize.hook {name!r} gave {got} for {frame.height} rows",
            "It takes a Polars DataFrame and gives it back with more columns, row by row.",
        )
    return result
