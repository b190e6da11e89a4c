from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.gates import AtLeast, AtMost, Gate, Threshold
from worker.weigh import metrics, outcome, sentence, weigh

_BOUNDS = st.floats(-1e6, 1e6)
_NAMES = st.sampled_from(["a.mean", "b.mean", "c"])
_THRESHOLDS = st.one_of(
    st.builds(AtLeast, metric=_NAMES, at_least=_BOUNDS),
    st.builds(AtMost, metric=_NAMES, at_most=_BOUNDS),
)
_SUMMARY = {
    "answer_correctness": {"mean": 0.82},
    "exact_match": {"true_count": 41, "true_fraction": 0.64},
    "model_latency": {"mean": 1.5},
}


def test_a_summary_is_flattened_into_dotted_paths() -> None:
    assert metrics(_SUMMARY) == {
        "answer_correctness.mean": 0.82,
        "exact_match.true_count": 41,
        "exact_match.true_fraction": 0.64,
        "model_latency.mean": 1.5,
    }


@pytest.mark.parametrize("value", ["0.9", [0.9], {}])
def test_what_is_not_a_number_is_no_metric(value: Any) -> None:
    assert metrics({"answer_correctness": {"mean": value}}) == {}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_metric_without_a_value_allows_no_verdict(gate: Gate, value: float | None) -> None:
    summary = _SUMMARY | {"answer_correctness": {"mean": value}}
    checks = weigh(gate, metrics(summary))
    assert outcome(checks) == "failed"
    assert "answer_correctness.mean is missing, not >= 0.6" in sentence(checks)


def test_every_threshold_gives_a_check_in_the_gates_order(gate: Gate) -> None:
    checks = weigh(gate, metrics(_SUMMARY))
    assert [(check.metric, check.value, check.passed) for check in checks] == [
        ("answer_correctness.mean", 0.82, True),
        ("model_latency.mean", 1.5, True),
    ]
    assert sentence(checks) == "All 2 thresholds hold."


def test_a_failed_threshold_is_named_with_value_and_bound(gate: Gate) -> None:
    checks = weigh(gate, {"answer_correctness.mean": 0.4, "model_latency.mean": 1})
    assert sentence(checks) == (
        "1 of 2 thresholds failed: answer_correctness.mean is 0.4, not >= 0.6."
    )


def test_an_unknown_metric_is_refused_with_those_that_exist(gate: Gate) -> None:
    with pytest.raises(ConfigurationError, match=r"asks for model_latency\.mean.*it has answer_c"):
        weigh(gate, {"answer_correctness.mean": 0.9})


@given(st.lists(_THRESHOLDS, min_size=1), st.dictionaries(_NAMES, _BOUNDS))
def test_a_threshold_passes_only_on_a_value_within_its_bound(
    thresholds: list[Threshold], measured: dict[str, float | None]
) -> None:
    gate = _gate(thresholds)
    if any(threshold.metric not in measured for threshold in thresholds):
        with pytest.raises(ConfigurationError):
            weigh(gate, measured)
        return
    checks = weigh(gate, measured)
    assert (outcome(checks) == "promoted") == all(check.passed for check in checks)
    for check in checks:
        bound = check.threshold
        assert check.value is not None
        assert check.value == measured[bound.metric]
        within = (
            check.value >= bound.at_least
            if isinstance(bound, AtLeast)
            else check.value <= bound.at_most
        )
        assert check.passed == within


def _gate(thresholds: list[Threshold]) -> Gate:
    return Gate(
        name="any",
        watch=("org/wandb-registry-R/c",),
        rag_model="weave:///e/p/object/RagModel:v0",
        evaluation="weave:///e/p/object/evaluation:v0",
        thresholds=tuple(thresholds),
        promote={"to": "org/wandb-registry-R/d"},
    )
