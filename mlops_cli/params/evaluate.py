"""Section ``evaluate``: metrics, slices and studies."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlops_cli.params.base import Names, Section

__all__ = ["Evaluate"]


class Evaluate(Section):
    """Evaluation on the test split."""

    metrics: Names = ()
    """Names of metrics; by default the task's default metrics."""
    weight: str | None = None
    """Column (feature or kept) with the weight of each test row."""
    resamples: Annotated[int, Field(ge=20, le=10_000)] = 400
    """Bootstrap resamples for the intervals."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    slices: Names = ()
    """Columns (features or kept) by whose values the metrics are broken down."""
    slice_rows: Annotated[int, Field(ge=2)] = 200
    """Minimum number of rows of a slice."""
    segments: Annotated[int, Field(ge=0, le=50)] = 5
    """Number of worst segments to search for, of up to two features; 0: none."""
    shap_rows: Annotated[int, Field(ge=0)] = 1000
    """Number of test rows, drawn at random, over which SHAP values are averaged; 0: none."""
    protected: Names = ()
    """Columns (features or kept) with groups between which fairness is measured."""
