"""The verdict's arithmetic: what passes, what fails, and what allows no verdict."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, EvidenceError
from schemas.events import WeighingId
from schemas.gates import Gate
from schemas.thresholds import AtLeast, AtMost, NoWorseThan, Threshold
from schemas.verdicts import Verdict
from tests.worker.measured import evaluated, of_rows, rows
from worker.verdict.checks import (
    ITSELF,
    NO_CHAMPION,
    check_thresholds,
    decide_outcome,
    explain_outcome,
    metrics,
)

_SUMMARY = {
    "answer_correctness": {"mean": 0.82},
    "exact_match": {"true_count": 41, "true_fraction": 0.64},
    "model_latency": {"mean": 1.5},
}
_SCORES = {"answer_correctness": [0.6, 1.0, 0.86], "model_latency": [1.0, 1.5, 2.0]}
_NO_WORSE = {"metric": "answer_correctness.mean", "no_worse_than": "champion", "margin": 0.02}


def _with(gate: Gate, *thresholds: dict[str, Any]) -> Gate:
    dumped = gate.model_dump() | {"thresholds": thresholds}
    dumped["promote"] = dumped["promote"] | {"aliases": ("production",)}
    return Gate.model_validate(dumped)


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


def test_every_threshold_gives_a_check_in_the_gates_order(gate: Gate) -> None:
    checks = check_thresholds(gate, evaluated(_SCORES))
    assert [(check.metric, check.value, check.passed) for check in checks] == [
        ("answer_correctness.mean", pytest.approx(0.82), True),
        ("model_latency.mean", 1.5, True),
    ]
    assert explain_outcome(checks) == "All 2 thresholds hold."


def test_a_failed_threshold_is_named_with_value_and_bound(gate: Gate) -> None:
    checks = check_thresholds(gate, evaluated(_SCORES | {"answer_correctness": [0.4, 0.4, 0.4]}))
    assert decide_outcome(checks) == "rejected"
    assert explain_outcome(checks) == (
        "1 of 2 thresholds failed: answer_correctness.mean is 0.4, not >= 0.6."
    )


def test_an_unknown_metric_is_refused_with_those_that_exist(gate: Gate) -> None:
    with pytest.raises(
        ConfigurationError, match=r"threshold on model_latency\.mean.*it has answer_c"
    ):
        check_thresholds(gate, evaluated({"answer_correctness": [0.9]}))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_metric_without_a_value_allows_no_verdict(gate: Gate, value: float | None) -> None:
    spoilt = evaluated(_SCORES, answer_correctness={"mean": value})
    checks = check_thresholds(gate, spoilt)
    assert decide_outcome(checks) == "failed"
    assert "answer_correctness.mean is missing, not >= 0.6" in explain_outcome(checks)


def test_a_scorer_that_scored_no_row_allows_no_verdict(gate: Gate) -> None:
    """Weave's summary of such a scorer is None.

    Source: docs/upstream/weave-protocol.md, "Evaluations and scores".
    """
    checks = check_thresholds(gate, evaluated({"model_latency": [1.0]}, answer_correctness=None))
    assert decide_outcome(checks) == "failed"


def test_a_summary_that_differs_from_the_rows_is_an_evidence_error(gate: Gate) -> None:
    lying = evaluated(_SCORES, answer_correctness={"mean": 0.9})
    with pytest.raises(EvidenceError, match=r"rows .* give answer_correctness.mean as 0\.82.*0\.9"):
        check_thresholds(gate, lying)


def test_what_rows_do_not_have_is_taken_from_the_summary(gate: Gate) -> None:
    cheap = _with(gate, {"metric": "usage.total_tokens", "at_most": 100})
    [check] = check_thresholds(cheap, evaluated(_SCORES, usage={"total_tokens": 99}))
    assert (check.value, check.passed) == (99, True)


def test_a_slice_is_checked_by_its_own_rows(gate: Gate) -> None:
    columns = [{"topic": "sea"}, {"topic": "ice"}, {"topic": "ice"}]
    sea = {"metric": "answer_correctness.mean", "at_least": 0.7, "slice": {"topic": "sea"}}
    checks = check_thresholds(_with(gate, sea), evaluated(_SCORES, columns))
    assert [check.value for check in checks] == [0.6]
    assert "answer_correctness.mean [topic=sea] is 0.6, not >= 0.7" in explain_outcome(checks)


def test_a_slice_of_what_is_no_mean_over_rows_is_refused(gate: Gate) -> None:
    sliced = {"metric": "latency.p95", "at_most": 9, "slice": {"id": 1}}
    with pytest.raises(ConfigurationError, match="has no slices"):
        check_thresholds(_with(gate, sliced), evaluated(_SCORES))


def test_too_few_rows_allow_no_verdict(gate: Gate) -> None:
    many = {"metric": "answer_correctness.mean", "at_least": 0.1, "min_rows": 4}
    checks = check_thresholds(_with(gate, many), evaluated(_SCORES))
    assert decide_outcome(checks) == "failed"
    assert "3 rows are fewer than the 4 that it takes" in explain_outcome(checks)


@pytest.mark.parametrize("note", [NO_CHAMPION, ITSELF])
def test_without_a_champion_a_relative_threshold_passes_and_says_so(gate: Gate, note: str) -> None:
    checks = check_thresholds(_with(gate, _NO_WORSE), evaluated(_SCORES), no_champion=note)
    assert decide_outcome(checks) == "promoted"
    assert explain_outcome(checks).endswith(note)


def test_a_loss_is_explained_with_champion_difference_and_interval(gate: Gate) -> None:
    ours = {"answer_correctness": [0.1, 0.3, 0.2, 0.4] * 10, "model_latency": [1.0] * 40}
    theirs = ours | {"answer_correctness": [0.5, 0.9, 0.7, 0.9] * 10}
    checks = check_thresholds(_with(gate, _NO_WORSE), evaluated(ours), evaluated(theirs))
    assert decide_outcome(checks) == "rejected"
    assert "the champion has 0.75, the difference is -0.500 [-0.5" in explain_outcome(checks)


def test_rows_that_could_not_have_shown_the_difference_allow_no_verdict(gate: Gate) -> None:
    fine = _with(gate, _NO_WORSE | {"detectable": 0.01})
    ours = evaluated({"answer_correctness": [0.2, 0.9, 0.5]})
    theirs = evaluated({"answer_correctness": [0.3, 0.7, 0.5]})
    checks = check_thresholds(fine, ours, theirs)
    assert decide_outcome(checks) == "failed"
    assert "not of the 0.01 that the gate demands" in explain_outcome(checks)


def test_one_row_cannot_be_compared(gate: Gate) -> None:
    one = evaluated({"answer_correctness": [0.5]})
    assert decide_outcome(check_thresholds(_with(gate, _NO_WORSE), one, one)) == "failed"


_NAMES = ("f1", "right", "speed")
_THRESHOLDS = st.one_of(
    st.builds(AtLeast, metric=st.just("f1.mean"), at_least=st.floats(-1, 2)),
    st.builds(AtMost, metric=st.just("speed.mean"), at_most=st.floats(-1, 2)),
    st.builds(AtLeast, metric=st.just("right.true_fraction"), at_least=st.floats(-1, 2)),
    st.builds(
        NoWorseThan,
        metric=st.sampled_from(["f1.mean", "right.true_fraction"]),
        no_worse_than=st.just("champion"),
        margin=st.floats(0, 1),
    ),
)


@st.composite
def _evaluations(draw: st.DrawFn) -> Any:
    count = draw(st.integers(2, 8))
    numbers = st.lists(st.floats(0, 1), min_size=count, max_size=count)
    yes_or_no = st.lists(st.booleans(), min_size=count, max_size=count)
    return {"f1": draw(numbers), "speed": draw(numbers), "right": draw(yes_or_no)}


def _gate(thresholds: Sequence[Threshold]) -> Gate:
    return Gate.model_validate(
        {
            "name": "any",
            "watch": ("org/wandb-registry-R/c",),
            "rag_model": "weave:///e/p/object/RagModel:v0",
            "evaluation": "weave:///e/p/object/evaluation:v0",
            "thresholds": thresholds,
            "promote": {"to": "org/wandb-registry-R/d", "aliases": ("production",)},
        }
    )


_LISTS = st.lists(_THRESHOLDS, min_size=1, max_size=3)


@given(_LISTS, _evaluations())
def test_a_version_is_promoted_only_if_every_check_passes(
    thresholds: list[Threshold], scores: Any
) -> None:
    mine = evaluated(scores)
    checks = check_thresholds(_gate(thresholds), mine, mine)
    assert (decide_outcome(checks) == "promoted") == all(check.passed for check in checks)
    for check in checks:
        if check.comparison is None:
            assert check.value is not None
            bound: Any = check.threshold
            assert check.passed == bound.holds(check.value)


@given(_LISTS, _evaluations(), st.sampled_from(_NAMES), st.sampled_from([None, float("nan")]))
def test_a_missing_value_never_promotes(
    thresholds: list[Threshold], scores: Any, name: str, value: float | None
) -> None:
    statistic = "true_fraction" if name == "right" else "mean"
    spoilt = of_rows(rows(scores), **{name: {statistic: value}})
    asked = AtLeast(metric=f"{name}.{statistic}", at_least=-1e9)
    assert decide_outcome(check_thresholds(_gate([*thresholds, asked]), spoilt)) == "failed"


@given(_LISTS, _evaluations())
def test_another_failing_check_never_turns_a_rejection_into_a_promotion(
    thresholds: list[Threshold], scores: Any
) -> None:
    failing = AtLeast(metric="f1.mean", at_least=2.5)
    assert (
        decide_outcome(check_thresholds(_gate([*thresholds, failing]), evaluated(scores)))
        == "rejected"
    )


@given(_LISTS, _evaluations(), st.randoms())
def test_the_order_of_rows_does_not_matter(
    thresholds: list[Threshold], scores: Any, chance: Any
) -> None:
    found = list(rows(scores))
    champion = evaluated(scores | {"f1": scores["f1"][::-1], "right": scores["right"][::-1]})
    ordered = check_thresholds(_gate(thresholds), of_rows(found), champion)
    chance.shuffle(found)
    shuffled = check_thresholds(_gate(thresholds), of_rows(found), champion)
    assert shuffled == ordered


@given(_LISTS, _evaluations())
def test_a_verdict_survives_json(thresholds: list[Threshold], scores: Any) -> None:
    champion = evaluated(scores | {"f1": scores["f1"][::-1]})
    checks = check_thresholds(_gate(thresholds), evaluated(scores), champion)
    verdict = Verdict(
        weighing=WeighingId(gate="any", collection="org/wandb-registry-R/c", number=0),
        source="manual",
        outcome=decide_outcome(checks),
        reason=explain_outcome(checks),
        checks=checks,
    )
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
