"""DVC's objects by their hash, as the project's cache has them.

An object is named by the MD5 of its bytes, which is compared whenever one is read, so that it
doesn't matter where it came from. Nothing here imports DVC.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.data.untrusted import data_hash, directory_files
from mlops_cli.errors import DataRefused, NotFound

__all__ = ["Objects", "file_md5", "object_digest"]

_CHUNK = 1 << 20


class Objects:
    """The objects in one project's cache.

    Parameters
    ----------
    root
        The project.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
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
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != object_digest(md5):
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
        if file_md5(path) != object_digest(md5):
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
        if digest.hexdigest() != object_digest(md5):
            raise _changed(name, source)

    def _path(self, md5: str, name: str) -> Path:
        path = self.had(md5)
        if path is None:
            raise NotFound(f"{name} is not in DVC's cache", "Bring it with `mlops pull`.")
        return path

    @contextlib.contextmanager
    def placed(self, md5: str, target: Path, name: str) -> Iterator[Path]:
        """A copy that takes the target's place when the block ends well."""
        with atomic_write(target) as temporary:
            self.copy(md5, temporary, name)
            yield temporary


def file_md5(path: Path) -> str:
    """The MD5 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def object_digest(md5: str) -> str:
    """The MD5 in an object's name, which ends with ``.dir`` for a folder's listing."""
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
