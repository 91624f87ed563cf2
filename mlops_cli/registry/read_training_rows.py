"""What a bundle was fitted and tuned on: by its papers, and by the splits of its version."""

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

_KNOWN = ("train", "validation")


def training_rows_of_project(
    layout: Layout, folder: Path, version: Version | None, label: str
) -> TrainingRows:
    """The rows that a project's bundle has learnt from.

    Parameters
    ----------
    version
        The registered version whose bundle it is; None for the workspace's.
    label
        What it is called.

    Raises
    ------
    NotFound, DataRefused
        If there is no bundle, or it isn't as it was written.
    """
    return training_rows_of_bundle(folder, label, lambda: split_files(layout, version))


def training_rows_of_bundle(
    folder: Path, label: str, splits: Callable[[], Mapping[str, Path] | None] = lambda: None
) -> TrainingRows:
    """The same of a bundle in a folder, and of its splits where they can be had."""
    from mlops_cli.models.encoder import Encoder

    facts: Mapping[str, Any] = read_json(folder / "bundle.json").get("facts", {})
    kinds = Encoder.from_json(read_json(folder / "encoder.json")).kinds
    try:
        ordered = read_json(folder / "lineage.json").get("split") == "time"
    except NotFound:
        # Only what was fitted is there, without the papers: its split isn't stated.
        ordered = False

    def read() -> RowKeys | None:
        files = splits()
        found = None if files is None else _rows(files, kinds)
        rows = facts.get("rows")
        stated = sum(rows.values()) if isinstance(rows, Mapping) else None
        # The workspace's splits may be newer than its model.
        return found if found is not None and len(found.numbers) == stated else None

    return TrainingRows(label, _until(facts), ordered, kinds, read)


def split_files(layout: Layout, version: Version | None) -> dict[str, Path] | None:
    """Split -> its file, in the workspace or in DVC's cache; None where they can't be had."""
    if version is None:
        there = {path.stem: path for path in layout.splits.glob("*.parquet")}
    else:
        try:
            found = output_files(layout, version.commit, layout.splits)
        except MlopsError:
            return None
        there = {name.removesuffix(".parquet"): path for name, path in found.items()}
    return there if set(_KNOWN) <= there.keys() else None


def output_files(
    layout: Layout, commit: str, folder: Path, *, fetch: bool = True
) -> dict[str, Path]:
    """Name -> file in DVC's cache of an output folder at a commit.

    Parameters
    ----------
    fetch
        Bring what the cache lacks from the remote.

    Raises
    ------
    NotFound
        If the commit has no such output, or it can't be had.
    SourceUnreadable
        If the remote can't be reached.
    DataRefused
        If a file isn't what its hash says.
    """
    name = folder.relative_to(layout.root).as_posix()
    lock = lock_at(layout.root, commit)
    md5 = None if lock is None else lock.made(name)
    if lock is None or md5 is None:
        raise NotFound(f"dvc.lock of {commit[:9]} has no {name}", "Run the pipeline there.")
    objects = RemoteObjects(layout.root)
    if fetch:
        brought = objects.bring({md5: name}, lock.sizes)
        if brought.missing:
            raise brought.refusal(f"{name} of {commit[:9]}")
    files = {}
    for path, own in objects.tree(md5, name).items():
        objects.check(own, f"{name}/{path}")
        found = objects.had(own)
        assert found is not None  # noqa: S101 - it was just checked
        files[path] = found
    return files


def _until(facts: Mapping[str, Any]) -> dt.datetime | None:
    window = facts.get("window")
    if not isinstance(window, list) or len(window) != 2:  # noqa: PLR2004 - both ends
        return None
    moment = dt.datetime.fromisoformat(window[1])
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _rows(files: Mapping[str, Path], kinds: Mapping[str, str]) -> RowKeys | None:
    import polars as pl

    frames = []
    for name in _KNOWN:
        table = parquet.scan(files[name])
        columns = table.collect_schema().names()
        if not {ROW, *kinds} <= set(columns):
            return None
        about = [pl.col(ROW).cast(pl.UInt64)]
        if TIME in columns:
            about.append(pl.col(TIME).cast(pl.Datetime("us", "UTC")))
        frame = table.select(*about, *kinds).collect()
        frames.append(frame.select(*about, content_of(frame, kinds)))
    whole = pl.concat(frames)
    return RowKeys(whole["content"], whole[TIME] if TIME in whole.columns else None, whole[ROW])
