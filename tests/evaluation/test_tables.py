"""Tables of an evaluation on the terminal."""

from __future__ import annotations

from typing import Any

from mlops_cli.evaluation.tables import evaluation_tables
from mlops_cli.reporting import figure_text

FIGURES = {
    "model": {"roc_auc": {"value": 0.81, "low": 0.8, "high": 0.82}},
    "constant": {"roc_auc": {"value": 0.5, "low": 0.5, "high": 0.5}},
}


def report(**more: Any) -> dict[str, Any]:
    found = {"worst_slice": None, "worst_segments": {"loss": "log loss", "found": []}}
    return {"metrics": ["roc_auc", "f1"], "fairness": {}, **found, **more}


def test_a_figure_that_is_not_defined_is_a_dash() -> None:
    assert figure_text(None) == "-"
    assert figure_text(None, "") == ""
    assert figure_text({"value": 12345.678, "low": -0.00001234, "high": 1e9}) == (
        "1.235e+04 [-1.234e-05, 1e+09]"
    )
    (metrics,) = evaluation_tables(FIGURES, report())
    assert metrics.columns == ("metric", "model", "constant")
    assert metrics.rows == (
        ("roc_auc", "0.81 [0.8, 0.82]", "0.5 [0.5, 0.5]"),
        ("f1", "-", "-"),
    )


def test_each_result_has_its_own_table() -> None:
    worst = {"column": "town", "value": "b", "rows": 40, "figure": 0.6}
    segment = {"where": {"town": "b", "hour": "9 to 12"}, "rows": 12, "metrics": {}, "loss": 0.7}
    gap = {"true_positive_rate": {"value": 0.1, "low": 0.05, "high": 0.2}}
    _, slices, segments, gaps = evaluation_tables(
        FIGURES,
        report(
            worst_slice=worst,
            worst_segments={"loss": "log loss", "found": [segment]},
            fairness={"sex": {"gaps": gap}},
        ),
    )
    assert slices.rows == (("town", "b", 40, 0.6),)
    assert slices.columns[-1] == "roc_auc"
    assert segments.rows == (("town = b and hour = 9 to 12", 12, "-", 0.7),)
    assert segments.columns[-1] == "mean log loss"
    assert gaps.rows == (("sex", "true positive rate", "0.1 [0.05, 0.2]"),)
