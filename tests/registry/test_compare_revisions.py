"""The difference between two revisions, computed from their reports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlops_cli.registry.compare_revisions import MetricValue, PairedMetrics, RevisionFacts, compare


def figure(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def facts(name: str, **changed: object) -> RevisionFacts:
    """Facts of a revision whose model has roc_auc 0.7 and log_loss 0.5."""
    metrics = {"model": {"roc_auc": figure(0.7), "log_loss": figure(0.5)}}
    slices = {"origin": {"judged": [a_slice("EWR", 0.7), a_slice("JFK", 0.6)]}}
    return replace(
        RevisionFacts(
            name,
            params={"ingest": {"until": "2013-10-01"}, "tune": {"trials": 20}},
            metrics=metrics,
            evaluation={
                "metrics": ["roc_auc", "log_loss"],
                "confidence": 0.95,
                "rows": 100,
                "slices": slices,
            },
            features={"features": {"a": {}, "b": {}}, "rows": {"labelled": 500}},
            registration={"decision": "approved", "families": ["linear"], "bundle_sha256": name},
        ),
        **changed,
    )


def a_slice(value: str, roc_auc: float, rows: int = 50) -> dict[str, object]:
    return {
        "value": value,
        "rows": rows,
        "metrics": {"roc_auc": roc_auc},
        "interval": figure(roc_auc),
    }


def with_metrics(name: str, **values: dict[str, float]) -> RevisionFacts:
    return facts(name, metrics={"model": values})


@pytest.mark.parametrize(
    ("metric", "then", "now", "verdict", "overlap"),
    [
        ("roc_auc", 0.70, 0.71, "unclear", True),
        ("roc_auc", 0.70, 0.75, "better", False),
        ("roc_auc", 0.75, 0.70, "worse", False),
        ("log_loss", 0.50, 0.45, "better", False),
        ("log_loss", 0.50, 0.51, "unclear", True),
        ("log_loss", 0.50, 0.50, "same", True),
        ("somebodys_own", 0.50, 0.60, None, False),
    ],
)
def test_a_metric_is_better_in_its_own_direction(
    metric: str, then: float, now: float, verdict: str | None, overlap: bool
) -> None:
    found = compare(
        with_metrics("old", **{metric: figure(then)}), with_metrics("new", **{metric: figure(now)})
    )
    (change,) = found.metrics
    assert change.difference == pytest.approx(now - then)
    assert (change.verdict, change.overlap) == (verdict, overlap)


def test_a_metric_of_one_side_only_is_shown_without_a_verdict() -> None:
    new = with_metrics("new", roc_auc=figure(0.7), brier=figure(0.1))
    changes = {c.metric: c for c in compare(facts("old"), new).metrics}
    assert changes["brier"].old is None
    assert changes["log_loss"].new is None
    assert changes["brier"].verdict is None


def test_slices_that_got_worse_come_with_the_worst_first() -> None:
    judged = [a_slice("EWR", 0.67), a_slice("JFK", 0.5, rows=70), a_slice("LGA", 0.1)]
    new = facts("new")
    new.evaluation["slices"]["origin"]["judged"][:] = judged
    found = compare(facts("old"), new)
    assert found.slices == 2, "LGA was not judged before"
    assert [s.value for s in found.worse_slices] == ["JFK", "EWR"]
    assert found.worse_slices[0].rows == (50, 70)


def test_a_slice_whose_difference_may_be_chance_is_not_worse() -> None:
    new = facts("new")
    new.evaluation["slices"]["origin"]["judged"][:] = [a_slice("EWR", 0.69)]
    assert compare(facts("old"), new).worse_slices == ()


@pytest.mark.parametrize(
    ("metric", "ends", "verdict"),
    [
        ("roc_auc", (-0.001, 0.006), "unclear"),
        ("roc_auc", (0.001, 0.004), "better"),
        ("roc_auc", (-0.004, -0.001), "worse"),
        ("log_loss", (-0.004, -0.001), "better"),
    ],
)
def test_paired_differences_decide_where_intervals_overlap(
    metric: str, ends: tuple[float, float], verdict: str
) -> None:
    difference = MetricValue(sum(ends) / 2, *ends)
    found = compare(facts("old"), facts("new"), PairedMetrics(305, 305, {metric: difference}))
    change = next(c for c in found.metrics if c.metric == metric)
    assert (change.verdict, change.difference) == (verdict, round(difference.value, 6))
    assert found.notes == ("differences are of both models on the same 305 test rows: paired",)


def test_rows_of_one_test_split_only_are_said_to_be_left_out() -> None:
    notes = compare(facts("old"), facts("new"), PairedMetrics(200, 305, {})).notes
    assert "of up to 305 rows those are left out" in notes[1]


def test_why_models_cannot_be_paired_is_a_note() -> None:
    assert "no model there" in compare(facts("old"), facts("new"), "no model there").notes


def test_intervals_of_slices_by_different_metrics_are_not_compared() -> None:
    new = facts("new")
    new.evaluation["metrics"].reverse()
    for entry in new.evaluation["slices"]["origin"]["judged"]:
        entry["metrics"]["log_loss"] = 0.9
    old = facts("old")
    for entry in old.evaluation["slices"]["origin"]["judged"]:
        entry["metrics"]["log_loss"] = 0.5
    found = compare(old, new)
    assert [s.change.overlap for s in found.worse_slices] == [None, None]
    assert found.worse_slices[0].change.difference == pytest.approx(0.4)


def test_parameters_are_compared_by_dotted_key() -> None:
    new = facts(
        "new",
        params={"ingest": {"until": "2013-11-01"}, "tune": {"trials": 20, "families": ["a"]}},
    )
    changes = {c.name: (c.kind, c.old, c.new) for c in compare(facts("old"), new).params}
    assert changes == {
        "ingest.until": ("changed", "2013-10-01", "2013-11-01"),
        "tune.families": ("added", None, ["a"]),
    }


def test_a_value_of_another_type_is_a_change() -> None:
    old, new = facts("old", params={"a": 1}), facts("new", params={"a": True})
    assert [c.name for c in compare(old, new).params] == ["a"]


def test_data_features_and_families_are_told() -> None:
    new = facts(
        "new",
        params={"ingest": {"until": "2013-11-01"}, "tune": {"trials": 20}},
        features={"features": {"b": {}, "c": {}}, "rows": {"labelled": 700}},
        registration={"decision": "rejected", "families": ["forest"], "bundle_sha256": "new"},
    )
    found = compare(facts("old"), new)
    assert (found.features_added, found.features_removed) == (("c",), ("a",))
    assert {c.name: c.new for c in found.data} == {
        "data clock": "2013-11-01",
        "labelled rows": 700,
    }
    assert {c.name: c.new for c in found.result} == {
        "decision": "rejected",
        "families": ["forest"],
    }


def test_the_same_bundle_is_called_the_same_model() -> None:
    assert compare(facts("one"), replace(facts("one"), name="two")).same_model
    assert not compare(facts("one"), facts("two")).same_model


def test_notes_say_that_intervals_are_unpaired_and_test_rows_differ() -> None:
    new = facts("new")
    assert "unpaired" in " ".join(compare(facts("old"), new).notes)
    assert "different rows" not in " ".join(compare(facts("old"), new).notes)
    new.evaluation["rows"] = 101  # type: ignore[index]
    assert "different rows" in " ".join(compare(facts("old"), new).notes)


def test_a_revision_without_reports_leaves_the_other_to_speak() -> None:
    found = compare(RevisionFacts("old"), facts("new"))
    assert {m.metric: m.old for m in found.metrics} == {"roc_auc": None, "log_loss": None}
    assert found.notes == ("old has no reports, so there is nothing to compare with",)
