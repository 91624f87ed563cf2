"""Why a row is predicted as it is: its features, and what each adds to the score."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.errors import DataRefused, NotFound, Usage
from mlops_cli.evaluation.shap import Contributions, contributions
from mlops_cli.layout import ROW, SPLITS
from mlops_cli.models import bundle as bundles
from mlops_cli.registry.champion import champion_features
from mlops_cli.registry.select_version import select_model
from mlops_cli.serving.batch.predict import BatchRequest, choose_scoring
from mlops_cli.serving.batch.scoring import FeatureScoring, Scoring
from mlops_cli.serving.row_files import RowFiles, TextOptions, find_files, open_row_file
from mlops_cli.serving.scorer import RequestScorer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.registry.select_version import SelectedModel
    from mlops_cli.reporting import Progress
    from mlops_cli.serving.row_files import RowBatch

    Floats = npt.NDArray[np.float64]

__all__ = ["MOST_ROWS", "ExplainedRow", "Explanation", "explain_file", "explain_row"]

MOST_ROWS = 1000
"""A file of more rows is not explained: `mlops predict --explain` is for those."""
ORDERS = 16
"""Where contributions are sampled: so many random orders, each both ways."""


@dataclass(frozen=True)
class ExplainedRow:
    """One row.

    Attributes
    ----------
    row
        Its number: in the base source, or in the file.
    prediction
        The value, or the most probable class.
    decision
        Of two classes, the one by the threshold; None for other tasks.
    threshold
        What the positive class's probability has to reach for it to be the decision.
    probability
        Of the class that is explained; None for a value.
    explained
        The class whose score is explained: the positive one, or the predicted one of several.
    base, raw
        The score that no feature adds to, and with all contributions added.
    contributions
        Feature, its value, and what it adds; the most first.
    """

    row: int
    prediction: Any
    decision: Any
    threshold: float | None
    probability: float | None
    explained: Any
    base: float
    raw: float
    contributions: list[tuple[str, Any, float]]


@dataclass(frozen=True)
class Explanation:
    """Rows of one version; ``method`` and ``scale`` are those of ``evaluation.shap``."""

    version: str
    method: str
    scale: str
    rows: list[ExplainedRow]


def explain_row(
    params: Params, layout: Layout, wanted: str, row: int, progress: Progress
) -> Explanation:
    """Explain a row of the base source that is in one of the splits.

    Parameters
    ----------
    wanted
        A version, a stage, or ``workspace``.
    row
        Its number in the validated base source, from 0.

    Raises
    ------
    NotFound
        If there is no such row or version.
    """
    import polars as pl

    choice = select_model(params, layout, wanted, progress)
    bundle = bundles.load(choice.folder)
    parts = [
        parquet.scan(layout.split(name)).filter(pl.col(ROW) == row).collect() for name in SPLITS
    ]
    frame = next((part for part in parts if part.height), None)
    if frame is None:
        raise NotFound(
            f"row {row} of {params.featurize.base} is in no split",
            "Rows without a label, and those in a gap of the split, are in none; put the raw row "
            "into a file and explain that.",
        )
    frame = champion_features(bundle, bundles.load(layout.fitted), frame, layout)
    return _explained(choice, bundle, bundle.encoder.transform(frame), [row], params.project.seed)


def explain_file(
    params: Params,
    layout: Layout,
    wanted: str,
    file: Path,
    progress: Progress,
    *,
    features: bool = False,
) -> Explanation:
    """Explain every row of a file of raw columns, or of features.

    Raises
    ------
    Usage
        If the file has more than ``MOST_ROWS`` rows.
    NotFound
        If there is no such file or version, or nothing for joins and windows to look into.
    DataRefused
        If a row can't be scored.
    """
    (path,) = find_files(str(file))
    choice = select_model(params, layout, wanted, progress)
    bundle, text = bundles.load(choice.folder), TextOptions()
    scoring: Scoring
    if features:
        scoring = FeatureScoring(bundle)
    else:
        scorer = RequestScorer.open(choice.folder, layout.root, policies=params.serve.columns)
        text = TextOptions.of(params.ingest.sources.get(scorer.program.rules.base))
        batch = BatchRequest(str(file), layout.work / "explain", wanted)
        scoring, _ = choose_scoring(batch, scorer, layout)
    frame, index = _rows(path, text, scoring)
    matrix, _ = scoring.score(frame)
    return _explained(choice, bundle, matrix, index, params.project.seed)


def _rows(path: Path, text: TextOptions, scoring: Scoring) -> tuple[pl.DataFrame, list[int]]:
    """A file's rows as the model's inputs, and their numbers."""
    import polars as pl

    frames, index, before = [], [], 0
    for part in _parts(path, text, scoring):
        read = scoring.read(part.frame)
        wrong = [(part.index[e.row or 0], f"{e.column}: {e.message}") for e in read.errors]
        wrong += [(broken.row, broken.reason) for broken in part.broken]
        if wrong:
            place, reason = min(wrong)
            raise DataRefused(
                f"row {before + place} of {path} can't be scored: {reason}",
                "Correct the row, or take it out.",
            )
        frames.append(read.frame)
        index += [before + part.index[i] for i in read.index]
        before += part.rows
    if not frames:
        raise DataRefused(f"{path} has no rows", "Give at least one.")
    return pl.concat(frames), index


def _parts(path: Path, text: TextOptions, scoring: Scoring) -> list[RowBatch]:
    """The file's rows as they are, of the columns that the model reads."""
    file = open_row_file(path, text)
    for column in scoring.inputs.needed:
        if column not in file.schema:
            raise DataRefused(
                f"{path} has no column {column!r}, which the model needs",
                "Give the raw columns of the base source, or the features with --features.",
            )
    columns = dict.fromkeys((*scoring.inputs.needed, *scoring.inputs.optional))
    rows = RowFiles([file], list(columns))
    parts = rows.take(MOST_ROWS + 1)
    rows.close()
    if sum(part.rows for part in parts) > MOST_ROWS:
        raise Usage(
            f"{path} has more than {MOST_ROWS:,} rows",
            "Use `mlops predict FILE --explain N`, which is made for many rows.",
        )
    return parts


