"""`mlops serve --build`, `--containerize` and `--manifests`: what makes a service to deploy."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.live.bento.building import Built
    from mlops_cli.params import Params

__all__ = ["packed"]


def packed(
    params: Params,
    layout: Layout,
    wanted: str,
    *,
    build: bool,
    image: str | None,
    containerize: bool,
    manifests: Path | None,
    force: bool,
) -> None:
    """Make what was asked for, each from what comes before it."""
    from mlops_cli.cli.progress import shown
    from mlops_cli.live.bento.building import build as make
    from mlops_cli.live.bento.building import tag_of
    from mlops_cli.live.bento.containerizing import containerize as make_image
    from mlops_cli.live.bento.manifests import image_of, write
    from mlops_cli.live.selecting import selected

    with shown("serve", quiet=False) as progress:
        found = selected(params, layout, wanted, progress)
    tag = ":".join(tag_of(found))
    called = image_of(tag, image)
    if build or containerize:
        with shown("build", quiet=False) as progress:
            built = make(params, layout, found, progress)
        _draw_built(built, layout)
    if containerize:
        with shown("image", quiet=False) as progress:
            engine = make_image(layout, tag, called, progress)
        drawing.console().print(f"{engine} has the image {called}", markup=False)
    if manifests is not None:
        written = write(manifests.resolve(), found.name, called, params.serve, force=force)
        out = drawing.console()
        for path in written:
            out.print(f"[green]✓[/green] {drawing.line(manifests / path)}")
        out.print(f"They run the image {called}; docs/deployment.md says how", markup=False)


def _draw_built(built: Built, layout: Layout) -> None:
    from mlops_cli.live.bento.building import home

    out = drawing.console()
    said = "is built" if built.new else "is there already, and would be the same"
    out.print(f"{built.tag} {said}: {built.folder}", markup=False)
    labels = built.labels
    facts = f"version {labels['version']}, commit {labels['commit'][:9]}"
    out.print(f"  {facts}, data {labels['data_window']}", markup=False)
    store = shlex.quote(str(home(layout)))
    # In one piece, so that it can be pasted.
    out.print(
        f"BENTOML_DO_NOT_TRACK=true BENTOML_HOME={store} bentoml serve {built.tag}",
        markup=False, soft_wrap=True, highlight=False,
    )  # fmt: skip
