import math

import pytest

from worker.verdict.running_means import RunningMeans


def test_the_means_of_the_gates_metrics_are_those_over_the_rows_so_far() -> None:
    means = RunningMeans(["correct.true_fraction", "judge.f1.mean", "usage.total_tokens"])
    assert means.values == {}
    means.add({"correct": True, "judge.f1": 0.5, "other": 1.0, "usage": 7.0})
    means.add({"correct": False, "judge.f1": 0.75})
    assert means.values == {"correct.true_fraction": 0.5, "judge.f1.mean": 0.625}


@pytest.mark.parametrize("row", [{}, {"f1": math.nan}, {"f1": math.inf}])
def test_what_is_missing_or_no_number_is_left_out(row: dict[str, float]) -> None:
    means = RunningMeans(["f1.mean"])
    means.add(row)
    assert means.values == {}
    means.add({"f1": 0.5})
    assert means.values == {"f1.mean": 0.5}
