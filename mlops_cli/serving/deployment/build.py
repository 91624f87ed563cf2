"""`mlops serve build`: builds a version as a Bento in the project's own BentoML store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import is_full
from mlops_cli.errors import BadParams, DiskFull, MlopsError
from mlops_cli.project.locks import wait_for_lock
from mlops_cli.reporting import Progress, Silent
from mlops_cli.serving.deployment import build_context
from mlops_cli.serving.deployment.requirements import serving

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.registry.select_version import SelectedModel
    from mlops_cli.serving.scorer import RequestScorer

__all__ = ["BuiltBento", "bento_home", "build", "environment", "labels_of", "tag_of"]


@dataclass(frozen=True)
class BuiltBento:
    """A Bento in the store.

    Attributes
    ----------
    tag
        NAME:VERSION, as BentoML's commands take it.
    created
        False if the store had an identical Bento.
    """

    tag: str
    folder: Path
    labels: dict[str, str]
    created: bool


def bento_home(layout: Layout) -> Path:
    """Path of the project's BentoML store. It is derived data and may be deleted at any time."""
    return layout.work / "bentoml"


def environment(layout: Layout) -> dict[str, str]:
    """Environment variables for BentoML: the project's store, and no telemetry."""
    settings = {"BENTOML_HOME": str(bento_home(layout)), "BENTOML_DO_NOT_TRACK": "true"}
    return {k: v for k, v in os.environ.items() if not k.startswith("BENTOML_")} | settings


def build(
    params: Params, layout: Layout, selected: SelectedModel, progress: Progress | None = None
) -> BuiltBento:
    """Import a verified bundle into the store and build its Bento, unless it exists.

    Raises
    ------
    NotInstalled
        If a package that serving needs is missing.
    NotFound
        If the features need look-ups and the project has no validated tables.
    BadParams
        If BentoML doesn't accept the name or the version.
    MlopsError
        If the store can't be written, or BentoML fails.
    """
    progress = progress or Silent()
    scorer = _open_scorer(selected, layout.root)
    tokens = params.serve.jwt is not None
    families = [member.family for member in scorer.bundle.members]
    tables = not {"arrow", "parquet"}.isdisjoint(params.serve.formats)
    requirements = serving(families, tokens=tokens, tables=tables)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    name, tag = tag_of(selected)
    with _locked_context(layout, progress) as context:
        settings = {
            "name": selected.name,
            "number": selected.number,
            "model": f"{name}:{tag}",
            "serve": params.serve.model_dump(mode="json"),
        }
        base = params.ingest.sources.get(scorer.program.rules.base)
        if base is not None:
            csv = {"separator": base.separator, "null_values": list(base.null_values)}
            settings["csv"] = csv
        card = (selected.folder / "README.md").read_text(encoding="utf-8")
        build_context.write(context, layout.root, scorer.program, settings, card)
        progress.update("the online store")
        online = _fill_store(scorer, layout, context, progress)
        build_context.write_dockerfile(context, _image_environment(context, name, tag))
        content = build_context.digest(context, [f"python=={python}", *requirements], online)
        labels = _bento_labels(selected, scorer, content)
        folder = bento_home(layout) / "bentos" / name / tag
        new = labels_of(folder) != labels
        if new:
            progress.update("the Bento")
            _run_build_process(
                layout,
                {
                    "home": str(bento_home(layout)),
                    "context": str(context),
                    "bundle": str(selected.folder),
                    "name": name,
                    "tag": tag,
                    "labels": labels,
                    "requirements": [r for r in requirements if not r.startswith("bentoml==")],
                    "python": python,
                },
            )
    return BuiltBento(f"{name}:{tag}", folder, labels, new)


def tag_of(selected: SelectedModel) -> tuple[str, str]:
    """Name and tag of a version in BentoML, in lower case."""
    name = selected.name.lower().replace("/", "-")
    if selected.version is not None:
        return name, selected.number.lower()
    from mlops_cli.models.bundle import verify

    return name, f"workspace-{verify(selected.folder)['bundle_sha256'][:12]}"


