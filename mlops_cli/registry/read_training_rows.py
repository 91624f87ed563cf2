"""Read the training rows of a bundle, from its metadata and from the splits of its version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json
from mlops_cli.errors import MlopsError, NotFound
from mlops_cli.layout import ROW, TIME
from mlops_cli.project.dvc_lock import lock_at
from mlops_cli.project.remote_objects import RemoteObjects
from mlops_cli.registry.training_rows import RowKeys, TrainingRows, content_of

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.registry.versions import Version

__all__ = ["output_files", "split_files", "training_rows_of_bundle", "training_rows_of_project"]

_TRAINING_SPLITS = ("train", "validation")


def training_rows_of_project(
    layout: Layout, folder: Path, version: Version | None, label: str
) -> TrainingRows:
    """The training rows of a project's bundle.

    Parameters
    ----------
    version
        The registered version of the bundle; None for the workspace's bundle.
    label
        Its name in messages.

    Raises
    ------
    NotFound, DataRefused
        If the bundle is missing or was changed.
    """
    return training_rows_of_bundle(folder, label, lambda: split_files(layout, version))


def training_rows_of_bundle(
    folder: Path, label: str, splits: Callable[[], Mapping[str, Path] | None] = lambda: None
) -> TrainingRows:
    """The training rows of a bundle in a folder, from its splits if they are available."""
    from mlops_cli.models.encoder import Encoder

    facts: Mapping[str, Any] = read_json(folder / "bundle.json").get("facts", {})
    kinds = Encoder.from_json(read_json(folder / "encoder.json")).kinds
    try:
        split_by_time = read_json(folder / "lineage.json").get("split") == "time"
    except NotFound:
        # A fitted bundle that isn't assembled yet has no lineage.json, so its split is unknown.
        split_by_time = False

    def read_keys() -> RowKeys | None:
        files = splits()
        keys = None if files is None else _read_keys(files, kinds)
        rows = facts.get("rows")
        stated = sum(rows.values()) if isinstance(rows, Mapping) else None
        # The workspace's splits may be newer than its model.
        return keys if keys is not None and len(keys.row_numbers) == stated else None

    return TrainingRows(label, _latest_time(facts), split_by_time, kinds, read_keys)


def split_files(layout: Layout, version: Version | None) -> dict[str, Path] | None:
    """Split -> its file, in the workspace or in DVC's cache; None if they aren't available."""
    if version is None:
        splits = {path.stem: path for path in layout.splits.glob("*.parquet")}
    else:
        try:
            files = output_files(layout, version.commit, layout.splits)
        except MlopsError:
            return None
        splits = {name.removesuffix(".parquet"): path for name, path in files.items()}
    return splits if set(_TRAINING_SPLITS) <= splits.keys() else None


def output_files(
    layout: Layout, commit: str, folder: Path, *, fetch: bool = True
) -> dict[str, Path]:
    """Name -> file in DVC's cache, for an output folder at a commit.

    Parameters
    ----------
    fetch
        Fetch files that the cache lacks from the remote.

    Raises
    ------
    NotFound
        If the commit has no such output, or neither cache nor remote has it.
    SourceUnreadable
        If the remote can't be reached.
    DataRefused
        If a file doesn't match its hash.
    """
    name = folder.relative_to(layout.root).as_posix()
    lock = lock_at(layout.root, commit)
    md5 = None if lock is None else lock.output_md5(name)
    if lock is None or md5 is None:
        raise NotFound(f"dvc.lock of {commit[:9]} has no {name}", "Run the pipeline there.")
    objects = RemoteObjects(layout.root)
    if fetch:
        transfer = objects.fetch({md5: name}, lock.sizes)
        if transfer.missing:
            raise transfer.missing_error(f"{name} of {commit[:9]}")
    files = {}
    for path, file_md5 in objects.tree(md5, name).items():
        objects.check(file_md5, f"{name}/{path}")
        cached_file = objects.cached_path(file_md5)
        assert cached_file is not None  # noqa: S101 - it was just checked
        files[path] = cached_file
    return files


def _latest_time(facts: Mapping[str, Any]) -> dt.datetime | None:
    window = facts.get("window")
    if not isinstance(window, list) or len(window) != 2:  # noqa: PLR2004 - both ends
        return None
    moment = dt.datetime.fromisoformat(window[1])
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _read_keys(files: Mapping[str, Path], kinds: Mapping[str, str]) -> RowKeys | None:
    import polars as pl

    frames = []
    for name in _TRAINING_SPLITS:
        table = parquet.scan(files[name])
        columns = table.collect_schema().names()
        if not {ROW, *kinds} <= set(columns):
            return None
        key_columns = [pl.col(ROW).cast(pl.UInt64)]
        if TIME in columns:
            key_columns.append(pl.col(TIME).cast(pl.Datetime("us", "UTC")))
        frame = table.select(*key_columns, *kinds).collect()
        frames.append(frame.select(*key_columns, content_of(frame, kinds)))
    rows = pl.concat(frames)
    return RowKeys(rows["content"], rows[TIME] if TIME in rows.columns else None, rows[ROW])
