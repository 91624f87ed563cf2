"""Renders the ``dvc.yaml`` of a new project: eight stages, and the plots of the task."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from mlops_cli.scaffold.yaml_text import flow_list, scalar

if TYPE_CHECKING:
    from mlops_cli.evaluation.plots import Plot
    from mlops_cli.params.modelling import TaskType

__all__ = ["render"]


def render(name: str, desc: str, task: TaskType, data: str, plots: Iterable[Plot]) -> str:
    """The text of the file.

    Parameters
    ----------
    name
        The model's name, the same as ``register.name``.
    desc, task
        What the model does, in a line, and its kind of task.
    data
        The data file's path in the project.
    plots
        The plots that evaluate draws for this kind of task.
    """
    template = files("mlops_cli.scaffold") / "templates" / "project" / "dvc.yaml.txt"
    text = template.read_text(encoding="utf-8")
    return Template(text).substitute(
        name=scalar(name),
        desc=scalar(desc),
        task=task,
        data=scalar(data),
        plots="".join(_plot(p) for p in plots),
    )


def _plot(plot: Plot) -> str:
    path = f"reports/plots/{plot.file}"
    columns = scalar(plot.y) if isinstance(plot.y, str) else flow_list(plot.y)
    return (
        f"  - {scalar(plot.title)}:\n"
        f"      x: {plot.x}\n"
        f"      y: {{{path}: {columns}}}\n"
        f"      template: {plot.template}\n"
        f"      title: {scalar(plot.title)}\n"
    )
