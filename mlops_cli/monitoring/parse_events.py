"""Rows of the event log as columns: features by name, outputs as the model gave them, labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring.window import UNKNOWN

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.models.labels import LabelCodec
    from mlops_cli.monitoring.baseline import Baseline

__all__ = ["Parser"]


@dataclass
class Parser:
    """Reads what one version has logged.

    Attributes
    ----------
    unread
        Predictions that aren't of this version's signature or task.
    """

    basis: Baseline
    unread: int = 0
    _codes: dict[str, float] = field(default_factory=dict)

    def predictions(
        self, page: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, NDArray[np.float64]]:
        """Rows that can be read: what is kept about them, their features, and their output."""
        import numpy as np
        import polars as pl

        loads = _loads()
        width = len(self.basis.kinds)
        keep, rows, outputs = [], [], []
        texts = zip(page["features"].to_list(), page["output"].to_list(), strict=True)
        for number, (features, output) in enumerate(texts):
            row, answer = loads(features), self._output(loads(output))
            if len(row) == width and answer is not None:
                keep.append(number)
                rows.append(row)
                outputs.append(answer)
        self.unread += len(page) - len(keep)
        columns = zip(*rows, strict=True) if rows else [()] * width
        frame = pl.DataFrame(
            [
                _series(name, kind, values)
                for (name, kind), values in zip(self.basis.kinds.items(), columns, strict=True)
            ]
        )
        return page[keep], frame, np.array(outputs, dtype=np.float64)

    def labels(self, values: Sequence[str]) -> list[float]:
        """Labels in JSON as class codes or numbers; NaN for what is none of the model's."""
        return [self._label(text) for text in values]

    def _output(self, answer: Any) -> Any:
        if not isinstance(answer, dict):
            return None
        classes = self.basis.labels.classes
        if not classes:
            value = answer.get("prediction")
            return value if isinstance(value, int | float) else None
        shares = answer.get("probabilities")
        if not isinstance(shares, dict) or len(shares) != len(classes):
            return None
        return list(shares.values())

    def _label(self, text: str) -> float:
        if not self._codes and self.basis.labels.classes:
            self._codes = _codes(self.basis.labels)
        try:
            if self._codes:
                return self._codes[text]
            return float(json.loads(text))
        except (KeyError, TypeError, ValueError):
            return UNKNOWN


def _codes(labels: LabelCodec) -> dict[str, float]:
    # As whoever wrote them may have spaced and escaped them.
    return {
        json.dumps(label, ensure_ascii=ascii_): float(code)
        for code, label in enumerate(labels.classes)
        for ascii_ in (True, False)
    }


def _series(name: str, kind: str, values: Sequence[Any]) -> pl.Series:
    """A column of its kind; of text, where a value isn't, so that drift can say so."""
    import polars as pl

    dtype = {"number": pl.Float64(), "boolean": pl.Boolean()}.get(kind, pl.String())
    try:
        return pl.Series(name, values, dtype=dtype)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if v is None else str(v) for v in values], dtype=pl.String())


def _loads() -> Any:
    """Three times as fast where serving is installed."""
    try:
        from orjson import loads
    except ModuleNotFoundError:
        return json.loads
    return loads
