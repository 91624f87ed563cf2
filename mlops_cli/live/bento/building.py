"""`mlops serve --build`: a version becomes a Bento in the project's own BentoML store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, MlopsError, NotInstalled
from mlops_cli.live.bento import sources
from mlops_cli.live.bento.requirements import serving
from mlops_cli.reporting import Progress, Silent
from mlops_cli.store.locks import waited_for

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.live.scoring import Scorer
    from mlops_cli.live.selecting import Selected
    from mlops_cli.params import Params

__all__ = ["Built", "build", "environment", "home", "labels_of"]


@dataclass(frozen=True)
class Built:
    """A Bento in the store.

    Attributes
    ----------
    tag
        NAME:VERSION, as BentoML's commands take it.
    new
        False where this very Bento was there already.
    """

    tag: str
    folder: Path
    labels: dict[str, str]
    new: bool


def home(layout: Layout) -> Path:
    """The project's BentoML store; derived from the registry, it may be deleted at any time."""
    return layout.work / "bentoml"


def environment(layout: Layout) -> dict[str, str]:
    """The environment in which BentoML works in the project's store, and tells nobody."""
    ours = {"BENTOML_HOME": str(home(layout)), "BENTOML_DO_NOT_TRACK": "true"}
    return {k: v for k, v in os.environ.items() if not k.startswith("BENTOML_")} | ours


def build(
    params: Params, layout: Layout, selected: Selected, progress: Progress | None = None
) -> Built:
    """Import a verified bundle into the store, and build its Bento if it isn't there.

    Raises
    ------
    NotInstalled
        If a package that serving needs is missing.
    NotFound
        If the features look something up and the project has no validated tables.
    BadParams
        If BentoML can't take the name or the version.
    """
    progress = progress or Silent()
    scorer = _opened(selected, layout.root)
    tokens = params.serve.jwt is not None
    families = [member.family for member in scorer.bundle.members]
    requirements = serving(families, tokens=tokens)
    name, tag = _tag(selected)
    # BentoML reads no files below a folder whose name begins with a dot, so not in .mlops.
    with (
        waited_for(layout.work / "bento.lock", progress.note),
        tempfile.TemporaryDirectory(prefix="mlops-bento-") as temporary,
    ):
        context = Path(temporary).resolve() / "source"
        context.mkdir()
        told = {
            "name": selected.name,
            "number": selected.number,
            "model": f"{name}:{tag}",
            "serve": params.serve.model_dump(mode="json"),
        }
        card = (selected.folder / "README.md").read_text(encoding="utf-8")
        sources.write(context, layout.root, scorer.program, told, card)
        progress.update("the online store")
        online = _fill(scorer, layout, context, progress)
        sources.write_dockerfile(context, _image_environment(context, name, tag))
        labels = _labels(selected, scorer, sources.digest(context, requirements, online))
        folder = home(layout) / "bentos" / name / tag
        new = labels_of(folder) != labels
        if new:
            progress.update("the Bento")
            _pack(
                layout,
                {
                    "home": str(home(layout)),
                    "context": str(context),
                    "bundle": str(selected.folder),
                    "name": name,
                    "tag": tag,
                    "labels": labels,
                    "requirements": [r for r in requirements if not r.startswith("bentoml==")],
                    "python": f"{sys.version_info.major}.{sys.version_info.minor}",
                },
            )
    return Built(f"{name}:{tag}", folder, labels, new)


def labels_of(folder: Path) -> dict[str, str] | None:
    """The labels of a complete Bento, or None where there is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = (folder / "bento.yaml").read_text(encoding="utf-8")
        return dict(YAML(typ="safe", pure=True).load(text)["labels"])
    except (FileNotFoundError, YAMLError, TypeError, KeyError):
        return None


def _image_environment(context: Path, name: str, tag: str) -> dict[str, str]:
    """The same settings as paths are in the image, where BentoML puts the Bento."""
    from pathlib import PurePosixPath

    bento = PurePosixPath("/home/bentoml/bento")
    return sources.environment(context, bento / "models" / name / tag / "bundle", bento / "src")


def _opened(selected: Selected, root: Path) -> Scorer:
    from mlops_cli.live.scoring import Scorer

    return Scorer.open(selected.folder, root)


def _fill(
    scorer: Scorer, layout: Layout, context: Path, progress: Progress
) -> dict[str, Any] | None:
    """Put the online store beside the service, if its features look anything up."""
    from mlops_cli.live.materializing import materialize
    from mlops_cli.store.online import open_store

    if not scorer.needs_store:
        return None
    path = context / sources.ONLINE
    store = open_store(None, path, create=True)
    try:
        materialize(scorer.program, layout, store, progress=progress)
        facts = sources.filled(store, scorer.program)
    finally:
        store.close()
    sources.settle(path)
    return facts


def _tag(selected: Selected) -> tuple[str, str]:
    """BentoML's name and version: small letters, digits, and ``-_.`` between them."""
    name = selected.name.lower().replace("/", "-")
    if selected.version is not None:
        return name, selected.number.lower()
    from mlops_cli.store.bundle import verify

    return name, f"workspace-{verify(selected.folder)['bundle_sha256'][:12]}"


def _labels(selected: Selected, scorer: Scorer, content: str) -> dict[str, str]:
    from mlops_cli.store.bundle import verify

    window = scorer.bundle.facts.get("window")
    version = selected.version
    return {
        "name": selected.name,
        "version": selected.number,
        "commit": version.commit if version is not None else "none",
        "data_window": " to ".join(window) if window else "none",
        "bundle_sha256": verify(selected.folder)["bundle_sha256"],
        "content": content,
    }


def _pack(layout: Layout, order: dict[str, Any]) -> None:
    context = Path(order["context"])
    paper = context.with_name("order.json")
    paper.write_text(json.dumps(order), encoding="utf-8")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "mlops_cli.live.bento.packing", str(paper)],
        cwd=context,
        env=environment(layout) | {"PYTHONPATH": str(context)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    if "No module named 'bentoml'" in said[0]:
        raise NotInstalled(
            "BentoML isn't installed", "Install it: pip install 'mlops-cli[serve,postgres]'"
        )
    if "tag's name or version" in said[0]:
        raise BadParams(
            f"BentoML can't take {order['name']}:{order['tag']}: {said[0]}",
            "Change register.name in params.yaml.",
        )
    raise MlopsError(f"BentoML could not build {order['name']}:{order['tag']}: {said[0]}")