def labels_of(folder: Path) -> dict[str, str] | None:
    """Read the labels of a complete Bento; None if there is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = (folder / "bento.yaml").read_text(encoding="utf-8")
        return dict(YAML(typ="safe", pure=True).load(text)["labels"])
    except (FileNotFoundError, YAMLError, TypeError, KeyError):
        return None


@contextmanager
def _locked_context(layout: Layout, progress: Progress) -> Iterator[Path]:
    """Lock the project's builds, and give an empty folder to build from.

    BentoML reads no files below a folder whose name begins with a dot, so it is not in .mlops.
    """
    store = bento_home(layout)
    prefix = f"mlops-bento-{hashlib.sha256(str(layout.root).encode()).hexdigest()[:12]}-"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with wait_for_lock(store / "build.lock", progress.note):
            # Folders of builds that were killed.
            for leftover in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=prefix) as temporary:
                context = Path(temporary).resolve() / "source"
                context.mkdir()
                yield context
    except OSError as error:
        if is_full(error):
            raise _disk_full(store) from error
        raise MlopsError(
            f"the Bento can't be built in {store}: {error.strerror or error} "
            f"({error.filename or store})",
            "Let this user write there; all in it is derived, so it may also be deleted.",
        ) from error


def _disk_full(store: Path) -> DiskFull:
    return DiskFull(
        f"no space is left on the disk of {store} or of {tempfile.gettempdir()}",
        "Free some space and run again; the next build removes what this one left.",
    )


def _image_environment(context: Path, name: str, tag: str) -> dict[str, str]:
    """The service's environment variables in the image, with the paths that BentoML uses there."""
    bento = PurePosixPath("/home/bentoml/bento")
    return build_context.environment(
        context, bento / "models" / name / tag / "bundle", bento / "src"
    )


def _open_scorer(selected: SelectedModel, root: Path) -> RequestScorer:
    from mlops_cli.serving.scorer import RequestScorer

    return RequestScorer.open(selected.folder, root)


def _fill_store(
    scorer: RequestScorer, layout: Layout, context: Path, progress: Progress
) -> dict[str, Any] | None:
    """Write the online store into the context, if features need look-ups; return its identity."""
    from mlops_cli.online.materialize import materialize
    from mlops_cli.online.store import open_store

    if not scorer.needs_store:
        return None
    path = context / build_context.ONLINE
    store = open_store(None, path, create=True)
    try:
        materialize(scorer.program, layout, store, progress=progress)
        facts = build_context.store_identity(store, scorer.program)
    finally:
        store.close()
    build_context.close_store(path)
    path.chmod(0o644)  # a container may run as any user
    return facts


def _bento_labels(selected: SelectedModel, scorer: RequestScorer, content: str) -> dict[str, str]:
    window = scorer.bundle.facts.get("window")
    version = selected.version
    return {
        "name": selected.name,
        "version": selected.number,
        "commit": version.commit if version is not None else "none",
        "data_window": " to ".join(window) if window else "none",
        "bundle_sha256": scorer.bundle.sha256,
        "content": content,
    }


def _run_build_process(layout: Layout, order: dict[str, Any]) -> None:
    """Build the Bento in a child process (see ``build_process``)."""
    context = Path(order["context"])
    order_file = context.with_name("order.json")
    order_file.write_text(json.dumps(order), encoding="utf-8")
    process = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "mlops_cli.serving.deployment.build_process", str(order_file)],
        cwd=context,
        env=environment(layout) | {"PYTHONPATH": str(context)},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode == 0:
        return
    last_lines = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
    if "tag's name or version" in last_lines[0]:
        raise BadParams(
            f"BentoML can't take {order['name']}:{order['tag']}: {last_lines[0]}",
            "Change register.name in params.yaml.",
        )
    if is_full(OSError(process.stderr)):
        raise _disk_full(Path(order["home"]))
    raise MlopsError(
        f"BentoML could not build {order['name']}:{order['tag']}: {last_lines[0]}",
        f"Try again after removing {order['home']}; all in it is derived.",
    )
