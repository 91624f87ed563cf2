"""DVC's objects by their hash: from the project's cache or, where missing there, from a remote.

An object is named by the MD5 of its bytes, which is compared whenever one is read, so that it
doesn't matter where it came from. What is in the cache is read without importing DVC.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DataRefused, MlopsError, NotFound, SourceUnreadable, nearest
from mlops_cli.layout import Layout
from mlops_cli.reporting import Progress, Silent
from mlops_cli.store.files import is_full, staged
from mlops_cli.store.untrusted import LARGEST_JSON, data_hash, directory_files
from mlops_cli.store.urls import masked, scrubbed

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB

__all__ = ["Brought", "Objects", "md5_of"]

_CHUNK = 1 << 20
_AT_ONCE = 16
_SHOWN = 5
_LARGEST = 100 << 30
"""Bytes of an object whose size nothing states."""


@dataclass
class Brought:
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


class Objects:
    """The objects of one project.

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
        self.root = root
        self.remote = remote
        self.progress: Progress = progress or Silent()
        # A guess: DVC is asked as soon as something isn't there.
        self._cache = _likely_cache(root)

    def use(self, cache: Path) -> None:
        """Take this folder for the cache: DVC said so."""
        self._cache = cache

    def had(self, md5: str) -> Path | None:
        """Where the object is in the cache; None if it isn't."""
        path = self._cache / data_hash(md5, "an object of DVC's")[:2] / md5[2:]
        return path if path.is_file() else None

    def tree(self, md5: str, name: str) -> dict[str, str]:
        """Path -> MD5 of a folder's files, from its object in the cache.

        Raises
        ------
        NotFound
            If it isn't there.
        DataRefused
            If it was changed, or lists what isn't below the folder.
        """
        content = self._path(md5, name).read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != _digest(md5):
            raise _changed(name, self._path(md5, name))
        return directory_files(content, name)

    def check(self, md5: str, name: str) -> int:
        """Compare an object in the cache with its hash; give its size in bytes.

        Raises
        ------
        NotFound
            If it isn't there.
        DataRefused
            If it was changed.
        """
        path = self._path(md5, name)
        if md5_of(path) != _digest(md5):
            raise _changed(name, path)
        return path.stat().st_size

    def copy(self, md5: str, target: Path, name: str) -> None:
        """Copy a file, or a folder's files, comparing each with its hash on the way.

        Raises
        ------
        NotFound, DataRefused
            As for ``check``. What was copied before has to be removed by the caller.
        """
        if md5.endswith(".dir"):
            target.mkdir(parents=True, exist_ok=True)
            for relative, own in sorted(self.tree(md5, name).items()):
                self.copy(own, target / relative, f"{name}/{relative}")
            return
        source, digest = self._path(md5, name), hashlib.md5(usedforsecurity=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as given, target.open("wb") as taken:
            while chunk := given.read(_CHUNK):
                digest.update(chunk)
                taken.write(chunk)
        if digest.hexdigest() != _digest(md5):
            raise _changed(name, source)

    def bring(
        self, wanted: Mapping[str, str], sizes: Mapping[str, int] = MappingProxyType({})
    ) -> Brought:
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
        brought = Brought()
        if not self._lacking(wanted):
            return brought
        from mlops_cli.store.dvc import opened

        with opened(self.root, index=False) as repo:
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
                    url = brought.tried.setdefault(name, masked(_address(repo, name)))
                    said = scrubbed(" ".join(str(error).split()), _address(repo, name))[:300]
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
        brought: Brought,
    ) -> None:
        """Fetch from one remote: what is lacking, then the files of folders that came."""
        source = repo.cloud.get_remote_odb(remote, "pull")
        brought.tried[remote] = masked(_address(repo, remote))
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
        brought: Brought,
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

    def _path(self, md5: str, name: str) -> Path:
        path = self.had(md5)
        if path is None:
            raise NotFound(f"{name} is not in DVC's cache", "Bring it with `mlops pull`.")
        return path

    @contextlib.contextmanager
    def placed(self, md5: str, target: Path, name: str) -> Iterator[Path]:
        """A copy that takes the target's place when the block ends well."""
        with staged(target) as temporary:
            self.copy(md5, temporary, name)
            yield temporary


def md5_of(path: Path) -> str:
    """The MD5 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetched(
    source: HashFileDB, limits: Mapping[str, int], md5: str, name: str, target: Path
) -> bool:
    """Download one object, if the remote has it, and no more than it may have."""
    from mlops_cli.store.transfers import received

    most = LARGEST_JSON if md5.endswith(".dir") else limits.get(md5, _LARGEST)
    place = source.oid_to_path(data_hash(md5, name))
    # Not asked for beforehand: there, some file systems take an error for an absence.
    try:
        received(source.fs, str(place), target, name, most)
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return False
    if md5_of(target) != _digest(md5):
        raise DataRefused(
            f"{name} was changed in the remote: {masked(str(place))} is not what its hash says",
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


def _digest(md5: str) -> str:
    return md5.removesuffix(".dir")


def _changed(name: str, path: Path) -> DataRefused:
    return DataRefused(
        f"{name} was changed in DVC's cache: {path} is not what its hash says",
        "Remove that file; `mlops pull` then fetches the right one from the remote.",
    )


def _likely_cache(root: Path) -> Path:
    """Where the cache is, by the project's own DVC settings."""
    own = root / ".dvc"
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    # What DVC itself cannot read, it will say when it is asked.
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        settings.read([own / "config", own / "config.local"], encoding="utf-8")
    folder = settings.get("cache", "dir", fallback="cache").strip("'\"")
    return own / folder / "files" / "md5"
