"""Parser of the event log: features as columns, model outputs as arrays, labels as numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring.window import NO_LABEL

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.models.labels import LabelCodec
    from mlops_cli.monitoring.baseline import Baseline

__all__ = ["Parser"]


@dataclass
class Parser:
    """Parses the logged predictions of one version, and their labels.

    Attributes
    ----------
    baseline
        The version's baseline.
    unreadable_rows
        Number of predictions that don't have this version's features or task.
    """

    baseline: Baseline
    unreadable_rows: int = 0
    _class_codes: dict[str, float] = field(default_factory=dict)

    def parse_predictions(
        self, page: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, NDArray[np.float64]]:
        """Parse a page's readable rows: their log columns, features and outputs."""
        import numpy as np
        import polars as pl

        loads = _json_loads()
        width = len(self.baseline.kinds)
        keep, rows, outputs = [], [], []
        texts = zip(page["features"].to_list(), page["output"].to_list(), strict=True)
        for number, (features, output) in enumerate(texts):
            row, prediction = loads(features), self._parse_output(loads(output))
            if len(row) == width and prediction is not None:
                keep.append(number)
                rows.append(row)
                outputs.append(prediction)
        self.unreadable_rows += len(page) - len(keep)
        columns = zip(*rows, strict=True) if rows else [()] * width
        frame = pl.DataFrame(
            [
                _make_series(name, kind, values)
                for (name, kind), values in zip(self.baseline.kinds.items(), columns, strict=True)
            ]
        )
        return page[keep], frame, np.array(outputs, dtype=np.float64)

    def parse_labels(self, values: Sequence[str]) -> list[float]:
        """Parse labels in JSON to class codes or numbers; NaN for labels the model doesn't have."""
        return [self._parse_label(text) for text in values]

    def _parse_output(self, content: Any) -> Any:
        if not isinstance(content, dict):
            return None
        classes = self.baseline.labels.classes
        if not classes:
            value = content.get("prediction")
            return value if isinstance(value, int | float) else None
        probabilities = content.get("probabilities")
        if not isinstance(probabilities, dict) or len(probabilities) != len(classes):
            return None
        return list(probabilities.values())

    def _parse_label(self, text: str) -> float:
        if not self._class_codes and self.baseline.labels.classes:
            self._class_codes = _encode_classes(self.baseline.labels)
        try:
            if self._class_codes:
                return self._class_codes[text]
            return float(json.loads(text))
        except (KeyError, TypeError, ValueError):
            return NO_LABEL


def _encode_classes(labels: LabelCodec) -> dict[str, float]:
    # Writers of labels escape non-ASCII text or leave it; both are accepted.
    return {
        json.dumps(label, ensure_ascii=ensure_ascii): float(code)
        for code, label in enumerate(labels.classes)
        for ensure_ascii in (True, False)
    }


def _make_series(name: str, kind: str, values: Sequence[Any]) -> pl.Series:
    """Build a column of its kind; of text if a value doesn't fit, so that drift reports it."""
    import polars as pl

    dtype = {"number": pl.Float64(), "boolean": pl.Boolean()}.get(kind, pl.String())
    try:
        return pl.Series(name, values, dtype=dtype)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String())


def _json_loads() -> Any:
    """JSON parser: orjson, three times as fast, if serving is installed."""
    try:
        from orjson import loads
    except ModuleNotFoundError:
        return json.loads
    return loads
