"""Gates: limits in the metric's direction, and refusal if a gate can't be checked."""

import pytest

from mlops_cli.errors import BadParams
from mlops_cli.params.register import Gates
from mlops_cli.registry.gates import Evidence, check_gates


def figures(value, low=None, high=None):
    return {
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
    }


def evidence(**changes):
    facts = {
        "task": "binary",
        "metric_names": ["roc_auc", "log_loss"],
        "metrics": {
            "model": {"roc_auc": figures(0.73, 0.72, 0.74), "log_loss": figures(0.5)},
            "gain_over_constant": {"roc_auc": figures(0.23, 0.22, 0.24)},
            "gain_over_linear": {"roc_auc": figures(0.03, 0.01, 0.05)},
        },
        "slices": {
            "carrier": {
                "judged": [
                    {"value": "UA", "rows": 900, "metrics": {"roc_auc": 0.75, "log_loss": 0.4}},
                    {"value": "HA", "rows": 300, "metrics": {"roc_auc": 0.61, "log_loss": 0.9}},
                    {"value": "XX", "rows": 300, "metrics": {"log_loss": 0.1}},
                ]
            },
        },
        "families": frozenset({"lightgbm"}),
        "bundle_bytes": 3_000_000,
        "milliseconds": 2.0,
    }
    return Evidence(**(facts | changes))


def with_gains(constant, linear, families=("lightgbm",)):
    gains = {"gain_over_constant": {"roc_auc": constant}, "gain_over_linear": {"roc_auc": linear}}
    return evidence(metrics={"model": {}} | gains, families=frozenset(families))


def one(gates, given=None):
    (result,) = check_gates(Gates.model_validate(gates), given or evidence())
    return result


@pytest.mark.parametrize(
    ("limits", "passed"),
    [
        ({"roc_auc": 0.7}, True),
        ({"roc_auc": 0.73}, True),
        ({"roc_auc": 0.74}, False),
        ({"log_loss": 0.6}, True),
        ({"log_loss": 0.4}, False),
    ],
)
def test_a_limit_is_the_least_or_the_most_by_the_metrics_direction(limits, passed):
    assert one({"limits": limits}).passed is passed


def test_a_limit_goes_by_the_value_and_says_both_numbers():
    result = one({"limits": {"roc_auc": 0.74}})
    assert (result.name, result.figure, result.limit) == ("limits.roc_auc", 0.73, 0.74)
    assert "0.73" in result.reason
    assert "at least 0.74" in result.reason


def test_a_metric_of_value_zero_is_judged():
    zero = evidence(metrics={"model": {"roc_auc": figures(0.0)}})
    assert one({"limits": {"roc_auc": 0.7}}, zero).figure == 0.0


def test_a_metric_that_is_not_defined_on_the_test_rows_refuses():
    result = one({"limits": {"roc_auc": 0.1}}, evidence(metrics={"model": {}}))
    assert (result.passed, result.figure) == (False, None)


def test_the_interval_of_the_gain_over_both_baselines_must_exclude_zero():
    clear, doubtful = figures(0.1, 0.05, 0.2), figures(0.1, -0.01, 0.2)
    assert one({"beats_baselines": "roc_auc"}, with_gains(clear, clear)).passed
    assert not one({"beats_baselines": "roc_auc"}, with_gains(clear, doubtful)).passed
    assert not one({"beats_baselines": "roc_auc"}, with_gains(doubtful, clear)).passed


def test_a_refusal_by_the_baselines_says_what_was_required_and_what_to_do():
    september = figures(-0.0016, -0.0065, 0.0034)
    result = one({"beats_baselines": "roc_auc"}, with_gains(figures(0.3, 0.2, 0.4), september))
    assert "over the linear baseline -0.0016 [-0.0065, 0.0034]" in result.reason
    assert "required: the whole interval above 0 over both" in result.reason
    assert "leave beats_baselines out of register.gates" in result.reason


