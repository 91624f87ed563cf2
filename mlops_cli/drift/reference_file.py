"""File of a model's reference profiles: ``profile.json`` in its bundle, written by register."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data.atomic_files import read_json
from mlops_cli.drift.reference import Reference, output_frame
from mlops_cli.errors import NotFound
from mlops_cli.layout import TARGET, TIME
from mlops_cli.splitting.reader import read_split

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.models.bundle import Bundle

__all__ = ["PROFILE", "make_reference", "read_reference", "reference_text"]

PROFILE = "profile.json"


def make_reference(bundle: Bundle, layout: Layout, seed: int) -> Reference:
    """Profile the rows that a bundle was fitted on, and its predictions on the test split.

    Parameters
    ----------
    layout
        Where the splits are.
    seed
        Seed of the samples of rows.

    Raises
    ------
    NotFound
        If a split is missing.
    DataRefused
        If a split lacks a feature.
    """
    kinds = dict(bundle.encoder.kinds)
    fitted = pl.concat([read_split(layout, name, kinds) for name in ("train", "validation")])
    if TIME in fitted.columns:
        # The profile holds the design effect of consecutive rows, so their order matters.
        fitted = fitted.sort(TIME, maintain_order=True)
    test = read_split(layout, "test", kinds)
    outputs = output_frame(bundle.predict(test), bundle.labels.classes)
    return Reference.from_rows(fitted, kinds, fitted[TARGET], outputs, bundle.task, seed=seed)


def reference_text(reference: Reference) -> str:
    """Text of the file; compact, because nobody reads a sample of codes."""
    return json.dumps(reference.to_json(), ensure_ascii=False, allow_nan=False) + "\n"


def read_reference(folder: Path) -> Reference:
    """Read the reference profiles in a bundle's folder.

    Raises
    ------
    NotFound
        If there is no file, because the bundle was made before there were profiles.
    """
    if (folder / "bundle.json").is_file() and not (folder / PROFILE).is_file():
        raise NotFound(
            f"{folder} has no reference profile ({PROFILE}): it was made by an older mlops-cli",
            "Register the model again with `mlops register`, or monitor a newer version.",
        )
    return Reference.from_json(read_json(folder / PROFILE))
