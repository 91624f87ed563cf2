"""Fetches DVC objects, by their hash, from a DVC remote into the cache where they are missing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import is_full
from mlops_cli.data.untrusted import MAX_JSON_BYTES, data_hash
from mlops_cli.data.urls import mask_url, scrub
from mlops_cli.errors import DataRefused, MlopsError, NotFound, SourceUnreadable, nearest
from mlops_cli.layout import Layout
from mlops_cli.project.dvc import open_repo
from mlops_cli.project.dvc_objects import Objects, file_md5, object_digest
from mlops_cli.reporting import Progress, Silent

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

__all__ = ["FetchedObjects", "RemoteObjects"]

_PARALLEL = 16
_MAX_SHOWN = 5
_MAX_BYTES = 100 << 30
"""The most bytes of an object whose size isn't stated."""


@dataclass
class FetchedObjects:
    """What was fetched into the cache.

    Attributes
    ----------
    files, bytes
        How much was fetched; 0 if everything was in the cache.
    missing
        MD5 -> name of what is neither in the cache nor in a remote.
    tried_remotes
        Remote -> its address.
    """

    files: int = 0
    bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    tried_remotes: dict[str, str] = field(default_factory=dict)

    def missing_error(self, description: str) -> NotFound:
        """The error that names what is missing, the remotes that were tried, and a remedy."""
        names = sorted(self.missing.values())
        listed = ", ".join(names[:_MAX_SHOWN]) + (", ..." if len(names) > _MAX_SHOWN else "")
        if not self.tried_remotes:
            return NotFound(
                f"{description} is not all in DVC's cache ({listed}), and the project has no DVC "
                "remote",
                "Name where the data is kept: dvc remote add --default NAME URL",
            )
        remotes = ", ".join(f"{name} ({url})" for name, url in self.tried_remotes.items())
        return NotFound(
            f"{description} is neither in DVC's cache nor in {remotes}: {listed}",
            "Run `mlops push` in the clone that has it, or name another remote with --remote.",
        )


