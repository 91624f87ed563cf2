"""Loads a bundle's metadata (not its model) for monitoring."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import read_json
from mlops_cli.drift.reference_file import read_reference
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.metrics.costs import cost_matrix
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.labels import LabelCodec
from mlops_cli.monitoring.baseline import Baseline, monitored_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.params import Params

__all__ = ["load_baseline"]


def load_baseline(folder: Path, params: Params) -> Baseline:
    """Load the baseline from a verified bundle (``select_model`` and ``bundle.load`` verify).

    Raises
    ------
    NotFound
        If the bundle was never evaluated.
    DataRefused
        If its evaluation names no metrics.
    BadParams
        If ``monitor.metric`` isn't a metric of the task.
    """
    description = read_json(folder / "bundle.json")
    labels = LabelCodec.from_json(description["labels"])
    # A bundle that is older than reference profiles is evaluated by labels only.
    reference = None
    with contextlib.suppress(NotFound):
        reference = read_reference(folder)
    evaluation = read_json(folder / "evaluation.json")
    if "metrics" not in evaluation:
        raise DataRefused(
            f"{folder / 'evaluation.json'} names no metrics", "Evaluate the model: mlops run."
        )
    costs = cost_matrix(params.task, labels.classes)
    return Baseline(
        labels,
        Encoder.from_json(read_json(folder / "encoder.json")).kinds,
        monitored_metrics(evaluation, labels.type, params.monitor.metric, costs),
        read_json(folder / "metrics.json"),
        evaluation,
        reference=reference,
        threshold=description["threshold"],
        trained_until=_read_data_clock(read_json(folder / "lineage.json")),
    )


def _read_data_clock(lineage: dict[str, Any]) -> dt.datetime | None:
    text = lineage.get("clock")
    if not text:
        return None
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
