"""DVC objects in the project's cache, by their hash.

An object is named by the MD5 of its bytes. The MD5 is compared whenever an object is read, so it
doesn't matter where the object came from. Nothing here imports DVC.
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
        # A guess without DVC. If something is missing, `use_cache` sets the folder that DVC names.
        self._cache = _guess_cache(root)

    def use_cache(self, cache: Path) -> None:
        """Use this folder as the cache: the one that DVC names."""
        self._cache = cache

    def cached_path(self, md5: str) -> Path | None:
        """The object's path in the cache; None if it isn't there."""
        path = self._cache / data_hash(md5, "an object of DVC's")[:2] / md5[2:]
        return path if path.is_file() else None

    def tree(self, md5: str, name: str) -> dict[str, str]:
        """Path -> MD5 of a folder's files, from the folder's object in the cache.

        Raises
        ------
        NotFound
            If the object isn't in the cache.
        DataRefused
            If it was changed, or lists a path that isn't below the folder.
        """
        content = self._existing_path(md5, name).read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != object_digest(md5):
            raise _changed_error(name, self._existing_path(md5, name))
        return directory_files(content, name)

    def check(self, md5: str, name: str) -> int:
        """Compare an object in the cache with its hash; return its size in bytes.

        Raises
        ------
        NotFound
            If it isn't in the cache.
        DataRefused
            If it was changed.
        """
        path = self._existing_path(md5, name)
        if file_md5(path) != object_digest(md5):
            raise _changed_error(name, path)
        return path.stat().st_size

    def copy(self, md5: str, target: Path, name: str) -> None:
        """Copy a file, or a folder's files, and compare each with its hash.

        Raises
        ------
        NotFound, DataRefused
            As in ``check``. The caller has to remove what was copied before.
        """
        if md5.endswith(".dir"):
            target.mkdir(parents=True, exist_ok=True)
            for relative, child_md5 in sorted(self.tree(md5, name).items()):
                self.copy(child_md5, target / relative, f"{name}/{relative}")
            return
        source, digest = self._existing_path(md5, name), hashlib.md5(usedforsecurity=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reader, target.open("wb") as writer:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
        if digest.hexdigest() != object_digest(md5):
            raise _changed_error(name, source)

    def _existing_path(self, md5: str, name: str) -> Path:
        path = self.cached_path(md5)
        if path is None:
            raise NotFound(f"{name} is not in DVC's cache", "Bring it with `mlops pull`.")
        return path

    @contextlib.contextmanager
    def copy_atomically(self, md5: str, target: Path, name: str) -> Iterator[Path]:
        """A copy at a temporary path, which replaces the target when the block succeeds."""
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


def _changed_error(name: str, path: Path) -> DataRefused:
    return DataRefused(
        f"{name} was changed in DVC's cache: {path} is not what its hash says",
        "Remove that file; `mlops pull` then fetches the right one from the remote.",
    )


def _guess_cache(root: Path) -> Path:
    """The cache's path according to the project's own DVC settings."""
    dvc_folder = root / ".dvc"
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    # Settings that can't be read are reported by DVC itself, when it is used.
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        settings.read([dvc_folder / "config", dvc_folder / "config.local"], encoding="utf-8")
    folder = settings.get("cache", "dir", fallback="cache").strip("'\"")
    return dvc_folder / folder / "files" / "md5"