def test_a_linear_champion_may_equal_the_linear_baseline_but_not_be_worse():
    clear, equal, worse = figures(0.1, 0.05, 0.2), figures(0, 0, 0), figures(-0.1, -0.2, -0.05)
    gate = {"beats_baselines": "roc_auc"}
    result = one(gate, with_gains(clear, equal, ["linear"]))
    assert result.passed
    assert "linear itself" in result.reason
    assert not one(gate, with_gains(clear, worse, ["linear"])).passed
    assert not one(gate, with_gains(equal, equal, ["linear"])).passed
    assert not one(gate, with_gains(clear, equal, ["linear", "lightgbm"])).passed


def test_the_worst_slice_is_named_and_judged_in_the_metrics_direction():
    result = one({"worst_slice": {"metric": "roc_auc", "limit": 0.65}})
    assert (result.passed, result.figure) == (False, 0.61)
    assert "carrier = HA" in result.reason
    assert one({"worst_slice": {"metric": "log_loss", "limit": 0.95}}).figure == 0.9


def test_slices_of_which_none_can_be_judged_refuse():
    none = evidence(slices={"carrier": {"judged": []}})
    assert not one({"worst_slice": {"metric": "roc_auc", "limit": 0.1}}, none).passed


def test_a_slice_gate_without_slices_is_a_mistake_in_params():
    with pytest.raises(BadParams, match="no slices"):
        one({"worst_slice": {"metric": "roc_auc", "limit": 0.1}}, evidence(slices={}))


@pytest.mark.parametrize(("limit", "passed"), [(3.0, True), (2.9, False)])
def test_the_bundle_may_have_so_many_megabytes(limit, passed):
    assert one({"megabytes": limit}).passed is passed


@pytest.mark.parametrize(
    ("limit", "measured", "passed"), [(2.0, 2.0, True), (1.0, 2.0, False), (9.0, None, False)]
)
def test_one_row_may_take_so_many_milliseconds(limit, measured, passed):
    assert one({"milliseconds": limit}, evidence(milliseconds=measured)).passed is passed


def test_gates_come_in_the_order_of_params_and_those_not_given_are_not_applied():
    gates = Gates(limits={"roc_auc": 0.7}, megabytes=5.0)
    assert [r.name for r in check_gates(gates, evidence())] == ["limits.roc_auc", "megabytes"]
    assert check_gates(Gates(), evidence()) == ()


def test_a_misspelt_metric_is_answered_with_the_nearest():
    with pytest.raises(BadParams, match="roc_acu") as caught:
        one({"limits": {"roc_acu": 0.7}})
    assert "roc_auc" in caught.value.hint


def test_a_metric_that_was_not_evaluated_is_a_mistake_in_params():
    with pytest.raises(BadParams, match="'f1'") as caught:
        one({"beats_baselines": "f1"})
    assert "evaluate.metrics" in caught.value.hint


GAPS = {
    "sex": {"gaps": {"demographic_parity_difference": {"value": 0.1}}},
    "age": {"gaps": {"demographic_parity_difference": {"value": 0.2}}},
}


@pytest.mark.parametrize(("limit", "passed"), [(0.2, True), (0.15, False)])
def test_fairness_is_that_of_the_worst_protected_column(limit, passed):
    asked = {"fairness": {"demographic_parity_difference": limit}}
    result = one(asked, evidence(fairness=GAPS))
    assert result.passed is passed
    assert "age" in result.reason


def test_a_ratio_must_be_at_least_the_limit():
    gaps = {"sex": {"gaps": {"demographic_parity_ratio": {"value": 0.79}}}}
    result = one({"fairness": {"demographic_parity_ratio": 0.8}}, evidence(fairness=gaps))
    assert not result.passed


def test_fairness_that_is_not_defined_refuses():
    gaps = GAPS | {"city": {"gaps": {}}}
    result = one({"fairness": {"demographic_parity_difference": 1}}, evidence(fairness=gaps))
    assert (result.passed, result.figure) == (False, None)
    assert "city" in result.reason


@pytest.mark.parametrize(
    ("name", "gaps"), [("demographic_parity", GAPS), ("demographic_parity_ratio", {})]
)
def test_fairness_that_was_not_measured_cannot_be_asked_for(name, gaps):
    with pytest.raises(BadParams):
        one({"fairness": {name: 0.8}}, evidence(fairness=gaps))
