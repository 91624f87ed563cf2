"""Explanations of single predictions: the features of a row and their contributions (SHAP)."""

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

__all__ = ["MAX_ROWS", "ExplainedRow", "Explanation", "explain_file", "explain_row"]

MAX_ROWS = 1000
"""Limit of rows in a file; `mlops predict --explain` explains more."""
ORDERS = 16
"""Random feature orders where contributions are sampled; each is used in both directions."""


@dataclass(frozen=True)
class ExplainedRow:
    """The explanation of one row's prediction.

    Attributes
    ----------
    row
        The row's number in the base source, or in the file.
    prediction
        The predicted value, or the most probable class.
    decision
        The class by the threshold, for two classes; None for other tasks.
    threshold
        The least probability of the positive class for which it is the decision.
    probability
        Probability of the explained class; None for regression.
    explained
        The class whose score is explained: the positive one of two, or the predicted one of
        several.
    base, raw
        The score without any contribution, and with all contributions.
    contributions
        Feature, its value, and its contribution to the score; the largest contributions first.
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
    """Explained rows; ``method`` and ``scale`` are described in ``evaluation.shap``."""

    version: str
    method: str
    scale: str
    rows: list[ExplainedRow]


def explain_row(
    params: Params, layout: Layout, version: str, row: int, progress: Progress
) -> Explanation:
    """Explain the prediction of a train, validation or test row.

    Parameters
    ----------
    version
        A version, a stage, or ``workspace``.
    row
        The row's number in the validated base source, from 0.

    Raises
    ------
    NotFound
        If the version doesn't exist, or the row is in no split.
    """
    import polars as pl

    choice = select_model(params, layout, version, progress)
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
    return _explain_matrix(
        choice, bundle, bundle.encoder.transform(frame), [row], params.project.seed
    )


def explain_file(
    params: Params,
    layout: Layout,
    version: str,
    file: Path,
    progress: Progress,
    *,
    features: bool = False,
) -> Explanation:
    """Explain the predictions of all rows of a file.

    Parameters
    ----------
    version
        A version, a stage, or ``workspace``.
    features
        The file holds the features, not the raw columns of the base source.

    Raises
    ------
    Usage
        If the file has more than ``MAX_ROWS`` rows.
    NotFound
        If the file or the version doesn't exist, or joins and windows have neither validated
        tables nor an online store.
    DataRefused
        If a row can't be scored.
    """
    (path,) = find_files(str(file))
    choice = select_model(params, layout, version, progress)
    bundle, text = bundles.load(choice.folder), TextOptions()
    scoring: Scoring
    if features:
        scoring = FeatureScoring(bundle)
    else:
        scorer = RequestScorer.open(choice.folder, layout.root, policies=params.serve.columns)
        text = TextOptions.from_source(params.ingest.sources.get(scorer.program.rules.base))
        batch = BatchRequest(str(file), layout.work / "explain", version)
        scoring, _ = choose_scoring(batch, scorer, layout)
    frame, index = _read_rows(path, text, scoring)
    matrix, _ = scoring.score(frame)
    return _explain_matrix(choice, bundle, matrix, index, params.project.seed)


def _read_rows(path: Path, text: TextOptions, scoring: Scoring) -> tuple[pl.DataFrame, list[int]]:
    """Read and parse a file's rows; return them with their row numbers."""
    import polars as pl

    frames, index, before = [], [], 0
    for batch in _read_batches(path, text, scoring):
        read = scoring.read(batch.frame)
        problems = [(batch.index[e.row or 0], f"{e.column}: {e.message}") for e in read.errors]
        problems += [(broken.row, broken.reason) for broken in batch.broken]
        if problems:
            position, reason = min(problems)
            raise DataRefused(
                f"row {before + position} of {path} can't be scored: {reason}",
                "Correct the row, or take it out.",
            )
        frames.append(read.frame)
        index += [before + batch.index[i] for i in read.index]
        before += batch.rows
    if not frames:
        raise DataRefused(f"{path} has no rows", "Give at least one.")
    return pl.concat(frames), index


def _read_batches(path: Path, text: TextOptions, scoring: Scoring) -> list[RowBatch]:
    """Read the columns of a file that the model needs, unparsed."""
    file = open_row_file(path, text)
    for column in scoring.inputs.required:
        if column not in file.schema:
            raise DataRefused(
                f"{path} has no column {column!r}, which the model needs",
                "Give the raw columns of the base source, or the features with --features.",
            )
    columns = dict.fromkeys((*scoring.inputs.required, *scoring.inputs.optional))
    rows = RowFiles([file], list(columns))
    batches = rows.read_batches(MAX_ROWS + 1)
    rows.close()
    if sum(batch.rows for batch in batches) > MAX_ROWS:
        raise Usage(
            f"{path} has more than {MAX_ROWS:,} rows",
            "Use `mlops predict FILE --explain N`, which is made for many rows.",
        )
    return batches


def _explain_matrix(
    choice: SelectedModel, bundle: Bundle, matrix: Floats, index: list[int], seed: int
) -> Explanation:
    shap = contributions(bundle, matrix, orders=ORDERS, seed=seed)
    output = bundle.predict_matrix(matrix)
    rows = [
        _explain_matrix_row(bundle, matrix[i], output[i], shap, i, row)
        for i, row in enumerate(index)
    ]
    return Explanation(choice.number, shap.method, shap.scale, rows)


def _explain_matrix_row(
    bundle: Bundle, inputs: Floats, output: Any, shap: Contributions, i: int, row: int
) -> ExplainedRow:
    classes = bundle.labels.classes
    output_index = 0 if shap.values.shape[1] == 1 else int(output.argmax())
    values = shap.values[i, output_index]
    listed = [
        (name, _decoded_value(bundle, name, inputs[start]), float(values[j]))
        for j, (name, start) in enumerate(
            zip(bundle.encoder.kinds, bundle.encoder.first_columns, strict=True)
        )
    ]
    listed.sort(key=lambda entry: -abs(entry[2]))
    base, raw = float(shap.base[output_index]), float(shap.raw_scores[i, output_index])
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


def _decoded_value(bundle: Bundle, name: str, value: float) -> Any:
    """A feature's value before encoding."""
    if isnan(value):
        return None
    kind = bundle.encoder.kinds[name]
    if kind == "text":
        return "(text)"
    if kind == "category":
        categories = bundle.encoder.categories[name]
        return categories[int(value)] if value < len(categories) else "(rare)"
    return bool(value) if kind == "boolean" else float(value)
