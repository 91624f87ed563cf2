"""DVC's objects by their hash, fetched from a DVC remote into the cache where they are missing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import is_full
from mlops_cli.data.untrusted import LARGEST_JSON, data_hash
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

_AT_ONCE = 16
_SHOWN = 5
_LARGEST = 100 << 30
"""Bytes of an object whose size nothing states."""


@dataclass
class FetchedObjects:
    """What was fetched into the cache.

    Attributes
    ----------
    files, bytes
        How much was fetched; 0 if all was there.
    missing
        MD5 -> name of what is neither in the cache nor in a remote.
    tried
        Remote -> its address.
    """

    files: int = 0
    bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    tried: dict[str, str] = field(default_factory=dict)

    def refusal(self, what: str) -> NotFound:
        """The error that says what is missing, what was tried, and what to do."""
        names = sorted(self.missing.values())
        listed = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        if not self.tried:
            return NotFound(
                f"{what} is not all in DVC's cache ({listed}), and the project has no DVC remote",
                "Name where the data is kept: dvc remote add --default NAME URL",
            )
        remotes = ", ".join(f"{name} ({url})" for name, url in self.tried.items())
        return NotFound(
            f"{what} is neither in DVC's cache nor in {remotes}: {listed}",
            "Run `mlops push` in the clone that has it, or name another remote with --remote.",
        )


class RemoteObjects(Objects):
    """The objects in one project's cache, and in its DVC remotes.

    Parameters
    ----------
    root
        The project.
    remote
        The DVC remote to ask; by default the default one first, then all others.
    """

    def __init__(
        self, root: Path, remote: str | None = None, progress: Progress | None = None
    ) -> None:
        super().__init__(root)
        self.remote = remote
        self.progress: Progress = progress or Silent()

    def bring(
        self, wanted: Mapping[str, str], sizes: Mapping[str, int] = MappingProxyType({})
    ) -> FetchedObjects:
        """Fetch into the cache what isn't there, of these objects (MD5 -> name) and their files.

        Parameters
        ----------
        sizes
            MD5 -> bytes, as far as they are stated; a remote that sends more is stopped.

        Raises
        ------
        SourceUnreadable
            If something is missing, and a remote that may have it cannot be reached.
        DataRefused
            If a remote gives other bytes than the hash says, or more than it may.
        NotFound
            If there is no remote of that name.
        """
        brought = FetchedObjects()
        if not self._lacking(wanted):
            return brought
        with open_repo(self.root, index=False) as repo:
            self.use(Path(repo.cache.local.path))
            unreachable = []
            for name in self._remotes(repo):
                if not (lacking := self._lacking(wanted)):
                    break
                try:
                    self._from(repo, name, lacking, wanted, sizes, brought)
                except MlopsError:
                    raise
                except Exception as error:
                    if is_full(error):
                        raise
                    # Each kind of remote has errors of its own.
                    url = brought.tried.setdefault(name, mask_url(_address(repo, name)))
                    said = scrub(" ".join(str(error).split()), _address(repo, name))[:300]
                    unreachable.append(f"{name} ({url}): {said or type(error).__name__}")
        brought.missing = self._lacking(wanted)
        if brought.missing and unreachable:
            raise SourceUnreadable(
                f"the DVC remote cannot be read: {'; '.join(unreachable)}",
                "See that it can be reached (network, mount, credentials), or name another "
                "with --remote; an empty one is filled by `mlops push`.",
            )
        return brought

    def _remotes(self, repo: Repo) -> list[str]:
        known = list(repo.config["remote"])
        if self.remote is not None:
            if self.remote not in known:
                raise NotFound(
                    f"there is no DVC remote {self.remote!r}",
                    nearest(self.remote, known) or "Add one: dvc remote add --default NAME URL",
                )
            return [self.remote]
        default = repo.config["core"].get("remote")
        return sorted(known, key=lambda name: name != default)

    def _lacking(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """What isn't in the cache; of a folder that is, its files."""
        lacking: dict[str, str] = {}
        for md5, name in wanted.items():
            if self.had(md5) is None:
                lacking[md5] = name
            elif md5.endswith(".dir"):
                files = self.tree(md5, name).items()
                lacking |= {m: f"{name}/{path}" for path, m in files if self.had(m) is None}
        return lacking

    def _from(
        self,
        repo: Repo,
        remote: str,
        lacking: dict[str, str],
        wanted: Mapping[str, str],
        sizes: Mapping[str, int],
        brought: FetchedObjects,
    ) -> None:
        """Fetch from one remote: what is lacking, then the files of folders that came."""
        source = repo.cloud.get_remote_odb(remote, "pull")
        brought.tried[remote] = mask_url(_address(repo, remote))
        _refuse_absent(source)
        self._download(repo, source, lacking, self._limits(wanted, sizes), brought)
        rest = {m: n for m, n in self._lacking(wanted).items() if m not in lacking}
        if rest:
            self._download(repo, source, rest, self._limits(wanted, sizes), brought)

    def _limits(self, wanted: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, int]:
        """MD5 -> the most bytes; no file of a folder is larger than all of them are stated."""
        limits = {md5: size for md5, size in sizes.items() if not md5.endswith(".dir")}
        for md5, name in wanted.items():
            if md5.endswith(".dir") and md5 in sizes and self.had(md5) is not None:
                for own in self.tree(md5, name).values():
                    limits.setdefault(own, sizes[md5])
        return limits

    def _download(
        self,
        repo: Repo,
        source: HashFileDB,
        lacking: dict[str, str],
        limits: Mapping[str, int],
        brought: FetchedObjects,
    ) -> None:
        from dvc_objects.fs.local import localfs

        work = Layout(self.root).work
        work.mkdir(exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="fetch-", dir=work) as scratch,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            # Under a name of our own: what a file states as a hash is no name for a file yet.
            pairs = [
                (md5, name, Path(scratch) / str(number))
                for number, (md5, name) in enumerate(lacking.items())
            ]
            got = pool.map(lambda pair: _fetched(source, limits, *pair), pairs)
            for done, ((md5, _, path), there) in enumerate(zip(pairs, got, strict=True), 1):
                if there:
                    brought.files += 1
                    brought.bytes += path.stat().st_size
                    repo.cache.local.add(str(path), localfs, md5)
                    path.unlink(missing_ok=True)
                self.progress.update("fetching data", done=done, total=len(pairs))


def _fetched(
    source: HashFileDB, limits: Mapping[str, int], md5: str, name: str, target: Path
) -> bool:
    """Download one object, if the remote has it, and no more than it may have."""
    from mlops_cli.project.transfers import receive

    most = LARGEST_JSON if md5.endswith(".dir") else limits.get(md5, _LARGEST)
    place = source.oid_to_path(data_hash(md5, name))
    # Not asked for beforehand: there, some file systems take an error for an absence.
    try:
        receive(source.fs, str(place), target, name, most)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return False
    if file_md5(target) != object_digest(md5):
        raise DataRefused(
            f"{name} was changed in the remote: {mask_url(str(place))} is not what its hash says",
            "Restore it there: remove it, and run `mlops push` in a clone that has it.",
        )
    return True


def _refuse_absent(source: HashFileDB) -> None:
    """A folder that isn't there (a share that isn't mounted) must not look like an empty one."""
    folder = Path(source.path).parents[1] if source.fs.protocol == "local" else None
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")


def _address(repo: Repo, remote: str) -> str:
    settings: dict[str, Any] = repo.config["remote"][remote]
    return str(settings.get("url", ""))
