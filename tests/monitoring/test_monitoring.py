"""Evaluation of a window by its predictions and labels."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from mlops_cli.drift.reference import Reference, output_frame
from mlops_cli.evaluation.performance_estimation import validate_estimates
from mlops_cli.evaluation.reliability import reliability_curves
from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.catalog import default_metrics, lookup
from mlops_cli.models.labels import LabelCodec
from mlops_cli.monitoring.baseline import Baseline, monitored_metrics
from mlops_cli.monitoring.evaluate_window import evaluate_window
from mlops_cli.monitoring.label_coverage import measure_coverage
from mlops_cli.monitoring.window import Window
from mlops_cli.params.monitor import Monitor

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
CLASSES = {"binary": (False, True), "multiclass": ("a", "b", "c"), "regression": ()}
RULES = Monitor(joint=False, min_rows=100, min_labels=100, slices=("site",))


def rows(task, n, seed, *, strength=1.0, shift=0.0, sites="ns"):
    """Features, output and labels; ``strength`` is how much the label still obeys the output."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, n)
    features = pl.DataFrame(
        {"x": x, "noise": rng.normal(0, 1, n), "site": rng.choice(list(sites), n)}
    )
    if task == "regression":
        return features, 3 * x, pl.Series(3 * strength * x + rng.normal(0, 1, n))
    slopes = np.arange(len(CLASSES[task])) * 1.5

    def shares(by):
        e = np.exp(np.outer(x * by, slopes))
        return e / e.sum(axis=1, keepdims=True)

    codes = (rng.random((n, 1)) > shares(strength).cumsum(axis=1)).sum(axis=1)
    return features, shares(1.0), pl.Series([CLASSES[task][c] for c in codes])


def times(n, start=START):
    return pl.Series([start + dt.timedelta(minutes=10 * i) for i in range(n)])


def basis(task, *, reference=True, n=4000):
    """A model that was evaluated on rows of the same kind."""
    features, output, truth = rows(task, n, 5)
    labels = LabelCodec(task, CLASSES[task])
    metrics = [lookup(name, task) for name in default_metrics(task)]
    y, names = labels.encode(truth), [str(c) for c in labels.classes]
    constant = np.full_like(output, output.mean(axis=0) if task != "regression" else y.mean())
    found = compare(metrics, y, {"model": output, "constant": constant}, Bootstrap(60, 0.95, 0))
    curves = reliability_curves(y, output, names)
    evaluation = {
        "metrics": [m.name for m in metrics],
        "confidence": 0.95,
        "rows": n,
        "window": {
            "first": times(n)[0].isoformat(),
            "last": times(n)[-1].isoformat(),
        },
        "reliability": curves,
        "estimates": {
            name: proof.to_json()
            for name, proof in validate_estimates(metrics, y, output, curves, seed=0).items()
        },
        "slices": {
            "site": {
                "judged": [
                    {"value": value, "interval": found.figures["model"][metrics[0].name].to_json()}
                    for value in ("n", "s")
                ]
            }
        },
    }
    kinds = {"x": "number", "noise": "number", "site": "category"}
    profile = None
    if reference:
        profile = Reference.from_rows(
            features, kinds, truth, output_frame(output, labels.classes), task
        )
    return Baseline(
        labels,
        kinds,
        monitored_metrics(evaluation, task),
        {name: {k: v.to_json() for k, v in of.items()} for name, of in found.figures.items()},
        evaluation,
        reference=profile,
        trained_until=times(n)[-1],
    )


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def known(task):
    return basis(task)


def window(known, task, n=3000, *, labelled=True, seed=2, **how):
    features, output, truth = rows(task, n, seed, **how)
    start = START + dt.timedelta(days=28)
    labels = truth if labelled is True else labelled and pl.Series(labelled(truth))
    return Window.from_frames(known, times(n, start), features, output, labels or None
                              if labels is False else labels, slices=["site"])  # fmt: skip


def kinds(judgement, means):
    return {f.kind for f in judgement.findings if f.severity == means}


def test_a_window_like_the_evaluation_is_well(task, known):
    found = evaluate_window(window(known, task), known, RULES)
    assert found.problems == (), [f.sentence for f in found.findings]
    metric = known.metrics[0].name
    told = found.results["performance"]
    assert told["judged"]
    assert told["figures"][metric]["loss"]["degraded"] is False
    assert {e["value"] for e in told["slices"]["site"]} == {"n", "s"}
    estimate = found.results["estimate"]
    assert abs(estimate["check"]["error"]) < 0.1
    assert found.results["over_time"]["metric"] == metric
    assert sum(part["rows"] for part in found.results["over_time"]["parts"]) == 3000


def test_a_label_that_no_longer_obeys_is_degraded_by_metric_and_slice(task, known):
    found = evaluate_window(window(known, task, strength=0.2), known, RULES)
    assert "degraded" in found.problems
    assert {"performance", "slice"} <= kinds(found, "degraded")
    loss = found.results["performance"]["figures"][known.metrics[0].name]["loss"]
    assert loss["value"] > loss["least"] > loss["allowed"]
    if task != "regression":
        assert found.results["calibration"]["off"]
        assert "calibration" in kinds(found, "warning")


def test_inputs_that_shift_are_drift_and_no_loss(task, known):
    found = evaluate_window(window(known, task, shift=0.5, labelled=False), known, RULES)
    assert found.problems == ("drift",)
    columns = {f.column for f in found.findings if f.severity == "drift"}
    assert "x" in columns
    assert not columns & {"noise", "site"}


