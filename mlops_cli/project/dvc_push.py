"""Uploads DVC objects to a remote; each is compared with its hash first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import is_full
from mlops_cli.data.untrusted import data_hash
from mlops_cli.data.urls import mask_url, scrub
from mlops_cli.errors import MlopsError, NotFound, SourceUnreadable, nearest
from mlops_cli.project.dvc import keep_outputs, open_repo
from mlops_cli.project.dvc_lock import lock_at
from mlops_cli.project.dvc_objects import Objects
from mlops_cli.reporting import Progress, Silent

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

__all__ = ["SentObjects", "publish", "upload"]

_MAX_SHOWN = 5


@dataclass
class SentObjects:
    """What was uploaded; ``missing`` (MD5 -> name) is neither here nor in the remote."""

    remote: str
    files: int = 0
    bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def publish(root: Path, progress: Progress | None = None) -> SentObjects | None:
    """Upload what the workspace's `dvc.lock` names to the default DVC remote, if there is one.

    Raises
    ------
    NotFound
        If an output is neither in the cache nor in the remote.
    """
    with open_repo(root) as repo:
        if not repo.config["core"].get("remote"):
            return None
        keep_outputs(repo, root)
        objects = Objects(root)
        objects.use_cache(Path(repo.cache.local.path))
        outs = [out for out in repo.index.outs if out.use_cache and out.can_push and out.hash_info]
        current = {data_hash(out.hash_info.value, str(out)): str(out) for out in outs}
        _add_files(objects, current)
    sent = upload(root, {}, None, progress or Silent())
    # What only HEAD's `dvc.lock` names belongs to an earlier version, not to this one.
    if lost := sorted(name for md5, name in sent.missing.items() if md5 in current):
        raise NotFound(
            f"neither DVC's cache nor the remote {sent.remote!r} has "
            f"{', '.join(lost[:_MAX_SHOWN])}, "
            "so the version could be verified nowhere",
            "Create it again (mlops run --force), then register.",
        )
    return sent


def upload(
    root: Path,
    bundles: Mapping[str, str],
    remote: str | None,
    progress: Progress,
    data: Mapping[str, str] | None = None,
) -> SentObjects:
    """Upload objects of the workspace, HEAD, bundles and other commits that the remote lacks.

    Parameters
    ----------
    bundles
        MD5 -> name.
    data
        MD5 -> path, of other commits.

    Raises
    ------
    NotFound
        If there is no such DVC remote.
    DataRefused
        If an object in the cache was changed.
    SourceUnreadable
        If the remote can't be reached.
    """
    objects = Objects(root)
    with open_repo(root) as repo:
        sent = SentObjects(_choose_remote(repo, remote))
        objects.use_cache(Path(repo.cache.local.path))
        progress.update("looking what the remote lacks")
        try:
            for own_remote, names in _select_objects(repo, objects, bundles, data or {}).items():
                target = repo.cloud.get_remote_odb(own_remote or sent.remote, "push")
                missing, sizes = _send(repo, objects, target, names, progress)
                sent.missing |= missing
                sent.files += len(sizes)
                sent.bytes += sum(sizes)
        except MlopsError:
            raise
        except Exception as error:
            if is_full(error):
                raise
            # Each kind of remote raises its own errors.
            raise SourceUnreadable(
                f"the DVC remote {sent.remote!r} cannot be written to: "
                + scrub(" ".join(str(error).split()))[:300],
                "See that it can be reached (network, mount, credentials), then push again.",
            ) from error
    return sent


def _choose_remote(repo: Repo, remote: str | None) -> str:
    remotes = list(repo.config["remote"])
    name: str | None = remote or repo.config["core"].get("remote")
    if name is None:
        raise NotFound(
            "the project has no default DVC remote, so data cannot go anywhere",
            f"Choose one: dvc remote default {remotes[0]}"
            if remotes
            else "Add one (a folder, s3://..., ssh://...): dvc remote add --default NAME URL",
        )
    if name not in remotes:
        raise NotFound(
            f"there is no DVC remote {name!r}",
            nearest(name, remotes) or "Add it: dvc remote add --default NAME URL",
        )
    return name


def _select_objects(
    repo: Repo, objects: Objects, bundles: Mapping[str, str], data: Mapping[str, str]
) -> dict[str | None, dict[str, str]]:
    """Remote (None: the chosen one) -> MD5 -> name, of the objects to upload."""
    selections: dict[str | None, dict[str, str]] = {None: dict(bundles)}
    head = lock_at(objects.root, "HEAD")
    committed = {} if head is None else head.dvc_hashes
    others: dict[str, set[str]] = {}
    for md5, path in data.items():
        others.setdefault(path, set()).add(md5)
    for out in repo.index.outs:
        # An output may have a remote of its own, or be excluded from all of them.
        name = os.path.relpath(out.fspath, objects.root)
        former = others.pop(name, set())
        if not (out.use_cache and out.can_push) or out.stage.is_repo_import:
            continue
        hashes = {out.hash_info.value if out.hash_info else None, committed.get(name), *former}
        selection = selections.setdefault(out.remote, {})
        selection |= {data_hash(md5, name): name for md5 in hashes if md5 is not None}
    # Outputs that don't exist any more.
    selections[None] |= {md5: path for path, hashes in others.items() for md5 in hashes}
    for selection in selections.values():
        _add_files(objects, selection)
    # An object of a bundle is named after the bundle.
    selections[None] |= bundles
    return selections


def _add_files(objects: Objects, names: dict[str, str]) -> None:
    """Add the files of folders to MD5 -> name."""
    for md5, name in list(names.items()):
        if md5.endswith(".dir") and objects.cached_path(md5) is not None:
            names |= {
                child_md5: f"{name}/{path}" for path, child_md5 in objects.tree(md5, name).items()
            }


def _send(
    repo: Repo, objects: Objects, target: HashFileDB, names: Mapping[str, str], progress: Progress
) -> tuple[dict[str, str], list[int]]:
    """Upload what the remote lacks; return what is missing (MD5 -> name) and the files' bytes."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.status import compare_status
    from dvc_data.hashfile.transfer import transfer

    cache = repo.cache.local
    # Without DVC's index of the remote, which may be out of date: the remote itself is read.
    status = compare_status(cache, target, {HashInfo("md5", m) for m in names}, check_deleted=False)
    new = {str(h.value): h for h in status.new}
    sizes = {md5: objects.check(md5, names[md5]) for md5 in new}
    result = transfer(
        cache, target, new.values(), cache_odb=cache, callback=_progress_callback(progress)
    )
    if result.failed:
        failed = ", ".join(sorted(names[str(h.value)] for h in result.failed)[:3])
        raise SourceUnreadable(
            f"the DVC remote at {mask_url(str(target.path))} didn't take "
            f"{len(result.failed)} files: " + failed,
            "Try again later; what arrived is not sent twice.",
        )
    missing = {str(h.value): names[str(h.value)] for h in status.missing}
    return missing, [sizes[str(h.value)] for h in result.transferred]


def _progress_callback(progress: Progress) -> Any:
    from fsspec.callbacks import Callback

    class ProgressCallback(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            progress.update("sending data", done=self.value, total=self.size)

    return ProgressCallback()
