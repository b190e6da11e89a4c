import pytest

from schemas.errors import ConfigurationError, EvidenceError
from tests.worker.measured import rows
from worker.verdict.row_metrics import column_of, mean, row_scores, sliced

_ROWS = rows(
    {"f1": [0.0, 0.5, 1.0], "right": [False, True, True], "judge.relevance": [1.0, 1.0, 0.0]},
    [{"topic": "ice"}, {"topic": "sea"}, {"topic": "sea"}],
)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("f1.mean", 0.5), ("right.true_fraction", 2 / 3), ("judge.relevance.mean", 2 / 3)],
)
def test_a_mean_over_rows_is_made_of_their_scores(metric: str, expected: float) -> None:
    scores = row_scores(_ROWS, metric)
    assert scores is not None
    assert mean(scores) == pytest.approx(expected)


@pytest.mark.parametrize(
    "metric",
    ["usage.total_tokens", "latency.p95", "right.true_count", "right.mean", "f1.true_fraction"],
)
def test_what_is_no_mean_over_rows_has_no_scores(metric: str) -> None:
    assert row_scores(_ROWS, metric) is None


def test_a_score_that_some_rows_lack_is_no_evidence() -> None:
    gone = _ROWS[1].model_copy(update={"scores": {"right": True}})
    with pytest.raises(EvidenceError, match=r"1 of 3 rows have no f1; the first is .* call-1"):
        row_scores((_ROWS[0], gone, _ROWS[2]), "f1.mean")


def test_a_slice_has_the_rows_with_these_values() -> None:
    assert [row.call for row in sliced(_ROWS, {"topic": "sea"})] == ["call-1", "call-2"]
    assert sliced(_ROWS, {}) == list(_ROWS)


def test_a_slice_without_rows_names_the_values_that_there_are() -> None:
    with pytest.raises(ConfigurationError, match="its topic is one of ice, sea"):
        sliced(_ROWS, {"topic": "air"})


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="has no column subject; it has topic"):
        column_of(_ROWS, "subject")
