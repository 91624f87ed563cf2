"""Reference profiles of a model: its inputs, predictions and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.drift.profile import Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LABEL", "Reference", "label_frame", "output_frame"]

LABEL = "label"
_NUMBER, _CATEGORY = "number", "category"


@dataclass(frozen=True)
class Reference:
    """Profiles that a window is compared with.

    Parameters
    ----------
    inputs
        Features of the rows that the model was fitted on.
    outputs
        Predictions on the test split, which the model hadn't seen.
    labels
        Target of the rows that the model was fitted on.
    """

    inputs: Profile
    outputs: Profile
    labels: Profile

    @classmethod
    def from_rows(
        cls,
        fitted_rows: pl.DataFrame,
        kinds: Mapping[str, str],
        target: pl.Series,
        outputs: pl.DataFrame,
        task: str,
        *,
        seed: int = 0,
    ) -> Reference:
        """Profile a model's rows, predictions and labels.

        Parameters
        ----------
        fitted_rows
            The rows that the model was fitted on, in order of time if they have one.
        kinds
            Feature -> number, boolean or category.
        target
            Labels of the fitted rows.
        outputs
            Predictions on other rows, from ``output_frame``.
        task
            binary, multiclass or regression.
        seed
            Seed of the samples of rows.
        """
        output_kinds = {
            c: _NUMBER if t.is_numeric() else _CATEGORY for c, t in outputs.schema.items()
        }
        labels = label_frame(target, task)
        return cls(
            Profile.fit(fitted_rows, kinds, seed=seed),
            Profile.fit(outputs, output_kinds, seed=seed),
            Profile.fit(labels, {LABEL: _NUMBER if task == "regression" else _CATEGORY}, seed=seed),
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "inputs": self.inputs.to_json(),
            "outputs": self.outputs.to_json(),
            "labels": self.labels.to_json(),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Reference:
        """Restore from the result of ``to_json``."""
        return cls(*(Profile.from_json(tree[part]) for part in ("inputs", "outputs", "labels")))


def output_frame(output: npt.NDArray[np.float64], classes: Sequence[Any]) -> pl.DataFrame:
    """Predictions as columns to profile.

    Parameters
    ----------
    output
        Result of ``Bundle.predict``: probabilities (rows, classes), or values (rows,).
    classes
        The classes in order.

    Returns
    -------
    polars.DataFrame
        ``probability`` of the positive class where there are two; of several, ``prediction`` (the
        most probable, as text) and ``confidence`` (its probability); of values, ``prediction``.
    """
    if output.ndim == 1:
        return pl.DataFrame({"prediction": output})
    if len(classes) == 2:  # noqa: PLR2004 - yes and no
        return pl.DataFrame({"probability": output[:, 1]})
    best = output.argmax(axis=1)
    names = pl.Series([str(c) for c in classes], dtype=pl.String)
    return pl.DataFrame({"prediction": names.gather(best), "confidence": output.max(axis=1)})


def label_frame(labels: pl.Series, task: str) -> pl.DataFrame:
    """Labels as the column ``label`` to profile: a number in regression, else text."""
    dtype = pl.Float64 if task == "regression" else pl.String
    return pl.DataFrame({LABEL: labels.cast(dtype)})
