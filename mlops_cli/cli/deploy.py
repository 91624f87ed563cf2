"""`mlops serve build`, `containerize` and `manifests`: package the service for deployment."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import ModelOption, Overwrite
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.registry.select_version import SelectedModel
    from mlops_cli.serving.deployment.build import BuiltBento

__all__ = ["build", "containerize", "manifests"]

Image = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The image's name; by default the Bento's. The version is its tag."
    ),
]


def build(version: ModelOption = "production") -> None:
    """Build the Bento of a version, in .mlops/bentoml.

    A version is built only once, because a second Bento would be identical.

    Example: mlops serve build --version v0.2.0
    """
    layout, params, model = _select(version)
    _build(layout, params, model)


def containerize(version: ModelOption = "production", image: Image = None) -> None:
    """Build the Bento of a version, and its container image.

    BentoML builds the image with the installed engine: docker, podman, nerdctl or buildah.

    Example: mlops serve containerize --image registry.example.org/shop
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.serving.deployment.containerize import containerize as make

    layout, params, model = _select(version)
    tag, image_name = _image_names(model, image)
    _build(layout, params, model)
    with live_progress("image", quiet=False) as progress:
        engine = make(layout, tag, image_name, progress)
    console.console().print(f"{engine} has the image {image_name}", markup=False)


def manifests(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write them to.")],
    version: ModelOption = "production",
    image: Image = None,
    force: Overwrite = False,
) -> None:
    """Write Compose and Kubernetes files that run the image.

    Example: mlops serve manifests deploy --image registry.example.org/shop
    """
    from mlops_cli.serving.deployment.manifests import write

    _, params, model = _select(version)
    _, image_name = _image_names(model, image)
    written = write(folder.resolve(), model.name, image_name, params.serve, force=force)
    out = console.console()
    for path in written:
        out.print(f"[green]✓[/green] {console.line(folder / path)}")
    out.print(f"They run the image {image_name}; docs/deployment.md says how", markup=False)


def _select(version: str) -> tuple[Layout, Params, SelectedModel]:
    """Open the project, and find and verify the version's bundle."""
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.select_version import select_model

    layout, params = open_project()
    with live_progress("serve", quiet=False) as progress:
        return layout, params, select_model(params, layout, version, progress)


def _image_names(model: SelectedModel, name: str | None) -> tuple[str, str]:
    """Return the Bento's tag, and the image's name with tag."""
    from mlops_cli.serving.deployment.build import tag_of
    from mlops_cli.serving.deployment.manifests import image_of

    tag = ":".join(tag_of(model))
    return tag, image_of(tag, name)


def _build(layout: Layout, params: Params, model: SelectedModel) -> None:
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.serving.deployment.build import build as make

    with live_progress("build", quiet=False) as progress:
        built = make(params, layout, model, progress)
    _draw_built(built, layout)


def _draw_built(built: BuiltBento, layout: Layout) -> None:
    from mlops_cli.serving.deployment.build import bento_home

    out = console.console()
    state = "is built" if built.created else "exists already; a new build would be the same"
    out.print(f"{built.tag} {state}: {built.folder}", markup=False)
    labels = built.labels
    facts = f"version {labels['version']}, commit {labels['commit'][:9]}"
    out.print(f"  {facts}, data {labels['data_window']}", markup=False)
    store = shlex.quote(str(bento_home(layout)))
    # In one line, so that it can be pasted.
    out.print(
        f"BENTOML_DO_NOT_TRACK=true BENTOML_HOME={store} bentoml serve {built.tag}",
        markup=False, soft_wrap=True, highlight=False,
    )  # fmt: skip
