"""DVC's objects sent to a remote, each compared with its hash before it leaves."""

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

_SHOWN = 5


@dataclass
class SentObjects:
    """What was sent; ``missing`` is what is neither here nor there, MD5 -> name."""

    remote: str
    files: int = 0
    bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def publish(root: Path, progress: Progress | None = None) -> SentObjects | None:
    """Send what the workspace's `dvc.lock` states to the default DVC remote, if there is one.

    Raises
    ------
    NotFound
        If an output is nowhere: nobody could have it.
    """
    with open_repo(root) as repo:
        if not repo.config["core"].get("remote"):
            return None
        keep_outputs(repo, root)
        objects = Objects(root)
        objects.use(Path(repo.cache.local.path))
        outs = [out for out in repo.index.outs if out.use_cache and out.can_push and out.hash_info]
        now = {data_hash(out.hash_info.value, str(out)): str(out) for out in outs}
        _add_files(objects, now)
    sent = upload(root, {}, None, progress or Silent())
    # What only HEAD's has is of an earlier version, and not this one's affair.
    if lost := sorted(name for md5, name in sent.missing.items() if md5 in now):
        raise NotFound(
            f"neither DVC's cache nor the remote {sent.remote!r} has {', '.join(lost[:_SHOWN])}, "
            "so the version could be verified nowhere",
            "Make it anew (mlops run --force), then register.",
        )
    return sent


def upload(
    root: Path,
    bundles: Mapping[str, str],
    remote: str | None,
    progress: Progress,
    data: Mapping[str, str] | None = None,
) -> SentObjects:
    """Send what the workspace and HEAD use, bundles, and data of other commits, where it isn't yet.

    Parameters
    ----------
    bundles
        MD5 -> name.
    data
        MD5 -> path.

    Raises
    ------
    NotFound
        If there is no such DVC remote.
    DataRefused
        If an object in the cache was changed.
    SourceUnreadable
        If the remote cannot be reached.
    """
    objects = Objects(root)
    with open_repo(root) as repo:
        sent = SentObjects(_remote(repo, remote))
        objects.use(Path(repo.cache.local.path))
        progress.update("looking what the remote lacks")
        try:
            for own, wanted in _wanted(repo, objects, bundles, data or {}).items():
                to = repo.cloud.get_remote_odb(own or sent.remote, "push")
                missing, sizes = _send(repo, objects, to, wanted, progress)
                sent.missing |= missing
                sent.files += len(sizes)
                sent.bytes += sum(sizes)
        except MlopsError:
            raise
        except Exception as error:
            if is_full(error):
                raise
            # Each kind of remote has errors of its own.
            raise SourceUnreadable(
                f"the DVC remote {sent.remote!r} cannot be written to: "
                + scrub(" ".join(str(error).split()))[:300],
                "See that it can be reached (network, mount, credentials), then push again.",
            ) from error
    return sent


def _remote(repo: Repo, remote: str | None) -> str:
    known = list(repo.config["remote"])
    name: str | None = remote or repo.config["core"].get("remote")
    if name is None:
        raise NotFound(
            "the project has no default DVC remote, so data cannot go anywhere",
            f"Choose one: dvc remote default {known[0]}"
            if known
            else "Add one (a folder, s3://..., ssh://...): dvc remote add --default NAME URL",
        )
    if name not in known:
        raise NotFound(
            f"there is no DVC remote {name!r}",
            nearest(name, known) or "Add it: dvc remote add --default NAME URL",
        )
    return name


def _wanted(
    repo: Repo, objects: Objects, bundles: Mapping[str, str], data: Mapping[str, str]
) -> dict[str | None, dict[str, str]]:
    """Remote (None: the one asked for) -> MD5 -> name."""
    wanted: dict[str | None, dict[str, str]] = {None: dict(bundles)}
    head = lock_at(objects.root, "HEAD")
    committed = {} if head is None else head.data
    others: dict[str, set[str]] = {}
    for md5, path in data.items():
        others.setdefault(path, set()).add(md5)
    for out in repo.index.outs:
        # An output may have a remote of its own, or be kept from all of them.
        name = os.path.relpath(out.fspath, objects.root)
        former = others.pop(name, set())
        if not (out.use_cache and out.can_push) or out.stage.is_repo_import:
            continue
        hashes = {out.hash_info.value if out.hash_info else None, committed.get(name), *former}
        place = wanted.setdefault(out.remote, {})
        place |= {data_hash(md5, name): name for md5 in hashes if md5 is not None}
    # Of outputs that are no more.
    wanted[None] |= {md5: path for path, hashes in others.items() for md5 in hashes}
    for place in wanted.values():
        _add_files(objects, place)
    # What is of a bundle is said to be of it.
    wanted[None] |= bundles
    return wanted


def _add_files(objects: Objects, place: dict[str, str]) -> None:
    """Add the files of folders to MD5 -> name."""
    for md5, name in list(place.items()):
        if md5.endswith(".dir") and objects.had(md5) is not None:
            place |= {own: f"{name}/{path}" for path, own in objects.tree(md5, name).items()}


def _send(
    repo: Repo, objects: Objects, to: HashFileDB, wanted: Mapping[str, str], progress: Progress
) -> tuple[dict[str, str], list[int]]:
    """Send what the remote lacks; give what is missing (MD5 -> name), and each file's bytes."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.status import compare_status
    from dvc_data.hashfile.transfer import transfer

    cache = repo.cache.local
    # Without DVC's index, which believes what it saw last time: the remote itself is asked.
    found = compare_status(cache, to, {HashInfo("md5", m) for m in wanted}, check_deleted=False)
    new = {str(h.value): h for h in found.new}
    sizes = {md5: objects.check(md5, wanted[md5]) for md5 in new}
    done = transfer(cache, to, new.values(), cache_odb=cache, callback=_callback(progress))
    if done.failed:
        failed = ", ".join(sorted(wanted[str(h.value)] for h in done.failed)[:3])
        raise SourceUnreadable(
            f"the DVC remote at {mask_url(str(to.path))} didn't take {len(done.failed)} files: "
            + failed,
            "Try again later; what arrived is not sent twice.",
        )
    missing = {str(h.value): wanted[str(h.value)] for h in found.missing}
    return missing, [sizes[str(h.value)] for h in done.transferred]


def _callback(progress: Progress) -> Any:
    from fsspec.callbacks import Callback

    class Told(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            progress.update("sending data", done=self.value, total=self.size)

    return Told()
