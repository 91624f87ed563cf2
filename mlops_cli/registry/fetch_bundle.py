"""A version's model bundle, fetched by its hash, beside the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused, MlopsError, NotFound, Usage
from mlops_cli.layout import Layout
from mlops_cli.models import bundle as bundles
from mlops_cli.project.dvc_lock import lock_at
from mlops_cli.project.remote_objects import RemoteObjects

if TYPE_CHECKING:
    from mlops_cli.registry.versions import Version
    from mlops_cli.reporting import Progress

__all__ = ["bundle_md5", "bundle_object", "pull_bundle"]


def pull_bundle(
    root: Path,
    version: Version,
    into: Path | None = None,
    remote: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Bring a version's bundle to ``.mlops/models/<name>@<number>/``, or ``into``.

    The workspace, the index and ``dvc.lock`` stay as they are. Where it is already, it is only
    verified.

    Raises
    ------
    NotFound
        If the version's commit has no model, or the bundle is in no cache and no remote.
    DataRefused
        If a file of it is not what its hash says, or it is another than the tag states.
    SourceUnreadable
        If the remote cannot be reached.
    Usage
        If ``into`` holds something else.
    """
    md5, sizes = bundle_object(root, version)
    target = into or Layout(root).work / "models" / version.label
    if _is_there(target, version, own=into is None):
        return target
    name = _path(root)
    objects = RemoteObjects(root, remote, progress)
    brought = objects.bring({md5: name}, sizes)
    if brought.missing:
        raise brought.refusal(f"the bundle of {version.label}")
    with objects.placed(md5, target, name) as temporary:
        try:
            manifest = bundles.verify(temporary)
        except MlopsError as error:
            said = error.message.replace(f"{temporary}/", "").replace(str(temporary), name)
            raise DataRefused(
                f"the commit of {version.label} has no sound bundle: {said}",
                "Register another version; this one was never whole.",
            ) from None
        _refuse_other(version, manifest)
    return target


def bundle_md5(root: Path, version: Version) -> str:
    """The hash by which DVC knows a version's bundle.

    Raises
    ------
    NotFound
        If the version's commit has no ``dvc.lock``, or there is no model in it.
    """
    return bundle_object(root, version)[0]


def bundle_object(root: Path, version: Version) -> tuple[str, Mapping[str, int]]:
    """The same hash, with the sizes that the commit's ``dvc.lock`` states (see ``Lock``)."""
    lock = lock_at(root, version.commit)
    md5 = None if lock is None else lock.made(_path(root))
    if lock is None or md5 is None:
        lacks = "has no dvc.lock" if lock is None else f"names no {_path(root)} in dvc.lock"
        raise NotFound(
            f"the tag {version.label} points at a commit without a model: "
            f"{version.commit[:9]} {lacks}",
            "Register the version on the commit of its run: `mlops register`.",
        )
    return md5, lock.sizes


def _path(root: Path) -> str:
    return Layout(root).model.relative_to(root).as_posix()


def _is_there(target: Path, version: Version, *, own: bool) -> bool:
    """Whether the very bundle is there already; refuse to replace what isn't a bundle."""
    if not target.is_dir() or not any(target.iterdir()):
        if target.exists() and not target.is_dir():
            raise Usage(f"{target} is a file, not a folder", "Name a new folder with -o.")
        return False
    try:
        manifest = bundles.verify(target)
    except MlopsError as error:
        if own:
            return False
        raise Usage(
            f"{target} holds something else than a sound bundle: {error.message}",
            "Name a new folder with -o, or remove that one.",
        ) from None
    return version.bundle is not None and manifest["bundle_sha256"] == version.bundle


def _refuse_other(version: Version, manifest: dict[str, Any]) -> None:
    found = str(manifest["bundle_sha256"])
    if version.bundle not in {None, found}:
        raise DataRefused(
            f"the tag {version.label} states bundle {str(version.bundle)[:12]}, "
            f"but its commit gives {found[:12]}",
            "The tag, or dvc.lock, was changed by hand; register another version.",
        )