class RemoteObjects(Objects):
    """The objects in one project's cache and in its DVC remotes.

    Parameters
    ----------
    root
        The project.
    remote
        The DVC remote to read; by default the default one first, then all others.
    """

    def __init__(
        self, root: Path, remote: str | None = None, progress: Progress | None = None
    ) -> None:
        super().__init__(root)
        self.remote = remote
        self.progress: Progress = progress or Silent()

    def fetch(
        self, objects: Mapping[str, str], sizes: Mapping[str, int] = MappingProxyType({})
    ) -> FetchedObjects:
        """Fetch the objects (MD5 -> name), and the files of folders, that the cache lacks.

        Parameters
        ----------
        sizes
            MD5 -> bytes, as far as they are stated; a download of more is stopped.

        Raises
        ------
        SourceUnreadable
            If something is missing, and a remote that may have it can't be reached.
        DataRefused
            If a remote sends bytes that don't match the hash, or more than allowed.
        NotFound
            If there is no remote of that name.
        """
        fetched = FetchedObjects()
        if not self._find_missing(objects):
            return fetched
        with open_repo(self.root, index=False) as repo:
            self.use_cache(Path(repo.cache.local.path))
            unreachable = []
            for name in self._choose_remotes(repo):
                if not (missing := self._find_missing(objects)):
                    break
                try:
                    self._fetch_from(repo, name, missing, objects, sizes, fetched)
                except MlopsError:
                    raise
                except Exception as error:
                    if is_full(error):
                        raise
                    # Each kind of remote raises its own errors.
                    url = fetched.tried_remotes.setdefault(name, mask_url(_address(repo, name)))
                    message = scrub(" ".join(str(error).split()), _address(repo, name))[:300]
                    unreachable.append(f"{name} ({url}): {message or type(error).__name__}")
        fetched.missing = self._find_missing(objects)
        if fetched.missing and unreachable:
            raise SourceUnreadable(
                f"the DVC remote cannot be read: {'; '.join(unreachable)}",
                "See that it can be reached (network, mount, credentials), or name another "
                "with --remote; an empty one is filled by `mlops push`.",
            )
        return fetched

    def _choose_remotes(self, repo: Repo) -> list[str]:
        remotes = list(repo.config["remote"])
        if self.remote is not None:
            if self.remote not in remotes:
                raise NotFound(
                    f"there is no DVC remote {self.remote!r}",
                    nearest(self.remote, remotes) or "Add one: dvc remote add --default NAME URL",
                )
            return [self.remote]
        default = repo.config["core"].get("remote")
        return sorted(remotes, key=lambda name: name != default)

    def _find_missing(self, objects: Mapping[str, str]) -> dict[str, str]:
        """The objects that the cache lacks; for a folder that it has, the folder's files."""
        missing: dict[str, str] = {}
        for md5, name in objects.items():
            if self.cached_path(md5) is None:
                missing[md5] = name
            elif md5.endswith(".dir"):
                files = self.tree(md5, name).items()
                missing |= {m: f"{name}/{path}" for path, m in files if self.cached_path(m) is None}
        return missing

    def _fetch_from(
        self,
        repo: Repo,
        remote: str,
        missing: dict[str, str],
        objects: Mapping[str, str],
        sizes: Mapping[str, int],
        fetched: FetchedObjects,
    ) -> None:
        """Fetch from one remote: what is missing, then the files of the folders that arrived."""
        source = repo.cloud.get_remote_odb(remote, "pull")
        fetched.tried_remotes[remote] = mask_url(_address(repo, remote))
        _refuse_missing_folder(source)
        self._download(repo, source, missing, self._size_limits(objects, sizes), fetched)
        remaining = {m: n for m, n in self._find_missing(objects).items() if m not in missing}
        if remaining:
            self._download(repo, source, remaining, self._size_limits(objects, sizes), fetched)

    def _size_limits(self, objects: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, int]:
        """MD5 -> the most bytes; a file may not be larger than its whole folder's stated size."""
        limits = {md5: size for md5, size in sizes.items() if not md5.endswith(".dir")}
        for md5, name in objects.items():
            if md5.endswith(".dir") and md5 in sizes and self.cached_path(md5) is not None:
                for child_md5 in self.tree(md5, name).values():
                    limits.setdefault(child_md5, sizes[md5])
        return limits

    def _download(
        self,
        repo: Repo,
        source: HashFileDB,
        missing: dict[str, str],
        limits: Mapping[str, int],
        fetched: FetchedObjects,
    ) -> None:
        from dvc_objects.fs.local import localfs

        work = Layout(self.root).work
        work.mkdir(exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="fetch-", dir=work) as scratch,
            ThreadPoolExecutor(_PARALLEL) as pool,
        ):
            # Numbered: a stated hash isn't checked yet, so it must not become a file's name.
            pairs = [
                (md5, name, Path(scratch) / str(number))
                for number, (md5, name) in enumerate(missing.items())
            ]
            results = pool.map(lambda pair: _fetch_object(source, limits, *pair), pairs)
            for done, ((md5, _, path), arrived) in enumerate(zip(pairs, results, strict=True), 1):
                if arrived:
                    fetched.files += 1
                    fetched.bytes += path.stat().st_size
                    repo.cache.local.add(str(path), localfs, md5)
                    path.unlink(missing_ok=True)
                self.progress.update("fetching data", done=done, total=len(pairs))


def _fetch_object(
    source: HashFileDB, limits: Mapping[str, int], md5: str, name: str, target: Path
) -> bool:
    """Download one object, within its limit; return whether the remote has it."""
    from mlops_cli.project.transfers import receive

    limit = MAX_JSON_BYTES if md5.endswith(".dir") else limits.get(md5, _MAX_BYTES)
    place = source.oid_to_path(data_hash(md5, name))
    # No check for existence before: some file systems report an error there as an absence.
    try:
        receive(source.fs, str(place), target, name, limit)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return False
    if file_md5(target) != object_digest(md5):
        raise DataRefused(
            f"{name} was changed in the remote: {mask_url(str(place))} is not what its hash says",
            "Restore it there: remove it, and run `mlops push` in a clone that has it.",
        )
    return True


def _refuse_missing_folder(source: HashFileDB) -> None:
    """Refuse a missing folder (an unmounted share): it must not look like an empty remote."""
    folder = Path(source.path).parents[1] if source.fs.protocol == "local" else None
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")


def _address(repo: Repo, remote: str) -> str:
    settings: dict[str, Any] = repo.config["remote"][remote]
    return str(settings.get("url", ""))
