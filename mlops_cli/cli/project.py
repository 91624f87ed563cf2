"""Find and open the project of a command: the folder with ``params.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import NotProject
from mlops_cli.layout import Layout
from mlops_cli.project.tracked import refuse_unsafe

if TYPE_CHECKING:
    from mlops_cli.params import Params

__all__ = ["find", "open_project"]


def find(start: Path | None = None) -> Layout:
    """Find the project that contains ``start`` (by default the current folder).

    Raises
    ------
    NotProject
        If neither the folder nor one above it has ``params.yaml``.
    DataRefused, BadParams
        If links or settings in the repository lead out of the project.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file():
            refuse_unsafe(folder)
            return Layout(folder)
    raise NotProject(
        f"{start} is not in a project: neither it nor a folder above holds params.yaml",
        "Go to a project's folder, or make one with `mlops init`.",
    )


def open_project() -> tuple[Layout, Params]:
    """Find the project of the current folder and load its parameters.

    Raises
    ------
    NotProject, DataRefused
        See ``find``.
    BadParams
        If ``params.yaml`` is invalid.
    """
    from mlops_cli import params

    layout = find()
    return layout, params.load(layout.params)
