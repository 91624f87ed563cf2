"""Fetch a version's model bundle by its hash, without touching the workspace."""

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
    """Fetch a version's bundle into ``.mlops/models/<name>@<number>/``, or ``into``.

    The workspace, the index and ``dvc.lock`` don't change. A bundle that is in the folder already
    is only verified.

    Raises
    ------
    NotFound
        If the version's commit has no model, or neither cache nor remote has the bundle.
    DataRefused
        If a file doesn't match its hash, or the bundle isn't the one that the tag states.
    SourceUnreadable
        If the remote cannot be reached.
    Usage
        If ``into`` is a file, or a folder that holds something other than a bundle.
    """
    md5, sizes = bundle_object(root, version)
    target = into or Layout(root).work / "models" / version.label
    if _has_bundle(target, version, replaceable=into is None):
        return target
    name = _bundle_path(root)
    objects = RemoteObjects(root, remote, progress)
    transfer = objects.fetch({md5: name}, sizes)
    if transfer.missing:
        raise transfer.missing_error(f"the bundle of {version.label}")
    with objects.copy_atomically(md5, target, name) as temporary:
        try:
            manifest = bundles.verify(temporary)
        except MlopsError as error:
            message = error.message.replace(f"{temporary}/", "").replace(str(temporary), name)
            raise DataRefused(
                f"the commit of {version.label} has no sound bundle: {message}",
                "Register another version; this one was never whole.",
            ) from None
        _refuse_other(version, manifest)
    return target


def bundle_md5(root: Path, version: Version) -> str:
    """The MD5 that ``dvc.lock`` states for a version's bundle.

    Raises
    ------
    NotFound
        If the version's commit has no ``dvc.lock``, or no model in it.
    """
    return bundle_object(root, version)[0]


def bundle_object(root: Path, version: Version) -> tuple[str, Mapping[str, int]]:
    """``bundle_md5`` with the sizes that the commit's ``dvc.lock`` states (see ``Lock.sizes``)."""
    lock = lock_at(root, version.commit)
    md5 = None if lock is None else lock.output_md5(_bundle_path(root))
    if lock is None or md5 is None:
        lacks = "has no dvc.lock" if lock is None else f"names no {_bundle_path(root)} in dvc.lock"
        raise NotFound(
            f"the tag {version.label} points at a commit without a model: "
            f"{version.commit[:9]} {lacks}",
            "Register the version on the commit of its run: `mlops register`.",
        )
    return md5, lock.sizes


def _bundle_path(root: Path) -> str:
    return Layout(root).model.relative_to(root).as_posix()


def _has_bundle(target: Path, version: Version, *, replaceable: bool) -> bool:
    """Whether a folder has the version's bundle; refuses a user's folder without any bundle."""
    if not target.is_dir() or not any(target.iterdir()):
        if target.exists() and not target.is_dir():
            raise Usage(f"{target} is a file, not a folder", "Name a new folder with -o.")
        return False
    try:
        manifest = bundles.verify(target)
    except MlopsError as error:
        if replaceable:
            return False
        raise Usage(
            f"{target} holds something else than a sound bundle: {error.message}",
            "Name a new folder with -o, or remove that one.",
        ) from None
    return version.bundle is not None and manifest["bundle_sha256"] == version.bundle


def _refuse_other(version: Version, manifest: dict[str, Any]) -> None:
    sha256 = str(manifest["bundle_sha256"])
    if version.bundle not in {None, sha256}:
        raise DataRefused(
            f"the tag {version.label} states bundle {str(version.bundle)[:12]}, "
            f"but its commit gives {sha256[:12]}",
            "The tag, or dvc.lock, was changed by hand; register another version.",
        )