def _explained(
    choice: SelectedModel, bundle: Bundle, matrix: Floats, index: list[int], seed: int
) -> Explanation:
    found = contributions(bundle, matrix, orders=ORDERS, seed=seed)
    output = bundle.predict_matrix(matrix)
    rows = [_one(bundle, matrix[i], output[i], found, i, row) for i, row in enumerate(index)]
    return Explanation(choice.number, found.method, found.scale, rows)


def _one(
    bundle: Bundle, given: Floats, output: Any, found: Contributions, i: int, row: int
) -> ExplainedRow:
    classes = bundle.labels.classes
    chosen = 0 if found.values.shape[1] == 1 else int(output.argmax())
    adds = found.values[i, chosen]
    listed = [
        (name, _value(bundle, name, given[start]), float(adds[j]))
        for j, (name, start) in enumerate(
            zip(bundle.encoder.kinds, bundle.encoder.starts, strict=True)
        )
    ]
    listed.sort(key=lambda entry: -abs(entry[2]))
    base, raw = float(found.base[chosen]), float(found.raw[i, chosen])
    if not classes:
        return ExplainedRow(row, float(output), None, None, None, None, base, raw, listed)
    code = int(output.argmax())
    explained, decision = code, None
    if len(classes) == 2:  # noqa: PLR2004
        explained = 1
        if bundle.threshold is not None:
            decision = classes[bundle.decide(output[None])[0]]
    probability = float(output[explained])
    threshold = None if decision is None else bundle.threshold
    return ExplainedRow(
        row,
        classes[code],
        decision,
        threshold,
        probability,
        classes[explained],
        base,
        raw,
        listed,
    )


def _value(bundle: Bundle, name: str, value: float) -> Any:
    """A feature's value as it was before encoding."""
    if isnan(value):
        return None
    kind = bundle.encoder.kinds[name]
    if kind == "text":
        return "(text)"
    if kind == "category":
        known = bundle.encoder.categories[name]
        return known[int(value)] if value < len(known) else "(rare)"
    return bool(value) if kind == "boolean" else float(value)
