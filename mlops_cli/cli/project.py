"""Which project a command works on."""

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
    """The project that ``start`` (by default the current folder) lies in.

    Raises
    ------
    NotProject
        If neither it nor a folder above holds ``params.yaml``.
    DataRefused, BadParams
        If what Git brought there would lead out of it.
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
    """The project of the current folder, with its parameters.

    Raises
    ------
    NotProject, DataRefused
        As ``find`` does.
    BadParams
        If ``params.yaml`` is refused.
    """
    from mlops_cli import params

    layout = find()
    return layout, params.load(layout.params)