def test_without_labels_performance_is_expected_and_says_on_what_it_rests(task, known):
    found = evaluate_window(window(known, task, labelled=False), known, RULES)
    assert found.results["performance"]["judged"] is False
    estimate = found.results["estimate"]
    assert estimate["trusted"], estimate["reasons"]
    metric = known.metrics[0]
    truth = evaluate_window(window(known, task), known, RULES).results["performance"]["figures"]
    if metric.name in estimate["figures"]:
        guess = estimate["figures"][metric.name]
        assert guess["low"] <= truth[metric.name]["figure"]["value"] <= guess["high"]
    off = {"rows": 500, "expected": 0.9, "realised": 0.4, "error": 0.5}
    again = evaluate_window(window(known, task, labelled=False), known, RULES, previous_check=off)
    assert again.results["estimate"]["trusted"] is False
    assert any("last labels" in reason for reason in again.results["estimate"]["reasons"])


def test_a_late_end_is_left_out_of_performance(task, known):
    def late(truth):
        return [v if i < 2400 else None for i, v in enumerate(truth)]

    judged = evaluate_window(window(known, task, labelled=late), known, RULES)
    told = judged.results["performance"]
    assert told["coverage"] == 0.8
    assert told["complete_rows"] == 2400
    assert told["complete_coverage"] == 1.0
    assert told["judged"]
    assert any("incomplete after" in f.sentence for f in judged.findings)


def test_labels_that_are_missing_for_a_reason_give_a_warning(known, task):
    features, output, truth = rows(task, 3000, 2)
    score = output if output.ndim == 1 else output[:, 1] if output.shape[1] == 2 else output.max(1)
    kept = pl.Series(
        [v if s < np.median(score) else None for v, s in zip(truth, score, strict=True)]
    )
    made = Window.from_frames(known, times(3000), features, output, kept)
    assert measure_coverage(made).is_biased
    rules = RULES.model_copy(update={"slices": ()})
    judged = evaluate_window(made, known, rules)
    assert "labels" in kinds(judged, "warning")


@pytest.mark.parametrize("n", [0, 1, 50])
def test_a_window_with_too_few_rows_is_reported_and_not_evaluated(known, task, n):
    features, output, truth = rows(task, max(n, 1), 2)
    made = Window.from_frames(known, times(n), features[:n], output[:n], truth[:n], slices=["site"])
    found = evaluate_window(made, known, RULES)
    assert found.problems == ()
    assert found.results["estimate"] is None
    assert kinds(found, "note") >= {"rows"}


def test_few_labels_are_shown_and_not_judged(task, known):
    def few(truth):
        return [v if i % 50 == 0 else None for i, v in enumerate(truth)]

    told = evaluate_window(window(known, task, labelled=few, strength=0.0), known, RULES)
    assert told.problems == ()
    assert told.results["performance"]["judged"] is False
    assert told.results["performance"]["labelled"] == 60


def test_a_feature_that_vanished_is_drift_and_the_expectation_not_trusted(known, task):
    features, output, _ = rows(task, 2000, 2)
    gone = features.with_columns(x=pl.lit(None, dtype=pl.Float64))
    made = Window.from_frames(known, times(2000), gone, output)
    found = evaluate_window(made, known, RULES)
    assert ("vanished", "x") in {(f.kind, f.column) for f in found.findings}
    assert found.problems == ("drift",)
    assert found.results["estimate"]["trusted"] is False


def test_without_a_profile_drift_is_not_judged_and_the_rest_is(task):
    bare = basis(task, reference=False, n=1500)
    found = evaluate_window(window(bare, task), bare, RULES)
    assert found.results["drift"] is None
    assert found.results["performance"]["judged"]
    assert "reference" in kinds(found, "note")


def test_age_and_latency_have_limits(known, task):
    from dataclasses import replace

    rules = Monitor(joint=False, min_rows=100, milliseconds=5, age="3d")
    slow = replace(window(known, task, labelled=False), milliseconds=np.full(3000, 9.0))
    found = evaluate_window(slow, known, rules)
    assert {"latency", "age"} <= kinds(found, "warning")
    assert found.results["latency"]["p95"] == 9.0


def test_the_same_window_gives_the_same_judgement(known, task):
    one, other = (evaluate_window(window(known, task), known, RULES, seed=3) for _ in range(2))
    assert one.results == other.results
    assert [f.to_json() for f in one.findings] == [f.to_json() for f in other.findings]


def test_an_unvalidated_estimate_says_what_is_missing_and_what_to_do():
    short = basis("binary", n=289)
    assert short.evaluation["estimates"] == {}
    (reason,) = expected_reasons(short)
    assert "the evaluation has 289 test rows" in reason
    assert "takes 400: give `split.test` more" in reason
    assert "go by labels as they come in" in reason
    assert not any("measure" in r for r in expected_reasons(basis("binary", n=400)))
    older = basis("binary")
    del older.evaluation["estimates"]
    assert "register again" in expected_reasons(older)[0]
    undefined = basis("binary")
    undefined.evaluation["estimates"] = {}
    assert "a class is missing" in expected_reasons(undefined)[0]


def expected_reasons(known):
    features, output, _ = rows("binary", 600, 9)
    window = Window.from_frames(known, times(600), features, output)
    return evaluate_window(window, known, RULES).results["estimate"]["reasons"]


def test_another_scale_of_a_feature_is_drift_and_no_estimate_is_trusted():
    known = basis("binary")
    features, output, _ = rows("binary", 1_000, 9)
    window = Window.from_frames(
        known, times(1_000), features.with_columns(pl.col("noise") * 1.852), output
    )
    found = evaluate_window(window, known, RULES)
    assert "scale" in {f.kind for f in found.findings if f.severity == "drift"}
    estimate = found.results["estimate"]
    assert not estimate["trusted"]
    assert "features have another scale, as in another unit: noise" in estimate["reasons"]
    assert not any("broken" in r for r in estimate["reasons"])
